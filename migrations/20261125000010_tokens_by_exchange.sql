-- Of a device's tokens that were exchanged, only the newest are kept.
CREATE INDEX refresh_tokens_exchanged_idx ON refresh_tokens (device_id, exchanged_at);
DROP INDEX refresh_tokens_device_idx;
