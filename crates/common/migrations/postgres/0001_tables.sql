-- Schema attune holds the tables and is closed to everybody but its owner, whom attune-api connects as.
-- Schema attune_agent holds functions: what an agent may do, and nothing else (0002_agent_functions.sql).
-- Names are always written with their schema: no search_path of a role, a database or a pooler can change what is meant.
--
-- Times are statement_timestamp(): when the database received the statement. Unlike clock_timestamp() it is stable, so that an
-- index can be searched for it; unlike now() it goes on within a transaction. A statement that waits for a lock writes a lease
-- that is shorter than the worker believes, never longer.

CREATE TABLE attune.pack_archives (
    digest  text PRIMARY KEY,
    archive bytea NOT NULL
);
-- archives are compressed already
ALTER TABLE attune.pack_archives ALTER COLUMN archive SET STORAGE EXTERNAL;

CREATE TABLE attune.packs (
    ref         text PRIMARY KEY,
    version     text NOT NULL,
    label       text NOT NULL,
    description text NOT NULL,
    digest      text NOT NULL REFERENCES attune.pack_archives (digest),
    pushed_at   timestamptz NOT NULL
);

CREATE TABLE attune.actions (
    ref        text PRIMARY KEY,
    pack       text NOT NULL REFERENCES attune.packs (ref) ON DELETE CASCADE,
    definition jsonb NOT NULL
);
CREATE INDEX actions_of_pack ON attune.actions (pack);

CREATE TABLE attune.requirements (
    requirement text PRIMARY KEY
);

CREATE TABLE attune.workers (
    id                 uuid PRIMARY KEY,
    name               text NOT NULL,
    kind               jsonb NOT NULL,
    version            text NOT NULL,
    capabilities       jsonb NOT NULL,
    slots              bigint NOT NULL,
    -- a worker is lost after three of them in silence
    heartbeat_interval interval NOT NULL,
    draining           boolean NOT NULL DEFAULT false,
    registered_at      timestamptz NOT NULL,
    heartbeat_at       timestamptz NOT NULL
) WITH (fillfactor = 50);
CREATE INDEX workers_by_name ON attune.workers (name);

-- Names whose workers take nothing new. They outlive the workers: a restart changes nothing.
CREATE TABLE attune.cordons (
    worker_name text PRIMARY KEY,
    reason      text NOT NULL,
    cordoned_at timestamptz NOT NULL
);

-- A row is made when the first worker that offers the runtime registers.
CREATE TABLE attune.runtimes (
    name          text PRIMARY KEY,
    label         text NOT NULL,
    built_in      boolean NOT NULL,
    -- name of a worker that may be gone
    registered_by text NOT NULL,
    registered_at timestamptz NOT NULL
);

CREATE TABLE attune.executions (
    id               uuid PRIMARY KEY,
    action_ref       text NOT NULL,
    action           jsonb NOT NULL,
    pack_version     text NOT NULL,
    pack_digest      text NOT NULL REFERENCES attune.pack_archives (digest),
    parameters       jsonb NOT NULL,
    requirement      text NOT NULL REFERENCES attune.requirements (requirement),
    status           text NOT NULL DEFAULT 'queued'
        CHECK (status IN ('queued', 'running', 'succeeded', 'failed', 'timed_out', 'cancelled', 'lost')),
    attempt          bigint NOT NULL DEFAULT 0,
    attempts_left    bigint NOT NULL CHECK (attempts_left >= 0),
    cancel_requested boolean NOT NULL DEFAULT false,
    worker           uuid,
    worker_name      text,
    lease_expires_at timestamptz,
    idempotency_key  text UNIQUE,
    created_at       timestamptz NOT NULL,
    started_at       timestamptz,
    finished_at      timestamptz,
    outcome          jsonb,
    -- a lease is held exactly while the execution runs, and an end is recorded exactly once it has ended
    CHECK ((status = 'running') = (lease_expires_at IS NOT NULL)),
    CHECK ((status IN ('queued', 'running')) = (finished_at IS NULL))
) WITH (
    -- room for the next version of a row on its own page: renewing a lease then touches no index
    fillfactor = 80,
    -- rows are rewritten a few times each: what is left of them must not wait for a fifth of a large table
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_analyze_scale_factor = 0.02
);
-- The claim. Its order is in no other index: whatever the statistics say, there is no second way to the oldest.
CREATE INDEX executions_waiting ON attune.executions (requirement, created_at, id) WHERE status = 'queued';
-- The heartbeat, the count of what a worker runs, and the reaper, which reads all of it: no larger than all slots together.
-- The end of the lease is not part of it, so that a heartbeat changes no index.
CREATE INDEX executions_held ON attune.executions (worker) WHERE status = 'running';
-- The lists: the newest of one status, or of one status of an action. Lists of several are put together from these.
CREATE INDEX executions_of_action ON attune.executions (action_ref, status, id);
CREATE INDEX executions_by_status ON attune.executions (status, id);

