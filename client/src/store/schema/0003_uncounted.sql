-- Messages that are never unread: the user's own, and deleted ones. With the log's own count of messages they say how
-- many of a part are unread, without reading that part.
ALTER TABLE events ADD COLUMN is_uncounted INTEGER NOT NULL DEFAULT 0;
CREATE INDEX events_uncounted ON events (cid, seq) WHERE is_uncounted = 1;

-- The log lies in the order of (cid, seq) itself: a part of a timeline is read from it as it stands.
DROP INDEX events_shown;
