-- The number of the newest refresh token of a device. One that is newer than that is from before a restore (S11).
ALTER TABLE devices ADD COLUMN tokens_issued bigint NOT NULL DEFAULT 0;
-- The time in ms of the last change of the password: tokens of devices that the database does not know have a higher number.
ALTER TABLE users ADD COLUMN tokens_after bigint NOT NULL DEFAULT 0;
