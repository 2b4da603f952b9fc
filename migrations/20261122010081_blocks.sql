-- Whom a user has blocked. While a row stands between two people, neither opens a conversation with the other, adds them to
-- a group, or writes in their direct conversation.
CREATE TABLE blocks (
    user_id    uuid        NOT NULL CONSTRAINT blocks_user_fkey REFERENCES users (id) ON DELETE CASCADE,
    blocked_id uuid        NOT NULL CONSTRAINT blocks_blocked_fkey REFERENCES users (id) ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT blocks_pkey PRIMARY KEY (user_id, blocked_id),
    CONSTRAINT blocks_others_check CHECK (user_id <> blocked_id)
);
-- Unique, so that a pair is found by either index, however many have blocked one person.
CREATE UNIQUE INDEX blocks_blocked_idx ON blocks (blocked_id, user_id);
