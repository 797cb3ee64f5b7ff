-- Events stand in the order they arrived in, whichever run they are of: what a commit adds for a hundred runs
-- is then a few full pages at the end of the table, and not a page for each run in the midst of it.
-- `id` is no * 2^32 + seq as before, and has an index; the small entries of many runs share its pages.

CREATE TABLE arrived (
    id INTEGER NOT NULL,
    hash BLOB NOT NULL,
    body BLOB NOT NULL,
    parts BLOB,
    inline BLOB
) STRICT;
INSERT INTO arrived (id, hash, body, parts, inline) SELECT id, hash, body, parts, inline FROM events ORDER BY id;
DROP TABLE events;
ALTER TABLE arrived RENAME TO events;
CREATE UNIQUE INDEX events_by_id ON events (id);
