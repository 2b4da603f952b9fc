-- Messages that this user deleted and whose deletion the server has lost. Another device may send them again.
CREATE TABLE deletions (
    cid INTEGER NOT NULL REFERENCES conversations ON DELETE CASCADE,
    id  BLOB    NOT NULL,
    PRIMARY KEY (cid, id)
) STRICT, WITHOUT ROWID;
