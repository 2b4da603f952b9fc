-- The number of the newest refresh token of a device. One that is newer than that is from before a restore (S11).
ALTER TABLE devices ADD COLUMN tokens_issued bigint NOT NULL DEFAULT 0;
