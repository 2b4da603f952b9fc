-- When the device's row was made. A device that parts from another one inherits `created_at`, the beginning of the session.
ALTER TABLE devices ADD COLUMN made_at timestamptz;
UPDATE devices SET made_at = created_at;
ALTER TABLE devices ALTER COLUMN made_at SET DEFAULT now(), ALTER COLUMN made_at SET NOT NULL;
