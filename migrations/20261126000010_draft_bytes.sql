-- A person's drafts together have a limit; they are few beside the memberships.
CREATE INDEX members_drafts_idx ON members (user_id) INCLUDE (conversation_key) WHERE draft IS NOT NULL;
