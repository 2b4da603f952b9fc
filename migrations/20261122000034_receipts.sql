-- A read marker changes no column that has an index, so that the row stays in its page (HOT) where there is room.
DROP INDEX members_user_idx;
CREATE INDEX members_user_idx ON members (user_id);
ALTER TABLE members SET (fillfactor = 80);
ALTER TABLE users SET (fillfactor = 90);
-- Who was signed out lately is asked for every few seconds.
CREATE INDEX devices_revoked_idx ON devices (revoked_at) WHERE revoked_at IS NOT NULL;
CREATE INDEX users_disabled_idx ON users (disabled_at) WHERE disabled_at IS NOT NULL;
