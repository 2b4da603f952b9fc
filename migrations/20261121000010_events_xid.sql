-- What committed since a snapshot (L4), found without a cost for whoever writes: events lie in the order in which they were
-- written, so each stretch of pages has lowest and highest transaction. xid8 has no operator class for that; bigint has.
CREATE INDEX events_xid_idx ON events USING brin ((xid::text::bigint)) WITH (pages_per_range = 16, autosummarize = on);
