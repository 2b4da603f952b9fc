-- The member list is complete up to this seq. Title and own membership may be known further: heads of a large group carry no list.
ALTER TABLE conversations ADD COLUMN members_as_of INTEGER NOT NULL DEFAULT 0;
UPDATE conversations SET members_as_of = facts_as_of;
