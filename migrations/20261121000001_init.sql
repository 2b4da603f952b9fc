-- Accounts and devices. A user belongs to a tenant (a platform); external_id is the platform's own id for them.
CREATE TABLE users (
    id            uuid        NOT NULL CONSTRAINT users_pkey PRIMARY KEY,
    tenant        text        NOT NULL DEFAULT '',
    external_id   text,
    username      text        NOT NULL,
    display_name  text        NOT NULL,
    role          text,
    avatar        text,
    email         text,
    password_hash text        NOT NULL,
    version       bigint      NOT NULL DEFAULT 1,
    -- The user's own dense counter (S4): raised under this row's lock by every change of own state.
    user_seq      bigint      NOT NULL DEFAULT 0,
    disabled_at   timestamptz,
    last_seen     timestamptz,
    created_at    timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT users_username_key UNIQUE (tenant, username),
    CONSTRAINT users_external_id_key UNIQUE (tenant, external_id)
);
CREATE INDEX users_display_name_idx ON users (lower(display_name) text_pattern_ops);

CREATE TABLE devices (
    id                   uuid        NOT NULL CONSTRAINT devices_pkey PRIMARY KEY,
    user_id              uuid        NOT NULL CONSTRAINT devices_user_fkey REFERENCES users (id) ON DELETE CASCADE,
    name                 text        NOT NULL,
    -- S8: the generation last issued and the one last presented are valid.
    generation_issued    bigint      NOT NULL DEFAULT 0,
    generation_presented bigint      NOT NULL DEFAULT 0,
    created_at           timestamptz NOT NULL DEFAULT now(),
    last_seen            timestamptz NOT NULL DEFAULT now(),
    revoked_at           timestamptz
);
CREATE INDEX devices_user_idx ON devices (user_id);

-- Refresh tokens, by hash only. The successor is derived (HMAC), so a lost answer can be given again (S11).
CREATE TABLE refresh_tokens (
    hash         bytea       NOT NULL CONSTRAINT refresh_tokens_pkey PRIMARY KEY,
    device_id    uuid        NOT NULL CONSTRAINT refresh_tokens_device_fkey REFERENCES devices (id) ON DELETE CASCADE,
    issued_at    timestamptz NOT NULL DEFAULT now(),
    exchanged_at timestamptz,
    successor    bytea
);
CREATE INDEX refresh_tokens_device_idx ON refresh_tokens (device_id);

-- Keys of this server: the access tokens' signing keys and the key of derived refresh tokens.
CREATE TABLE server_keys (
    kid        text        NOT NULL CONSTRAINT server_keys_pkey PRIMARY KEY,
    purpose    text        NOT NULL CONSTRAINT server_keys_purpose_check CHECK (purpose IN ('access', 'refresh')),
    secret     bytea       NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    retired_at timestamptz
);

CREATE TABLE invites (
    hash       bytea       NOT NULL CONSTRAINT invites_pkey PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    used_at    timestamptz,
    used_by    uuid        CONSTRAINT invites_used_by_fkey REFERENCES users (id) ON DELETE SET NULL
);
CREATE INDEX invites_used_by_idx ON invites (used_by);

