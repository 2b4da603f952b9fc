-- When the next person may be added to a group, minus what may be added at once: an hourly budget that all instances share.
ALTER TABLE users ADD COLUMN added_until timestamptz;
