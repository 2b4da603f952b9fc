-- Messages that are never unread: the user's own, and deleted ones. With the log's own count of messages they say how
-- many of a part are unread, without reading that part.
ALTER TABLE events ADD COLUMN is_uncounted INTEGER NOT NULL DEFAULT 0;
CREATE INDEX events_uncounted ON events (cid, seq) WHERE is_uncounted = 1;

-- Messages that may have become something else than their events say: edited, deleted, pinned, reacted to. A timeline
-- shows the others from the log, where they lie side by side; their rows in messages lie in the order of all messages.
ALTER TABLE events ADD COLUMN is_changed INTEGER NOT NULL DEFAULT 0;

-- The log lies in the order of (cid, seq) itself: a part of a timeline is read from it as it stands.
DROP INDEX events_shown;
