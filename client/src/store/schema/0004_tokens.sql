-- Projection: tokens of messages that are not deleted, by mid. The engine makes them (store/tokens.rs) and separates
-- them by spaces, so the tokeniser here leaves everything else whole. A message is taken out with the tokens that it was
-- put in with, and they leave the index's pages at once.
DROP TABLE search;
CREATE VIRTUAL TABLE search USING fts5 (
    text, content = '', tokenize = "ascii tokenchars '#$%&*+/<=>@\^_`|~'", prefix = '2 3'
);
INSERT INTO search (search, rank) VALUES ('secure-delete', 1);
INSERT INTO search (search, rank) VALUES ('automerge', 8);

-- Words of deleted messages were left in the old index and in pages of the file: all are looked through once.
INSERT INTO meta (key, value) VALUES ('scrub', '0');
