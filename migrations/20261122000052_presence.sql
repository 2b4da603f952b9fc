-- Whether others see this user online and when they were last seen; who is hidden sees nobody else's presence (R5).
ALTER TABLE users ADD COLUMN shows_presence boolean NOT NULL DEFAULT true;
-- When the next conversation may be opened, minus what may be opened at once: an hourly budget that all instances share.
ALTER TABLE users ADD COLUMN opened_until timestamptz;
