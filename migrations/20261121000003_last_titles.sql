-- The title that a former member of a group knows: what it was when the membership ended (R6).
ALTER TABLE members ADD COLUMN last_title text;
UPDATE members AS m
SET last_title = CASE
    WHEN EXISTS (SELECT FROM events e WHERE e.conversation_key = m.conversation_key AND e.kind = 'title')
    THEN (SELECT NULLIF(e.body::jsonb ->> 'text', '') FROM events e
          WHERE e.conversation_key = m.conversation_key AND e.kind = 'title'
            AND e.seq <= (SELECT max(i.to_seq) FROM member_intervals i
                          WHERE i.conversation_key = m.conversation_key AND i.user_id = m.user_id)
          ORDER BY e.seq DESC LIMIT 1)
    ELSE (SELECT c.title FROM conversations c WHERE c.key = m.conversation_key)
END
WHERE NOT m.is_active;
