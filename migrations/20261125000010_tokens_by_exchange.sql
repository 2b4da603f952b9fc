-- The server keeps only the newest exchanged tokens of a device. This index finds the older ones.
CREATE INDEX refresh_tokens_exchanged_idx ON refresh_tokens (device_id, exchanged_at);
DROP INDEX refresh_tokens_device_idx;
