-- Undeleted messages, counted in blocks of seqs, so that unread (W7) is a few sums however long a log is.
-- A block of level n is 128^n seqs: block b holds the seqs from b * 128^n + 1 to (b + 1) * 128^n. Its rows are written when
-- its last event is, under the head's lock, and lowered when one of its messages is deleted. The nil sender's row counts everybody's.
CREATE TABLE event_blocks (
    conversation_key bigint   NOT NULL,
    sender           uuid     NOT NULL,
    level            smallint NOT NULL CONSTRAINT event_blocks_level_check CHECK (level BETWEEN 1 AND 3),
    block            bigint   NOT NULL,
    messages         bigint   NOT NULL,
    CONSTRAINT event_blocks_pkey PRIMARY KEY (conversation_key, sender, level, block)
);

-- Writes the blocks that end with NEW.seq. Runs for each 128th event only.
CREATE FUNCTION events_close_blocks() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    nobody CONSTANT uuid := '00000000-0000-0000-0000-000000000000';
    size bigint := 128;
BEGIN
    INSERT INTO event_blocks (conversation_key, sender, level, block, messages)
    SELECT NEW.conversation_key, CASE GROUPING(sender) WHEN 1 THEN nobody ELSE sender END, 1, NEW.seq / size - 1, count(*)
    FROM events
    WHERE conversation_key = NEW.conversation_key AND seq > NEW.seq - size AND seq <= NEW.seq
      AND kind = 'message' AND body IS NOT NULL
    GROUP BY GROUPING SETS ((), (sender))
    ON CONFLICT ON CONSTRAINT event_blocks_pkey DO UPDATE SET messages = EXCLUDED.messages;
    FOR upper IN 2..3 LOOP
        EXIT WHEN NEW.seq % (size * 128) <> 0;
        -- Each member's own rows by index; others are in no sum of anybody.
        INSERT INTO event_blocks (conversation_key, sender, level, block, messages)
        SELECT NEW.conversation_key, someone.id, upper, NEW.seq / (size * 128) - 1, lower_level.messages
        FROM (SELECT nobody AS id UNION ALL SELECT user_id FROM members WHERE conversation_key = NEW.conversation_key) AS someone
        CROSS JOIN LATERAL (
            SELECT sum(messages) AS messages FROM event_blocks
            WHERE conversation_key = NEW.conversation_key AND sender = someone.id AND level = upper - 1
              AND block >= NEW.seq / size - 128 AND block < NEW.seq / size
        ) AS lower_level
        WHERE lower_level.messages IS NOT NULL
        ON CONFLICT ON CONSTRAINT event_blocks_pkey DO UPDATE SET messages = EXCLUDED.messages;
        size := size * 128;
    END LOOP;
    RETURN NULL;
END
$$;
CREATE TRIGGER events_close_blocks AFTER INSERT ON events
    FOR EACH ROW WHEN (NEW.seq % 128 = 0) EXECUTE FUNCTION events_close_blocks();

-- A message that was deleted (W9) counts no longer.
CREATE FUNCTION events_uncount_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE event_blocks SET messages = messages - 1
    WHERE conversation_key = NEW.conversation_key AND sender IN (NEW.sender, '00000000-0000-0000-0000-000000000000')
      AND (level, block) IN ((1, (NEW.seq - 1) / 128), (2, (NEW.seq - 1) / 16384), (3, (NEW.seq - 1) / 2097152));
    RETURN NULL;
END
$$;
CREATE TRIGGER events_uncount_deleted AFTER UPDATE OF body ON events
    FOR EACH ROW WHEN (OLD.body IS NOT NULL AND NEW.body IS NULL AND NEW.kind = 'message')
    EXECUTE FUNCTION events_uncount_deleted();

-- What a former member has not read: neither the log that they see nor their marker changes any more.
ALTER TABLE members ADD COLUMN last_unread bigint;

-- Blocks of the events that are there, one pass over the log a level.
INSERT INTO event_blocks (conversation_key, sender, level, block, messages)
SELECT e.conversation_key, CASE GROUPING(e.sender) WHEN 1 THEN '00000000-0000-0000-0000-000000000000' ELSE e.sender END,
       1, (e.seq - 1) / 128, count(*) FILTER (WHERE e.kind = 'message' AND e.body IS NOT NULL)
FROM events e JOIN conversation_head h ON h.conversation_key = e.conversation_key
WHERE e.seq <= h.head / 128 * 128
GROUP BY GROUPING SETS ((e.conversation_key, (e.seq - 1) / 128), (e.conversation_key, (e.seq - 1) / 128, e.sender));
INSERT INTO event_blocks (conversation_key, sender, level, block, messages)
SELECT b.conversation_key, b.sender, 2, b.block / 128, sum(b.messages)
FROM event_blocks b JOIN conversation_head h ON h.conversation_key = b.conversation_key
WHERE b.level = 1 AND b.block < h.head / 16384 * 128 GROUP BY b.conversation_key, b.sender, b.block / 128;
INSERT INTO event_blocks (conversation_key, sender, level, block, messages)
SELECT b.conversation_key, b.sender, 3, b.block / 128, sum(b.messages)
FROM event_blocks b JOIN conversation_head h ON h.conversation_key = b.conversation_key
WHERE b.level = 2 AND b.block < h.head / 2097152 * 128 GROUP BY b.conversation_key, b.sender, b.block / 128;

UPDATE members AS m
SET last_unread = (
    SELECT count(*) FILTER (WHERE e.kind = 'message' AND e.sender <> m.user_id)
         - count(*) FILTER (WHERE e.kind = 'delete' AND EXISTS (
               SELECT FROM events t
               WHERE t.conversation_key = e.conversation_key AND t.id = e.target
                 AND t.seq > m.read_seq AND t.sender <> m.user_id))
    FROM events e
    WHERE e.conversation_key = m.conversation_key AND e.seq > m.read_seq
      AND e.seq <= (SELECT max(i.to_seq) FROM member_intervals i
                    WHERE i.conversation_key = m.conversation_key AND i.user_id = m.user_id))
WHERE NOT m.is_active;
