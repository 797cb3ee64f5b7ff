-- Histories, and what is derived from them.  Ordinary tables throughout: WITHOUT ROWID tripled the size.

-- One row.  A flush that finds everything committed, but not synced, counts here: that is its commit.
CREATE TABLE store (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    syncs INTEGER NOT NULL
) STRICT;
INSERT INTO store (id, syncs) VALUES (1, 0);

-- A line for each run.  `no` is its short name within this file, and the byte its lock is on;
-- `fence` grows with every owner; `owner` is empty once the run was let go in good order.
CREATE TABLE runs (
    no INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    graph TEXT NOT NULL,
    tenant TEXT NOT NULL,
    labels TEXT NOT NULL,
    status TEXT NOT NULL,
    started_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    events INTEGER NOT NULL,
    head BLOB NOT NULL,
    fence INTEGER NOT NULL,
    owner TEXT NOT NULL,
    usd TEXT NOT NULL,
    tokens INTEGER NOT NULL,
    calls INTEGER NOT NULL
) STRICT;

-- The truth.  `id` is no * 2^32 + seq, so a run's events stand together and need no index.
-- `parts` names the payloads: [n] is the next n bytes of `inline`, a number is a row of `payloads`,
-- text is the digest of one that was erased.
CREATE TABLE events (
    id INTEGER PRIMARY KEY,
    hash BLOB NOT NULL,
    body BLOB NOT NULL,
    parts BLOB,
    inline BLOB
) STRICT;

-- Content, once for each digest.  `form`: 0 as it is, 1 zstd, 2 erased (content is NULL then).
CREATE TABLE payloads (
    id INTEGER PRIMARY KEY,
    digest BLOB NOT NULL,
    form INTEGER NOT NULL,
    content BLOB
) STRICT;
CREATE INDEX payloads_by_digest ON payloads (substr(digest, 1, 8));

-- Questions as their events leave them; `event` is the QuestionAsked that opened it last.
CREATE TABLE questions (
    id TEXT PRIMARY KEY,
    run INTEGER NOT NULL,
    event INTEGER NOT NULL,
    state TEXT NOT NULL,
    recipient TEXT NOT NULL,
    asked_at REAL NOT NULL,
    deadline REAL,
    opening INTEGER NOT NULL,
    answered_by TEXT NOT NULL,
    answer TEXT NOT NULL
) STRICT;
CREATE INDEX questions_by_run ON questions (run);

-- What other processes want of a run, until its owner has turned it into events.
CREATE TABLE requests (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    run INTEGER NOT NULL,
    kind TEXT NOT NULL,
    at REAL NOT NULL,
    by TEXT NOT NULL,
    reason TEXT NOT NULL,
    question TEXT NOT NULL,
    opening INTEGER NOT NULL,
    value BLOB
) STRICT;

-- What was charged, summed by account, node and model.
CREATE TABLE ledger (
    run INTEGER NOT NULL,
    account TEXT NOT NULL,
    node TEXT NOT NULL,
    model TEXT NOT NULL,
    requests INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    usd TEXT NOT NULL
) STRICT;
CREATE INDEX ledger_by_run ON ledger (run);
