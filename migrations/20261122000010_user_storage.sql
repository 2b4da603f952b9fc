-- Bytes of bodies that each user has in the log, for the limit on them. Written by the instances some seconds late.
CREATE TABLE user_storage (
    user_id uuid   NOT NULL CONSTRAINT user_storage_pkey PRIMARY KEY
                   CONSTRAINT user_storage_user_fkey REFERENCES users (id) ON DELETE CASCADE,
    bytes   bigint NOT NULL
) WITH (fillfactor = 50);

INSERT INTO user_storage (user_id, bytes)
SELECT e.sender, sum(octet_length(e.body))
FROM events e JOIN users u ON u.id = e.sender
WHERE e.body IS NOT NULL
GROUP BY e.sender;
