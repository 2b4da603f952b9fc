-- Devices that have acknowledged a notice of a new device, each for itself. Bounded where they are added.
ALTER TABLE notifications ADD COLUMN acknowledged_by uuid[] NOT NULL DEFAULT '{}';
-- It decided who may acknowledge a notice for all.
ALTER TABLE devices DROP COLUMN made_at;
