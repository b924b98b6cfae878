-- One file holds everything that must be atomic. `entry` is the journal: rowid = position, so the
-- hot insert appends at the table's right edge and touches no other page.

CREATE TABLE IF NOT EXISTS entry (
    position INTEGER PRIMARY KEY,
    source   INTEGER NOT NULL,
    subject  TEXT    NOT NULL,
    sequence INTEGER NOT NULL,
    type     INTEGER NOT NULL,
    version  INTEGER NOT NULL,
    time     INTEGER NOT NULL,
    payload  BLOB    NOT NULL,
    metadata BLOB,
    origin   TEXT
) STRICT;

-- Where an entity's entries lie. Filled late, in bulk: see unfiled.py for what is not here yet.
CREATE TABLE IF NOT EXISTS history (
    source   INTEGER NOT NULL,
    subject  TEXT    NOT NULL,
    sequence INTEGER NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (source, subject, sequence)
) STRICT, WITHOUT ROWID;

-- Names of sources and types, stored once.
CREATE TABLE IF NOT EXISTS name (
    number INTEGER PRIMARY KEY,
    text   TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE IF NOT EXISTS snapshot (
    source   INTEGER NOT NULL,
    subject  TEXT    NOT NULL,
    sequence INTEGER NOT NULL,
    time     INTEGER NOT NULL,
    schema   TEXT    NOT NULL,
    state    BLOB    NOT NULL,
    marks    BLOB,
    PRIMARY KEY (source, subject)
) STRICT, WITHOUT ROWID;

-- A rowid table: outcomes of equal lifetime expire in insertion order, so a sweep reads one end.
CREATE TABLE IF NOT EXISTS outcome (
    number    INTEGER PRIMARY KEY,
    source    TEXT    NOT NULL,
    subject   TEXT    NOT NULL,
    key       BLOB    NOT NULL,
    expires   INTEGER NOT NULL,
    reply     BLOB    NOT NULL,
    rejection TEXT,
    UNIQUE (source, subject, key)
) STRICT;

CREATE TABLE IF NOT EXISTS timer (
    name    TEXT PRIMARY KEY,
    due     INTEGER NOT NULL,
    command BLOB    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS timer_due ON timer (due);

CREATE TABLE IF NOT EXISTS offset (
    subscription TEXT    NOT NULL,
    shard        INTEGER NOT NULL,
    position     INTEGER NOT NULL,
    PRIMARY KEY (subscription, shard)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS letter (
    subscription TEXT    NOT NULL,
    shard        INTEGER NOT NULL,
    position     INTEGER NOT NULL,
    key          TEXT    NOT NULL,
    status       TEXT    NOT NULL,
    attempts     INTEGER NOT NULL,
    due          INTEGER NOT NULL,
    parked       INTEGER NOT NULL,
    code         TEXT    NOT NULL,
    error        TEXT    NOT NULL,
    traceback    TEXT    NOT NULL,
    entry        BLOB    NOT NULL,
    PRIMARY KEY (subscription, shard, position)
) STRICT, WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS letter_key ON letter (subscription, key, position)
    WHERE status <> 'refused';

CREATE INDEX IF NOT EXISTS letter_refused ON letter (due, subscription, shard, position)
    WHERE status = 'refused';

CREATE TABLE IF NOT EXISTS registry (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;
