-- The reactions that are on, and the pinned messages, at each log's head: limits are counted and pages are read from
-- these, so that neither has to read a message's whole history.
CREATE TABLE reactions (
    conversation_key bigint NOT NULL CONSTRAINT reactions_conversation_fkey REFERENCES conversations (key) ON DELETE CASCADE,
    target           uuid   NOT NULL,
    emoji            text   NOT NULL,
    sender           uuid   NOT NULL,
    -- The newest event that put it on.
    seq              bigint NOT NULL,
    CONSTRAINT reactions_pkey PRIMARY KEY (conversation_key, target, emoji, sender)
);
CREATE TABLE pins (
    conversation_key bigint NOT NULL CONSTRAINT pins_conversation_fkey REFERENCES conversations (key) ON DELETE CASCADE,
    target           uuid   NOT NULL,
    CONSTRAINT pins_pkey PRIMARY KEY (conversation_key, target)
);

-- The newest relation of a kind is found without reading the others.
CREATE INDEX events_relation_idx ON events (conversation_key, target, kind, seq) WHERE target IS NOT NULL;
DROP INDEX events_target_idx;

INSERT INTO reactions (conversation_key, target, emoji, sender, seq)
SELECT conversation_key, target, emoji, sender, seq
FROM (SELECT DISTINCT ON (conversation_key, target, sender, body::jsonb ->> 'emoji')
             conversation_key, target, sender, seq, body::jsonb ->> 'emoji' AS emoji, body::jsonb ->> 'on' AS is_on
      FROM events WHERE kind = 'reaction'
      ORDER BY conversation_key, target, sender, body::jsonb ->> 'emoji', seq DESC) AS last
WHERE is_on = 'true'
  AND EXISTS (SELECT FROM events m WHERE m.conversation_key = last.conversation_key AND m.id = last.target AND m.body IS NOT NULL);

INSERT INTO pins (conversation_key, target)
SELECT conversation_key, target
FROM (SELECT DISTINCT ON (conversation_key, target) conversation_key, target, body::jsonb ->> 'on' AS is_on
      FROM events WHERE kind = 'pin'
      ORDER BY conversation_key, target, seq DESC) AS last
WHERE is_on = 'true'
  AND EXISTS (SELECT FROM events m WHERE m.conversation_key = last.conversation_key AND m.id = last.target AND m.body IS NOT NULL);