-- An id that sorts by the time of submission: a UUID of version 7 (RFC 9562, section 5.7) whose time is the database's, down to
-- the microsecond (section 6.2, method 3).
CREATE FUNCTION attune.new_execution_id() RETURNS uuid
LANGUAGE sql
AS $$
    SELECT (lpad(to_hex(t.microseconds / 1000), 12, '0') || to_hex(x'7000'::bigint + t.microseconds % 1000 * 4096 / 1000)
        || right(replace(gen_random_uuid()::text, '-', ''), 16))::uuid
    FROM (SELECT (extract(epoch FROM statement_timestamp()) * 1000000)::bigint) AS t (microseconds)
$$;

-- Attempts after which the execution went back to the queue. The last attempt is in the execution's own row.
CREATE TABLE attune.earlier_attempts (
    execution   uuid NOT NULL REFERENCES attune.executions (id) ON DELETE CASCADE,
    attempt     bigint NOT NULL,
    worker_name text,
    started_at  timestamptz NOT NULL,
    ended_at    timestamptz NOT NULL,
    outcome     jsonb NOT NULL,
    PRIMARY KEY (execution, attempt)
);

CREATE TABLE attune.log_chunks (
    execution  uuid NOT NULL REFERENCES attune.executions (id) ON DELETE CASCADE,
    attempt    bigint NOT NULL,
    -- position of the first byte in the attempt's whole log
    position   bigint NOT NULL,
    stream     text NOT NULL CHECK (stream IN ('stdout', 'stderr', 'system')),
    written_at timestamptz NOT NULL,
    data       bytea NOT NULL,
    PRIMARY KEY (execution, attempt, position)
);

-- Stores a pack and makes its actions the current ones. Whoever pushes the same pack meanwhile waits at its row.
CREATE FUNCTION attune.push_pack(
    new_ref text, new_version text, new_label text, new_description text, new_digest text, new_archive bytea,
    names text[], definitions jsonb[]
) RETURNS SETOF attune.packs
LANGUAGE sql
AS $$
    INSERT INTO attune.pack_archives (digest, archive) VALUES (new_digest, new_archive) ON CONFLICT DO NOTHING;
    INSERT INTO attune.packs (ref, version, label, description, digest, pushed_at)
    VALUES (new_ref, new_version, new_label, new_description, new_digest, statement_timestamp())
    ON CONFLICT (ref) DO UPDATE SET version = excluded.version, label = excluded.label,
        description = excluded.description, digest = excluded.digest, pushed_at = excluded.pushed_at
    WHERE packs.digest <> excluded.digest;
    DELETE FROM attune.actions a WHERE a.pack = new_ref;
    INSERT INTO attune.actions (ref, pack, definition)
    SELECT n.ref, new_ref, n.definition FROM unnest(names, definitions) AS n (ref, definition);
    SELECT p.* FROM attune.packs p WHERE p.ref = new_ref
$$;