-- What a conversation is: changes seldom. `key` is the dense stand-in for the id in the large tables.
CREATE TABLE conversations (
    key        bigint      NOT NULL GENERATED ALWAYS AS IDENTITY CONSTRAINT conversations_pkey PRIMARY KEY,
    id         uuid        NOT NULL CONSTRAINT conversations_id_key UNIQUE,
    kind       text        NOT NULL CONSTRAINT conversations_kind_check CHECK (kind IN ('direct', 'group')),
    tenant     text        NOT NULL DEFAULT '',
    title      text,
    context    jsonb,
    created_by uuid        NOT NULL CONSTRAINT conversations_created_by_fkey REFERENCES users (id),
    closed_at  timestamptz,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX conversations_created_by_idx ON conversations (created_by);

-- Where a conversation stands (W1): one narrow row, updated in place, no index on a changing column.
CREATE TABLE conversation_head (
    conversation_key bigint NOT NULL CONSTRAINT conversation_head_pkey PRIMARY KEY,
    conversation_id  uuid   NOT NULL CONSTRAINT conversation_head_id_key UNIQUE,
    head             bigint NOT NULL DEFAULT 0,
    countable        bigint NOT NULL DEFAULT 0,
    chain            bytea  NOT NULL,
    last_ts          bigint NOT NULL DEFAULT 0,
    -- Raised by every change of members or policy; a cache counts only at this value.
    access_version   bigint NOT NULL DEFAULT 1
) WITH (fillfactor = 50);

-- The log. Lean on purpose: a dense clustered key, no foreign keys, the id's uniqueness per conversation.
CREATE TABLE events (
    conversation_key bigint  NOT NULL,
    seq              bigint  NOT NULL,
    id               uuid    NOT NULL,
    sender           uuid    NOT NULL,
    ts               bigint  NOT NULL,
    written_at       bigint,
    countable        bigint  NOT NULL,
    chain            bytea   NOT NULL,
    kind             text    NOT NULL,
    target           uuid,
    -- JSON as it came; NULL once redacted.
    body             text,
    body_hash        bytea   NOT NULL,
    -- The transaction that wrote it, so that another instance can find what it missed (L4).
    xid              xid8    NOT NULL DEFAULT pg_current_xact_id(),
    CONSTRAINT events_pkey PRIMARY KEY (conversation_key, seq),
    CONSTRAINT events_id_key UNIQUE (conversation_key, id)
);
CREATE INDEX events_target_idx ON events (conversation_key, target, seq) WHERE target IS NOT NULL;

-- A user in a conversation, with the user's own state there (S4). The row stays after leaving.
CREATE TABLE members (
    conversation_key bigint  NOT NULL CONSTRAINT members_conversation_fkey REFERENCES conversations (key) ON DELETE CASCADE,
    user_id          uuid    NOT NULL CONSTRAINT members_user_fkey REFERENCES users (id) ON DELETE CASCADE,
    role             text    NOT NULL CONSTRAINT members_role_check CHECK (role IN ('owner', 'admin', 'member')),
    is_active        boolean NOT NULL DEFAULT true,
    read_seq         bigint  NOT NULL DEFAULT 0,
    delivered_seq    bigint  NOT NULL DEFAULT 0,
    unread_flag      boolean NOT NULL DEFAULT false,
    mute_until       bigint  NOT NULL DEFAULT 0,
    pin              boolean NOT NULL DEFAULT false,
    archive          boolean NOT NULL DEFAULT false,
    -- Hidden while the head is not above this; NULL for not hidden.
    hidden_at_seq    bigint,
    draft            text,
    draft_version    bigint  NOT NULL DEFAULT 0,
    version          bigint  NOT NULL DEFAULT 0,
    CONSTRAINT members_pkey PRIMARY KEY (conversation_key, user_id)
);
CREATE INDEX members_user_idx ON members (user_id, version);

-- The intervals in which a member sees the log, both ends inclusive (R6).
CREATE TABLE member_intervals (
    conversation_key bigint NOT NULL,
    user_id          uuid   NOT NULL,
    from_seq         bigint NOT NULL,
    to_seq           bigint,
    CONSTRAINT member_intervals_pkey PRIMARY KEY (conversation_key, user_id, from_seq),
    CONSTRAINT member_intervals_member_fkey FOREIGN KEY (conversation_key, user_id)
        REFERENCES members (conversation_key, user_id) ON DELETE CASCADE
);

-- The platform's notifications to a user.
CREATE TABLE notifications (
    id              uuid        NOT NULL CONSTRAINT notifications_pkey PRIMARY KEY,
    user_id         uuid        NOT NULL CONSTRAINT notifications_user_fkey REFERENCES users (id) ON DELETE CASCADE,
    kind            text        NOT NULL,
    title           text        NOT NULL,
    text            text        NOT NULL,
    data            jsonb,
    link            text,
    created_at      timestamptz NOT NULL DEFAULT now(),
    acknowledged_at timestamptz
);
CREATE INDEX notifications_user_idx ON notifications (user_id, created_at);
