-- The database of one user on one server. Ids are 16-byte blobs, times milliseconds, JSON is text.
-- Truth comes from the server (conversations, events, states, markers, members, people) or from the user (outbox,
-- drafts); messages and search are projections that can be made again from it.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE people (
    id           BLOB PRIMARY KEY,
    username     TEXT NOT NULL,
    display_name TEXT NOT NULL,
    role         TEXT,
    avatar       TEXT,
    version      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE conversations (
    cid          INTEGER PRIMARY KEY,
    id           BLOB    NOT NULL UNIQUE,
    kind         TEXT    NOT NULL,
    title        TEXT,
    context      TEXT,
    head         INTEGER NOT NULL DEFAULT 0,
    countable    INTEGER NOT NULL DEFAULT 0,
    floor        INTEGER NOT NULL DEFAULT 1,
    last_ts      INTEGER NOT NULL DEFAULT 0,
    visible      TEXT    NOT NULL DEFAULT '[]',
    member_count INTEGER NOT NULL DEFAULT 0,
    facts_as_of  INTEGER NOT NULL DEFAULT 0,  -- title, members and visible are known up to this seq
    is_local     INTEGER NOT NULL DEFAULT 0,  -- created here, not confirmed
    created_at   INTEGER NOT NULL DEFAULT 0,
    announced    INTEGER NOT NULL DEFAULT 0,  -- messages above were not announced
    stored       INTEGER NOT NULL DEFAULT 0,  -- messages stored
    -- Own state as the server has it (S4); what waits in the outbox is laid over it when it is read.
    version      INTEGER NOT NULL DEFAULT 0,
    read         INTEGER NOT NULL DEFAULT 0,
    delivered    INTEGER NOT NULL DEFAULT 0,
    unread       INTEGER NOT NULL DEFAULT 0,  -- the server's number, of read and unread_head
    unread_head  INTEGER NOT NULL DEFAULT 0,
    unread_flag  INTEGER NOT NULL DEFAULT 0,
    mute         INTEGER NOT NULL DEFAULT 0,
    pin          INTEGER NOT NULL DEFAULT 0,
    archive      INTEGER NOT NULL DEFAULT 0,
    hidden       INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE members (
    cid      INTEGER NOT NULL REFERENCES conversations ON DELETE CASCADE,
    user     BLOB    NOT NULL,
    role     TEXT    NOT NULL,
    is_stale INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (cid, user)
) STRICT, WITHOUT ROWID;

CREATE TABLE markers (
    cid       INTEGER NOT NULL REFERENCES conversations ON DELETE CASCADE,
    user      BLOB    NOT NULL,
    delivered INTEGER NOT NULL,
    read      INTEGER NOT NULL,
    PRIMARY KEY (cid, user)
) STRICT, WITHOUT ROWID;

-- The log as it came.
CREATE TABLE events (
    cid         INTEGER NOT NULL REFERENCES conversations ON DELETE CASCADE,
    seq         INTEGER NOT NULL,
    id          BLOB    NOT NULL,
    kind        TEXT    NOT NULL,
    sender      BLOB    NOT NULL,
    ts          INTEGER NOT NULL,
    written_at  INTEGER,
    countable   INTEGER NOT NULL,
    chain       BLOB    NOT NULL,
    target      BLOB,
    body        TEXT,
    is_redacted INTEGER NOT NULL DEFAULT 0,
    is_shown    INTEGER NOT NULL DEFAULT 0,  -- has an entry of its own in the timeline
    PRIMARY KEY (cid, seq)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX events_id ON events (id, cid);
CREATE INDEX events_target ON events (cid, target) WHERE target IS NOT NULL;
CREATE INDEX events_shown ON events (cid, seq) WHERE is_shown = 1;

-- Contiguous runs of the log (C2).
CREATE TABLE log_range (
    cid          INTEGER NOT NULL REFERENCES conversations ON DELETE CASCADE,
    low          INTEGER NOT NULL,
    high         INTEGER NOT NULL,
    chain_before BLOB    NOT NULL,
    chain_high   BLOB    NOT NULL,
    PRIMARY KEY (cid, low)
) STRICT, WITHOUT ROWID;

-- What a message had become as of a seq, as a page said (W9): also from relations that are not stored here.
CREATE TABLE states (
    cid   INTEGER NOT NULL REFERENCES conversations ON DELETE CASCADE,
    id    BLOB    NOT NULL,
    as_of INTEGER NOT NULL,
    state TEXT    NOT NULL,
    PRIMARY KEY (cid, id)
) STRICT, WITHOUT ROWID;

-- Projection: what a message says. mid rises with the time, so that newest first is the order of rowids.
CREATE TABLE messages (
    mid        INTEGER PRIMARY KEY,
    cid        INTEGER NOT NULL REFERENCES conversations ON DELETE CASCADE,
    id         BLOB    NOT NULL,
    seq        INTEGER,  -- NULL until the numbered event is stored
    local      INTEGER,  -- the order of what is not numbered
    sender     BLOB    NOT NULL,
    ts         INTEGER NOT NULL,
    text       TEXT    NOT NULL,
    reply_to   BLOB,
    edited_seq INTEGER NOT NULL DEFAULT 0,
    is_deleted INTEGER NOT NULL DEFAULT 0,
    is_pinned  INTEGER NOT NULL DEFAULT 0,
    reactions  TEXT
) STRICT;
CREATE UNIQUE INDEX messages_id ON messages (id, cid);
CREATE UNIQUE INDEX messages_seq ON messages (cid, seq) WHERE seq IS NOT NULL;
CREATE INDEX messages_local ON messages (cid, local) WHERE seq IS NULL;

-- Projection: words of messages that are not deleted, by mid.
CREATE VIRTUAL TABLE search USING fts5 (
    text, content = '', contentless_delete = 1, tokenize = 'unicode61 remove_diacritics 2', prefix = '2 3'
);

-- What the user did and the server has not numbered or answered (O1–O3). The item is the order of writing.
CREATE TABLE outbox (
    item       INTEGER PRIMARY KEY AUTOINCREMENT,
    cid        INTEGER NOT NULL REFERENCES conversations ON DELETE CASCADE,
    kind       TEXT    NOT NULL,  -- an event's kind, 'open' or 'state'
    id         BLOB,
    target     BLOB,
    content    TEXT    NOT NULL,
    state      TEXT    NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'sending', 'retry', 'acked', 'parked')),
    code       TEXT,
    retry_at   INTEGER,
    seq        INTEGER,
    tries      INTEGER NOT NULL DEFAULT 0,
    written_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX outbox_id ON outbox (id, cid) WHERE id IS NOT NULL;
CREATE INDEX outbox_cid ON outbox (cid, item);

CREATE TABLE drafts (
    cid        INTEGER PRIMARY KEY REFERENCES conversations ON DELETE CASCADE,
    text       TEXT    NOT NULL,
    base       INTEGER NOT NULL DEFAULT 0,  -- the server's version that the text stands on
    sent       TEXT,                        -- what was sent last
    is_dirty   INTEGER NOT NULL DEFAULT 0,  -- the server is not known to have the text
    conflict   TEXT,                        -- what another device wrote at the same time
    changed_at INTEGER NOT NULL
) STRICT;

CREATE TABLE notifications (
    id              BLOB PRIMARY KEY,
    kind            TEXT    NOT NULL,
    title           TEXT    NOT NULL,
    text            TEXT    NOT NULL,
    data            TEXT,
    link            TEXT,
    at              INTEGER NOT NULL,
    is_acknowledged INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
