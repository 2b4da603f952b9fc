-- The title that a former member of a group knows: what it was when the membership ended (R6).
ALTER TABLE members ADD COLUMN last_title text;
WITH titles AS MATERIALIZED (
    SELECT conversation_key, seq, NULLIF(body::jsonb ->> 'text', '') AS text FROM events WHERE kind = 'title'
), ended AS (
    SELECT conversation_key, user_id, max(to_seq) AS seq FROM member_intervals GROUP BY conversation_key, user_id
)
UPDATE members AS m
SET last_title = CASE
    WHEN EXISTS (SELECT FROM titles t WHERE t.conversation_key = m.conversation_key)
    THEN (SELECT t.text FROM titles t
          WHERE t.conversation_key = m.conversation_key AND t.seq <= ended.seq ORDER BY t.seq DESC LIMIT 1)
    ELSE (SELECT c.title FROM conversations c WHERE c.key = m.conversation_key)
END
FROM ended
WHERE NOT m.is_active AND ended.conversation_key = m.conversation_key AND ended.user_id = m.user_id;
