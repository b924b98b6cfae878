-- needs: 1
-- The oldest code that can work on this schema has that version: see migration.py.

-- One row a shard. It hands out positions without gaps, orders the commits of its shard (row lock)
-- and fences: a commit changes it only under the epoch that the stored one still is.
CREATE TABLE shard (
    shard    integer PRIMARY KEY,
    position bigint NOT NULL DEFAULT 0,
    epoch    bigint NOT NULL DEFAULT 0,
    owner    text COLLATE "C"
) WITH (fillfactor = 20); -- room for new versions of a row on its own page: no index is touched

-- One row an open writing connection. Each of its commits counts it up, so that after a lost
-- connection a new one can read whether the last commit is there; removing the row makes one that
-- is still under way impossible.
CREATE TABLE writer (
    id     uuid PRIMARY KEY,
    number bigint NOT NULL DEFAULT 0,
    ends   bigint[],
    seen   timestamptz NOT NULL DEFAULT statement_timestamp()
) WITH (fillfactor = 20);

-- The journal. Home shards are one partition, each topic's shards another: see partitions.py.
CREATE TABLE entry (
    shard    integer NOT NULL,
    version  integer NOT NULL,
    position bigint  NOT NULL,
    sequence bigint  NOT NULL,
    time     bigint  NOT NULL,
    source   text COLLATE "C" NOT NULL,
    subject  text COLLATE "C" NOT NULL,
    type     text COLLATE "C" NOT NULL,
    payload  bytea   NOT NULL,
    metadata bytea,
    origin   text COLLATE "C",
    PRIMARY KEY (shard, position)
) PARTITION BY RANGE (shard);

CREATE TABLE topic (
    name   text COLLATE "C" PRIMARY KEY,
    number integer NOT NULL UNIQUE
);

CREATE TABLE snapshot (
    source   text COLLATE "C" NOT NULL,
    subject  text COLLATE "C" NOT NULL,
    sequence bigint NOT NULL,
    time     bigint NOT NULL,
    schema   text   NOT NULL,
    state    bytea  NOT NULL,
    marks    bytea,
    PRIMARY KEY (source, subject)
);

CREATE TABLE outcome (
    source    text COLLATE "C" NOT NULL,
    subject   text COLLATE "C" NOT NULL,
    key       bytea  NOT NULL,
    expires   bigint NOT NULL,
    reply     bytea  NOT NULL,
    rejection text,
    PRIMARY KEY (source, subject, key)
);

CREATE INDEX outcome_expires ON outcome (expires);

CREATE TABLE timer (
    name    text COLLATE "C" PRIMARY KEY,
    shard   integer NOT NULL,
    due     bigint  NOT NULL,
    command bytea   NOT NULL
);

CREATE INDEX timer_due ON timer (shard, due);

CREATE TABLE "offset" (
    subscription text COLLATE "C" NOT NULL,
    shard        integer NOT NULL,
    position     bigint  NOT NULL,
    PRIMARY KEY (subscription, shard)
) WITH (fillfactor = 50);

CREATE TABLE letter (
    subscription text COLLATE "C" NOT NULL,
    shard        integer NOT NULL,
    position     bigint  NOT NULL,
    key          text COLLATE "C" NOT NULL,
    status       text    NOT NULL,
    attempts     integer NOT NULL,
    due          bigint  NOT NULL,
    parked       bigint  NOT NULL,
    code         text    NOT NULL,
    error        text    NOT NULL,
    traceback    text    NOT NULL,
    entry        bytea   NOT NULL,
    PRIMARY KEY (subscription, shard, position)
);

CREATE INDEX letter_refused ON letter (due, subscription, shard, position)
    WHERE status = 'refused';

CREATE INDEX letter_key ON letter (subscription, shard, key, position) WHERE status <> 'refused';

CREATE TABLE registry (
    name  text COLLATE "C" PRIMARY KEY,
    value bytea NOT NULL
);

-- Nodes that are alive: those whose lease has not ended by this server's clock.
CREATE TABLE member (
    node    text COLLATE "C" PRIMARY KEY,
    address text NOT NULL,
    ends    timestamptz NOT NULL
);
