-- The transaction that changed a profile last, so that heads can tell what changed since a snapshot (S5).
ALTER TABLE users ADD COLUMN changed xid8 NOT NULL DEFAULT pg_current_xact_id();
CREATE INDEX users_changed_idx ON users (changed);
