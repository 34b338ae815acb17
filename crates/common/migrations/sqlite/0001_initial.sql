-- Times are milliseconds since 1970-01-01 UTC by SQLite's own clock. Ids are UUIDs as text.

CREATE TABLE pack_archives (
    digest    TEXT PRIMARY KEY,
    archive   BLOB NOT NULL
) STRICT;

CREATE TABLE packs (
    ref         TEXT PRIMARY KEY,
    version     TEXT NOT NULL,
    label       TEXT NOT NULL,
    description TEXT NOT NULL,
    digest      TEXT NOT NULL REFERENCES pack_archives (digest),
    pushed_at   INTEGER NOT NULL
) STRICT;

CREATE TABLE actions (
    ref         TEXT PRIMARY KEY,
    pack        TEXT NOT NULL REFERENCES packs (ref) ON DELETE CASCADE,
    definition  TEXT NOT NULL
) STRICT;
CREATE INDEX actions_of_pack ON actions (pack);

CREATE TABLE requirements (
    requirement TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;

CREATE TABLE workers (
    id                 TEXT PRIMARY KEY,
    name               TEXT NOT NULL,
    kind               TEXT NOT NULL,
    version            TEXT NOT NULL,
    capabilities       TEXT NOT NULL,
    slots              INTEGER NOT NULL,
    -- in milliseconds; a worker is lost after three of them in silence
    heartbeat_interval INTEGER NOT NULL,
    draining           INTEGER NOT NULL DEFAULT 0,
    registered_at      INTEGER NOT NULL,
    heartbeat_at       INTEGER NOT NULL
) STRICT;
CREATE INDEX workers_by_name ON workers (name);

-- Names whose workers take nothing new. They outlive the workers: a restart changes nothing.
CREATE TABLE cordons (
    worker_name TEXT PRIMARY KEY,
    reason      TEXT NOT NULL,
    cordoned_at INTEGER NOT NULL
) STRICT;

-- A row is made when the first worker that offers the runtime registers.
CREATE TABLE runtimes (
    name          TEXT PRIMARY KEY,
    label         TEXT NOT NULL,
    built_in      INTEGER NOT NULL,
    -- name of a worker that may be gone
    registered_by TEXT NOT NULL,
    registered_at INTEGER NOT NULL
) STRICT;

CREATE TABLE executions (
    id               TEXT PRIMARY KEY,
    action_ref       TEXT NOT NULL,
    action           TEXT NOT NULL,
    pack_version     TEXT NOT NULL,
    pack_digest      TEXT NOT NULL REFERENCES pack_archives (digest),
    parameters       TEXT NOT NULL,
    requirement      TEXT NOT NULL REFERENCES requirements (requirement),
    status           TEXT NOT NULL DEFAULT 'queued'
        CHECK (status IN ('queued', 'running', 'succeeded', 'failed', 'timed_out', 'cancelled', 'lost')),
    attempt          INTEGER NOT NULL DEFAULT 0,
    attempts_left    INTEGER NOT NULL CHECK (attempts_left >= 0),
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    worker           TEXT,
    worker_name      TEXT,
    lease_expires_at INTEGER,
    idempotency_key  TEXT UNIQUE,
    created_at       INTEGER NOT NULL,
    started_at       INTEGER,
    finished_at      INTEGER,
    outcome          TEXT,
    -- a lease is held exactly while the execution runs, and an end is recorded exactly once it has ended
    CHECK ((status = 'running') = (lease_expires_at IS NOT NULL)),
    CHECK ((status IN ('queued', 'running')) = (finished_at IS NULL))
) STRICT;
-- the claim, the reaper, the heartbeat, and the list of one action
CREATE INDEX executions_waiting ON executions (requirement, id) WHERE status = 'queued';
CREATE INDEX executions_leased ON executions (lease_expires_at) WHERE status = 'running';
CREATE INDEX executions_held ON executions (worker) WHERE status = 'running';
CREATE INDEX executions_of_action ON executions (action_ref, id);

-- Attempts after which the execution went back to the queue. The last attempt is in the execution's own row.
CREATE TABLE earlier_attempts (
    execution   TEXT NOT NULL REFERENCES executions (id) ON DELETE CASCADE,
    attempt     INTEGER NOT NULL,
    worker_name TEXT,
    started_at  INTEGER NOT NULL,
    ended_at    INTEGER NOT NULL,
    outcome     TEXT NOT NULL,
    PRIMARY KEY (execution, attempt)
) STRICT;

CREATE TABLE log_chunks (
    execution  TEXT NOT NULL REFERENCES executions (id) ON DELETE CASCADE,
    attempt    INTEGER NOT NULL,
    -- position of the first byte in the attempt's whole log
    position   INTEGER NOT NULL,
    stream     TEXT NOT NULL CHECK (stream IN ('stdout', 'stderr', 'system')),
    written_at INTEGER NOT NULL,
    data       BLOB NOT NULL,
    UNIQUE (execution, attempt, position)
) STRICT;
