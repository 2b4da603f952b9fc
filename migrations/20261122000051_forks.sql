-- The sign-in that a device's session descends from: when one of its tokens comes again, all its devices are signed out.
ALTER TABLE devices ADD COLUMN family uuid NOT NULL DEFAULT gen_random_uuid();
-- When the device's last greeting was answered device_forked; only then may its refresh token part a new device (S8).
ALTER TABLE devices ADD COLUMN forked_at timestamptz;
-- What a user has not seen yet, looked up at each greeting.
CREATE INDEX notifications_unseen_idx ON notifications (user_id, created_at) WHERE acknowledged_at IS NULL;
