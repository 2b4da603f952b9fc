-- Projection: the newest message of each conversation, beside the other rows of the list: read together, they are a
-- few pages, where the messages themselves are one page each. Made again for every conversation that a transaction
-- touched, at its end.
CREATE TABLE last_lines (
    cid        INTEGER PRIMARY KEY REFERENCES conversations ON DELETE CASCADE,
    id         BLOB    NOT NULL,
    seq        INTEGER,
    local      INTEGER,
    sender     BLOB    NOT NULL,
    ts         INTEGER NOT NULL,
    line       TEXT    NOT NULL,
    is_deleted INTEGER NOT NULL
) STRICT;

-- Fewer and larger merges while much is written; what is left is merged when nobody writes.
INSERT INTO search (search, rank) VALUES ('automerge', 8);
