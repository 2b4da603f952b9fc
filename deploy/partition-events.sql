-- Divides the log by conversation into 64 tables, for a database that has outgrown one (docs/operate/scale.md).
-- The server stands still meanwhile, and the log is copied: plan for its size once more on the disk.
--   psql --set ON_ERROR_STOP=1 --file deploy/partition-events.sql "$DATABASE_URL"
BEGIN;
LOCK TABLE events IN ACCESS EXCLUSIVE MODE;
ALTER TABLE events RENAME TO events_whole;
ALTER TABLE events_whole RENAME CONSTRAINT events_pkey TO events_whole_pkey;
ALTER TABLE events_whole RENAME CONSTRAINT events_id_key TO events_whole_id_key;
ALTER INDEX events_relation_idx RENAME TO events_whole_relation_idx;
ALTER INDEX events_xid_idx RENAME TO events_whole_xid_idx;
CREATE TABLE events (LIKE events_whole INCLUDING DEFAULTS) PARTITION BY HASH (conversation_key);
DO $$
BEGIN
    FOR remainder IN 0..63 LOOP
        EXECUTE format('CREATE TABLE events_%s PARTITION OF events FOR VALUES WITH (MODULUS 64, REMAINDER %s)',
                       lpad(remainder::text, 2, '0'), remainder);
    END LOOP;
END
$$;
INSERT INTO events SELECT * FROM events_whole;
ALTER TABLE events ADD CONSTRAINT events_pkey PRIMARY KEY (conversation_key, seq);
ALTER TABLE events ADD CONSTRAINT events_id_key UNIQUE (conversation_key, id);
CREATE INDEX events_relation_idx ON events (conversation_key, target, kind, seq) WHERE target IS NOT NULL;
CREATE INDEX events_xid_idx ON events USING brin ((xid::text::bigint)) WITH (pages_per_range = 16, autosummarize = on);
CREATE TRIGGER events_close_blocks AFTER INSERT ON events
    FOR EACH ROW WHEN (NEW.seq % 128 = 0) EXECUTE FUNCTION events_close_blocks();
CREATE TRIGGER events_uncount_deleted AFTER UPDATE OF body ON events
    FOR EACH ROW WHEN (OLD.body IS NOT NULL AND NEW.body IS NULL AND NEW.kind = 'message')
    EXECUTE FUNCTION events_uncount_deleted();
DROP TABLE events_whole;
COMMIT;
ANALYZE events;
