-- The two roles of Attune on PostgreSQL 14 or later. Run it in a database that is Attune's alone (everybody else loses the right
-- to connect to it), before or after the first start of attune-api, as a superuser or as an owner of the database who may create
-- roles. Running it again changes nothing.
--
--   attune-api database-roles | psql --set ON_ERROR_STOP=1 "postgres://postgres@db.example.net/attune"
--
-- Then give each its password (psql: \password attune_api). attune-api connects as attune_api, attune-agent and attune-worker as
-- attune_agent, or as a role of their own that is a member of it (GRANT attune_agent TO …).
--
-- What else the server holds is not Attune's to close: a role may connect to every database that PUBLIC may connect to, such as
-- postgres, and may end its own sessions from there. Where that matters, revoke it or say so in pg_hba.conf:
--
--   REVOKE CONNECT ON DATABASE postgres FROM PUBLIC;
--
-- attune_api owns the tables and migrates them. attune_agent may call the functions of schema attune_agent, and nothing else: it
-- cannot read a table, now or after any later migration.

BEGIN;

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'attune_api') THEN
        CREATE ROLE attune_api LOGIN;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'attune_agent') THEN
        CREATE ROLE attune_agent LOGIN;
    END IF;
    -- Whoever is no superuser must be able to become the role to whom it gives something. Since PostgreSQL 16, who has created a
    -- role is a member of it (and administers it), but has none of its rights.
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AND NOT pg_has_role(current_user, 'attune_api', 'USAGE') THEN
        EXECUTE format('GRANT attune_api TO %I', current_user);
    END IF;
END
$$;

-- Before PostgreSQL 15, everybody may create objects in schema public.
REVOKE CREATE ON SCHEMA public FROM PUBLIC;

DO $$
DECLARE
    entry record;
BEGIN
    -- nobody but these two has any business here
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO attune_api, attune_agent', current_database());
    FOR entry IN SELECT unnest(ARRAY['attune', 'attune_agent']) AS name LOOP
        IF to_regnamespace(entry.name) IS NULL THEN
            EXECUTE format('CREATE SCHEMA %I AUTHORIZATION attune_api', entry.name);
        ELSE
            EXECUTE format('ALTER SCHEMA %I OWNER TO attune_api', entry.name);
        END IF;
        EXECUTE format('REVOKE ALL ON SCHEMA %I FROM PUBLIC', entry.name);
    END LOOP;
    -- what another role has migrated
    FOR entry IN
        SELECT c.oid::regclass AS name FROM pg_class c
        WHERE c.relnamespace = 'attune'::regnamespace AND c.relkind = 'r' AND pg_get_userbyid(c.relowner) <> 'attune_api'
    LOOP
        EXECUTE format('ALTER TABLE %s OWNER TO attune_api', entry.name);
    END LOOP;
    FOR entry IN
        SELECT p.oid::regprocedure AS name FROM pg_proc p
        WHERE p.pronamespace IN ('attune'::regnamespace, 'attune_agent'::regnamespace) AND pg_get_userbyid(p.proowner) <> 'attune_api'
    LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO attune_api', entry.name);
    END LOOP;
END
$$;

-- What PostgreSQL lets everybody do, and only a superuser can take away: end the sessions of others of one's role, and make large
-- objects, which belong to no schema. (That every role may change its own password cannot be taken away: who has that of
-- attune_agent can lock out the other agents, but learns nothing.)
DO $$
DECLARE
    entry regprocedure;
BEGIN
    IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        FOR entry IN
            SELECT oid FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace
            AND proname IN ('pg_terminate_backend', 'pg_cancel_backend', 'lo_creat', 'lo_create', 'lo_from_bytea')
        LOOP
            EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', entry);
        END LOOP;
    END IF;
END
$$;

GRANT USAGE ON SCHEMA attune_agent TO attune_agent;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA attune_agent TO attune_agent;
ALTER DEFAULT PRIVILEGES FOR ROLE attune_api REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE attune_api IN SCHEMA attune_agent GRANT EXECUTE ON FUNCTIONS TO attune_agent;

-- The programs set these for themselves; a pooler that does not pass them on leaves these in place.
ALTER ROLE attune_api SET statement_timeout = '30s';
ALTER ROLE attune_api SET lock_timeout = '10s';
ALTER ROLE attune_api SET idle_in_transaction_session_timeout = '30s';
ALTER ROLE attune_agent SET statement_timeout = '30s';
ALTER ROLE attune_agent SET lock_timeout = '10s';
ALTER ROLE attune_agent SET idle_in_transaction_session_timeout = '30s';

COMMIT;
