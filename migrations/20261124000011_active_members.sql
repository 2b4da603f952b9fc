-- Rows of former members stay. What asks for the members of a conversation reads only those who are there.
CREATE INDEX members_active_idx ON members (conversation_key, user_id) WHERE is_active;
-- Whose membership an event has ended.
CREATE INDEX member_intervals_end_idx ON member_intervals (conversation_key, to_seq) WHERE to_seq IS NOT NULL;
