-- Messages that this user deleted and whose deletion the server has lost. Another device may send them again.
CREATE TABLE deletions (
    cid INTEGER NOT NULL REFERENCES conversations ON DELETE CASCADE,
    id  BLOB    NOT NULL,
    PRIMARY KEY (cid, id)
) STRICT, WITHOUT ROWID;

-- The server's draft that came while this one was on its way, and its version.
ALTER TABLE drafts ADD COLUMN newer TEXT;
ALTER TABLE drafts ADD COLUMN newer_version INTEGER NOT NULL DEFAULT 0;
