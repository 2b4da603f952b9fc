-- The beginnings by which people are found: the user name, and the display name from each of its words on, in lower case.
-- In byte order, so that a beginning is a range of the index, whatever the database's locale.
CREATE TABLE user_words (
    tenant  text NOT NULL,
    word    text COLLATE "C" NOT NULL,
    user_id uuid NOT NULL CONSTRAINT user_words_user_fkey REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT user_words_pkey PRIMARY KEY (tenant, word, user_id)
);
CREATE INDEX user_words_user_idx ON user_words (user_id);

CREATE FUNCTION user_words_of(username text, display_name text) RETURNS SETOF text LANGUAGE sql IMMUTABLE AS $$
    SELECT username
    UNION
    SELECT substr(named.name, at)
    FROM (SELECT lower(display_name) AS name) AS named, generate_series(1, length(named.name)) AS at
    WHERE substr(named.name, at, 1) <> ' ' AND (at = 1 OR substr(named.name, at - 1, 1) = ' ')
$$;

CREATE FUNCTION users_write_words() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        DELETE FROM user_words WHERE user_id = NEW.id;
    END IF;
    INSERT INTO user_words (tenant, word, user_id)
    SELECT NEW.tenant, word, NEW.id FROM user_words_of(NEW.username, NEW.display_name) AS word;
    RETURN NULL;
END
$$;
CREATE TRIGGER users_write_words AFTER INSERT ON users FOR EACH ROW EXECUTE FUNCTION users_write_words();
CREATE TRIGGER users_rewrite_words AFTER UPDATE OF tenant, username, display_name ON users
    FOR EACH ROW WHEN ((OLD.tenant, OLD.username, OLD.display_name) IS DISTINCT FROM (NEW.tenant, NEW.username, NEW.display_name))
    EXECUTE FUNCTION users_write_words();

INSERT INTO user_words (tenant, word, user_id)
SELECT tenant, word, id FROM users CROSS JOIN LATERAL user_words_of(username, display_name) AS word;
DROP INDEX users_display_name_idx;
