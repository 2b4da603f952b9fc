-- A conversation outlives whoever began it; until its first event nobody sees such a direct one.
ALTER TABLE conversations
    ALTER COLUMN created_by DROP NOT NULL,
    DROP CONSTRAINT conversations_created_by_fkey,
    ADD CONSTRAINT conversations_created_by_fkey FOREIGN KEY (created_by) REFERENCES users (id) ON DELETE SET NULL;

-- Whoever is removed from the table of members, with their account, is removed from every cache of members (W1).
CREATE FUNCTION members_raise_access_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE conversation_head SET access_version = access_version + 1 WHERE conversation_key = OLD.conversation_key;
    RETURN NULL;
END
$$;
CREATE TRIGGER members_raise_access_version AFTER DELETE ON members
    FOR EACH ROW EXECUTE FUNCTION members_raise_access_version();
