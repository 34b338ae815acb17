-- What an agent may do: one function an operation, one round trip each, each with the rights of the owner of the tables.
-- A worker's id is drawn at random at its start and is never shown to other agents: with the attempt it is the fence of its leases.
--
-- search_path is fixed because the functions run with their owner's rights:
-- https://www.postgresql.org/docs/current/sql-createfunction.html#SQL-CREATEFUNCTION-SECURITY
-- enable_seqscan is off where a plan that was made for a small table would outlive the table's growth.

-- Which migrations the database has, for the program that may not apply any.
CREATE FUNCTION attune_agent.migrations() RETURNS TABLE (version bigint, checksum bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT m.version, m.checksum FROM attune.migrations m ORDER BY m.version
$$;

CREATE FUNCTION attune_agent.pack_archive(wanted text) RETURNS bytea
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT a.archive FROM attune.pack_archives a WHERE a.digest = wanted
$$;

CREATE FUNCTION attune_agent.known_requirements() RETURNS SETOF text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT r.requirement FROM attune.requirements r
$$;

-- Registers a start of a worker, or registers it again. Other starts under its name are forgotten only when they are lost.
CREATE FUNCTION attune_agent.register_worker(
    new_id uuid, new_name text, new_kind jsonb, new_version text, new_capabilities jsonb, new_slots bigint,
    new_heartbeat_interval interval, runtimes text[], labels text[], built_in boolean[]
) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    DELETE FROM attune.workers w WHERE w.id IN (
        SELECT l.id FROM attune.workers l
        WHERE l.id <> new_id AND l.heartbeat_at < statement_timestamp() - 3 * l.heartbeat_interval
            -- nobody takes the name of a container that is gone; a day by default
            AND (l.name = new_name OR l.heartbeat_at < statement_timestamp() - 8640 * l.heartbeat_interval)
        -- another start that registers at the same moment forgets them as well
        FOR UPDATE SKIP LOCKED
    );
    INSERT INTO attune.runtimes (name, label, built_in, registered_by, registered_at)
    SELECT r.name, r.label, r.built_in, new_name, statement_timestamp()
    FROM unnest(runtimes, labels, built_in) AS r (name, label, built_in)
    -- in one order, so that workers that start together do not wait for each other in a circle
    ORDER BY r.name
    ON CONFLICT DO NOTHING;
    INSERT INTO attune.workers
        (id, name, kind, version, capabilities, slots, heartbeat_interval, registered_at, heartbeat_at)
    VALUES (new_id, new_name, new_kind, new_version, new_capabilities, new_slots, new_heartbeat_interval,
        statement_timestamp(), statement_timestamp())
    ON CONFLICT (id) DO UPDATE SET name = excluded.name, kind = excluded.kind, version = excluded.version,
        capabilities = excluded.capabilities, slots = excluded.slots, heartbeat_interval = excluded.heartbeat_interval,
        registered_at = excluded.registered_at, heartbeat_at = excluded.heartbeat_at
$$;

CREATE FUNCTION attune_agent.drain_worker(leaving uuid) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    UPDATE attune.workers w SET draining = true WHERE w.id = leaving
$$;

CREATE FUNCTION attune_agent.deregister_worker(leaving uuid) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    DELETE FROM attune.workers w WHERE w.id = leaving
$$;

-- Whether a worker may take work: it is registered, and nobody cordoned its name.
CREATE FUNCTION attune.may_claim(claimer uuid) RETURNS boolean
LANGUAGE sql STABLE
AS $$
    SELECT EXISTS (
        SELECT FROM attune.workers w
        WHERE w.id = claimer AND NOT EXISTS (SELECT FROM attune.cordons c WHERE c.worker_name = w.name)
    )
$$;

CREATE FUNCTION attune_agent.may_claim(claimer uuid) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT attune.may_claim(claimer)
$$;

-- Takes one execution, if it is still queued.
CREATE FUNCTION attune_agent.claim(claimer uuid, wanted uuid, lease interval) RETURNS SETOF attune.executions
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    UPDATE attune.executions e
    SET status = 'running', attempt = e.attempt + 1, attempts_left = e.attempts_left - 1, worker = claimer,
        worker_name = (SELECT w.name FROM attune.workers w WHERE w.id = claimer),
        started_at = statement_timestamp(), lease_expires_at = statement_timestamp() + lease
    WHERE e.id = wanted AND e.status = 'queued' AND attune.may_claim(claimer)
    RETURNING e.*
$$;

-- Takes the oldest queued execution with one of these requirements. Only the one that is taken gets locked: to others who look
-- at the same moment, everything else stays free. What somebody else is taking is passed over.
CREATE FUNCTION attune_agent.claim_next(claimer uuid, fitting text[], lease interval) RETURNS SETOF attune.executions
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $$
DECLARE
    candidate text;
    taken uuid;
BEGIN
    -- before anything is locked: whoever takes nothing must not hide anything either
    IF NOT attune.may_claim(claimer) THEN
        RETURN;
    END IF;
    FOR candidate IN
        SELECT r.requirement
        FROM unnest(fitting) AS r (requirement)
        CROSS JOIN LATERAL (
            SELECT e.created_at, e.id FROM attune.executions e
            WHERE e.status = 'queued' AND e.requirement = r.requirement
            ORDER BY e.created_at, e.id LIMIT 1
        ) AS oldest
        ORDER BY oldest.created_at, oldest.id
    LOOP
        SELECT e.id INTO taken FROM attune.executions e
        WHERE e.status = 'queued' AND e.requirement = candidate
        ORDER BY e.created_at, e.id LIMIT 1
        FOR UPDATE SKIP LOCKED;
        IF FOUND THEN
            RETURN QUERY SELECT * FROM attune_agent.claim(claimer, taken, lease);
            RETURN;
        END IF;
    END LOOP;
END
$$;

-- Says that a worker lives, renews its leases, and tells whether it is cordoned, what it holds, and what of it was cancelled.
-- No row: it is not registered. One row without an execution: it holds nothing.
CREATE FUNCTION attune_agent.heartbeat(sender uuid, lease interval)
RETURNS TABLE (cordoned boolean, execution uuid, attempt bigint, cancel_requested boolean)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $$
    WITH alive AS (
        UPDATE attune.workers w SET heartbeat_at = statement_timestamp() WHERE w.id = sender
        RETURNING EXISTS (SELECT FROM attune.cordons c WHERE c.worker_name = w.name) AS cordoned
    ), renewed AS (
        UPDATE attune.executions e SET lease_expires_at = statement_timestamp() + lease
        WHERE e.worker = sender AND e.status = 'running' AND EXISTS (SELECT FROM alive)
        RETURNING e.id, e.attempt, e.cancel_requested
    )
    SELECT a.cordoned, r.id, r.attempt, r.cancel_requested FROM alive a LEFT JOIN renewed r ON true
$$;

CREATE FUNCTION attune_agent.held(holder uuid)
RETURNS TABLE (execution uuid, attempt bigint, cancel_requested boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $$
    SELECT e.id, e.attempt, e.cancel_requested FROM attune.executions e WHERE e.worker = holder AND e.status = 'running'
$$;

-- Puts pieces of log where they belong. Those that are there already come from a first try whose answer was lost.
CREATE FUNCTION attune.write_log(
    of_execution uuid, of_attempt bigint, positions bigint[], streams text[], pieces bytea[]
) RETURNS void
LANGUAGE sql
AS $$
    INSERT INTO attune.log_chunks (execution, attempt, position, stream, written_at, data)
    SELECT of_execution, of_attempt, p.position, p.stream, statement_timestamp(), p.data
    FROM unnest(positions, streams, pieces) AS p (position, stream, data)
    ON CONFLICT DO NOTHING
$$;

-- Adds to the log of a running attempt; false when the fence is stale. The row is held until the pieces are in, so that no
-- other end comes between.
CREATE FUNCTION attune_agent.append_log(
    fenced_execution uuid, fenced_attempt bigint, fenced_worker uuid, positions bigint[], streams text[], pieces bytea[]
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM FROM attune.executions e
    WHERE e.id = fenced_execution AND e.attempt = fenced_attempt AND e.worker = fenced_worker AND e.status = 'running'
    FOR SHARE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM attune.write_log(fenced_execution, fenced_attempt, positions, streams, pieces);
    RETURN true;
END
$$;

-- Records the outcome of an attempt with the last of its log; false when the fence is stale. The same outcome again is no
-- fault: the first answer was lost.
CREATE FUNCTION attune_agent.finish(
    fenced_execution uuid, fenced_attempt bigint, fenced_worker uuid, new_status text, new_outcome jsonb,
    positions bigint[], streams text[], pieces bytea[]
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF new_status IN ('queued', 'running', 'lost') THEN
        RAISE EXCEPTION 'an attempt cannot finish as %', new_status;
    END IF;
    UPDATE attune.executions e
    SET status = new_status, outcome = new_outcome, finished_at = statement_timestamp(), lease_expires_at = NULL
    WHERE e.id = fenced_execution AND e.attempt = fenced_attempt AND e.worker = fenced_worker AND e.status = 'running';
    IF NOT FOUND THEN
        RETURN EXISTS (
            SELECT FROM attune.executions e
            WHERE e.id = fenced_execution AND e.attempt = fenced_attempt AND e.worker = fenced_worker
              AND e.status = new_status AND e.outcome = new_outcome
        );
    END IF;
    PERFORM attune.write_log(fenced_execution, fenced_attempt, positions, streams, pieces);
    RETURN true;
END
$$;

-- Gives a running execution back, as if the attempt had not counted, and keeps how that ended with the last of its log; one
-- whose end was asked for ends. False when the fence is stale.
CREATE FUNCTION attune_agent.release(
    fenced_execution uuid, fenced_attempt bigint, fenced_worker uuid, attempt_outcome jsonb,
    positions bigint[], streams text[], pieces bytea[]
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    released attune.executions;
BEGIN
    UPDATE attune.executions e
    SET attempts_left = e.attempts_left + 1, lease_expires_at = NULL,
        status = CASE WHEN e.cancel_requested THEN 'cancelled' ELSE 'queued' END,
        finished_at = CASE WHEN e.cancel_requested THEN statement_timestamp() END,
        outcome = CASE WHEN e.cancel_requested
            THEN attempt_outcome || '{"error":"cancelled before it was started again"}' ELSE e.outcome END
    WHERE e.id = fenced_execution AND e.attempt = fenced_attempt AND e.worker = fenced_worker AND e.status = 'running'
    RETURNING e.* INTO released;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF released.status = 'queued' THEN
        INSERT INTO attune.earlier_attempts (execution, attempt, worker_name, started_at, ended_at, outcome)
        VALUES (released.id, released.attempt, released.worker_name, released.started_at, statement_timestamp(), attempt_outcome);
    END IF;
    PERFORM attune.write_log(released.id, released.attempt, positions, streams, pieces);
    RETURN true;
END
$$;

-- A time as people read it.
CREATE FUNCTION attune.shown(moment timestamptz) RETURNS text
LANGUAGE sql STABLE
AS $$
    SELECT to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
$$;

-- Takes executions away from workers that have gone silent: back to the queue, or lost. Reapers that look at the same moment
-- share the work. A thousand at a time, so that no statement of others waits for long.
CREATE FUNCTION attune_agent.reap() RETURNS TABLE (execution uuid, requirement text, status text)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $$
    WITH expired AS MATERIALIZED (
        SELECT e.id, e.worker FROM attune.executions e
        WHERE e.status = 'running' AND e.lease_expires_at < statement_timestamp()
        LIMIT 1000 FOR UPDATE SKIP LOCKED
    ), taken AS (
        UPDATE attune.executions e
        SET lease_expires_at = NULL,
            status = CASE WHEN e.cancel_requested THEN 'cancelled' WHEN e.attempts_left > 0 THEN 'queued' ELSE 'lost' END,
            finished_at = CASE WHEN e.cancel_requested OR e.attempts_left = 0 THEN statement_timestamp() END,
            outcome = jsonb_build_object('error', format('worker %s was not heard of since %s while it ran attempt %s',
                coalesce(e.worker_name, e.worker::text),
                -- one that is forgotten is known by the end of its lease only
                coalesce(attune.shown(w.heartbeat_at), 'before ' || attune.shown(e.lease_expires_at)), e.attempt))
        FROM expired LEFT JOIN attune.workers w ON w.id = expired.worker WHERE e.id = expired.id
        RETURNING e.*
    ), kept AS (
        INSERT INTO attune.earlier_attempts (execution, attempt, worker_name, started_at, ended_at, outcome)
        SELECT t.id, t.attempt, t.worker_name, t.started_at, statement_timestamp(), t.outcome
        FROM taken t WHERE t.status = 'queued'
    )
    SELECT t.id, t.requirement, t.status FROM taken t
$$;

-- functions are everybody's by default
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA attune, attune_agent FROM PUBLIC;
