//! The role of agents can do what an agent needs, and nothing else: one test for each thing that it must not do.

use std::time::Duration;

use attune_common::{
    model::{Action, Execution, ExecutionId, ExecutionStatus, Outcome, Parameters, WorkerId},
    store::{ExecutionFilter, Fence, NewExecution, NewPack, Store, StoreError},
};
use attune_tests::{
    binaries,
    dev::shown,
    postgres::{self, PASSWORD, execute},
    seeding::new_worker,
};
use serde_json::json;
use sqlx::{AssertSqlSafe, PgConnection, Row};

use crate::{backend, both, open};

const LEASE: Duration = Duration::from_mins(10);
const SECRET: &str = "the-secret-of-somebody-else";

/// A queued execution with a secret parameter.
async fn submitted(api: &dyn Store) -> ExecutionId {
    let action: Action = serde_json::from_value(json!({
        "ref": "mine.work", "label": "", "description": "", "enabled": true, "runner_type": "shell", "entry_point": "work.sh",
        "parameters": {}, "parameter_delivery": "stdin", "parameter_format": "json", "output_format": "text", "max_attempts": 3,
    }))
    .unwrap();
    api.push_pack(pack(vec![action])).await.unwrap();
    api.submit(execution()).await.unwrap().execution.id
}

fn pack(actions: Vec<Action>) -> NewPack {
    NewPack {
        r#ref: "mine".to_owned(),
        version: "1".to_owned(),
        label: String::new(),
        description: String::new(),
        digest: "digest".to_owned(),
        archive: b"archive".to_vec(),
        actions,
    }
}

fn execution() -> NewExecution {
    let serde_json::Value::Object(parameters) = json!({"token": SECRET}) else { unreachable!() };
    NewExecution {
        action: "mine.work".parse().unwrap(),
        parameters: Parameters(parameters),
        idempotency_key: None,
    }
}

async fn worker(agent: &dyn Store, name: &str) -> WorkerId {
    let id = WorkerId::new();
    agent.register_worker(new_worker(id, name, LEASE)).await.unwrap();
    id
}

/// Runs a statement that must be refused for want of a right.
async fn refused(connection: &mut PgConnection, sql: &str) {
    let result = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *connection).await;
    let error = result.expect_err(sql).to_string();
    execute(connection, "ROLLBACK").await;
    let words = ["permission denied", "must be owner", "must be superuser", "must be able to"];
    assert!(words.iter().any(|words| error.contains(words)), "{sql}: {error}");
}

#[tokio::test]
async fn no_table_can_be_read_or_written() {
    let database = postgres::shared().database_with_roles().await;
    submitted(&*both(&database).await.0).await;
    let mut superuser = database.superuser().await;
    let tables = sqlx::query(
        "SELECT relname::text FROM pg_class WHERE relnamespace = 'attune'::regnamespace AND relkind = 'r'",
    )
    .fetch_all(&mut superuser)
    .await
    .unwrap();
    let tables: Vec<String> = tables.iter().map(|row| row.get(0)).collect();
    for expected in ["executions", "log_chunks", "migrations", "pack_archives", "workers"] {
        assert!(tables.iter().any(|name| name == expected), "{expected} is one of {tables:?}");
    }
    let mut agent = database.connect("attune_agent").await;
    for table in &tables {
        refused(&mut agent, &format!("SELECT FROM attune.{table}")).await;
        refused(&mut agent, &format!("INSERT INTO attune.{table} DEFAULT VALUES")).await;
        refused(&mut agent, &format!("DELETE FROM attune.{table}")).await;
        refused(&mut agent, &format!("TRUNCATE attune.{table} CASCADE")).await;
        refused(&mut agent, &format!("BEGIN; LOCK TABLE attune.{table}; COMMIT")).await;
    }
    refused(&mut agent, "UPDATE attune.executions SET status = 'queued'").await;
    refused(&mut agent, "COPY attune.executions TO STDOUT").await;
}

#[tokio::test]
async fn what_later_migrations_bring_is_closed_until_it_is_opened() {
    let database = postgres::shared().database_with_roles().await;
    backend(&database.url("attune_api")).await;
    let mut api = database.connect("attune_api").await;
    execute(&mut api, "CREATE TABLE attune.api_tokens (digest text)").await;
    execute(&mut api, "CREATE FUNCTION attune.internal() RETURNS int LANGUAGE sql AS 'SELECT 1'").await;
    execute(&mut api, "CREATE FUNCTION attune_agent.for_agents() RETURNS int LANGUAGE sql AS 'SELECT 1'")
        .await;
    let mut agent = database.connect("attune_agent").await;
    refused(&mut agent, "SELECT FROM attune.api_tokens").await;
    refused(&mut agent, "SELECT attune.internal()").await;
    execute(&mut agent, "SELECT attune_agent.for_agents()").await;
    // and a role that is nobody's gets nothing of either
    let mut superuser = database.superuser().await;
    execute(&mut superuser, &format!("GRANT CONNECT ON DATABASE {} TO owner", database.name)).await;
    let mut other = database.connect("owner").await;
    refused(&mut other, "SELECT attune_agent.for_agents()").await;
    refused(&mut other, "SELECT attune_agent.known_requirements()").await;
}

#[tokio::test]
async fn nothing_can_be_made_or_taken_over() {
    let database = postgres::shared().database_with_roles().await;
    backend(&database.url("attune_api")).await;
    let mut agent = database.connect("attune_agent").await;
    for sql in [
        "CREATE TABLE public.mine ()",
        "CREATE TABLE attune.mine ()",
        "CREATE FUNCTION attune_agent.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE SCHEMA mine",
        "CREATE TEMPORARY TABLE executions (id uuid)",
        "DROP FUNCTION attune_agent.reap()",
        "ALTER FUNCTION attune_agent.claim(uuid, uuid, interval) SECURITY INVOKER",
        "ALTER TABLE attune.executions OWNER TO attune_agent",
        "SET ROLE attune_api",
        "CREATE ROLE mine",
        "ALTER ROLE attune_api PASSWORD 'mine'",
        "SELECT pg_read_file('/etc/passwd')",
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "SELECT lo_create(0)",
        "SELECT lo_from_bytea(0, 'mine')",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity",
        "SELECT pg_cancel_backend(pid) FROM pg_stat_activity",
    ] {
        refused(&mut agent, sql).await;
    }
}

#[tokio::test]
async fn sessions_through_a_pooler_have_limits_too() {
    let database = postgres::shared().database_with_roles().await;
    for role in ["attune_api", "attune_agent"] {
        // says nothing for itself, as what a pooler opens
        let mut session = database.connect(role).await;
        for (setting, limit) in [
            ("statement_timeout", "30s"),
            ("lock_timeout", "10s"),
            ("idle_in_transaction_session_timeout", "30s"),
        ] {
            let row =
                sqlx::query(AssertSqlSafe(format!("SHOW {setting}"))).fetch_one(&mut session).await.unwrap();
            assert_eq!(row.get::<&str, _>(0), limit, "{setting} of {role}");
        }
    }
}

#[tokio::test]
async fn only_what_agents_do_can_be_done_through_the_store() {
    let database = postgres::shared().database_with_roles().await;
    let (api, agent) = both(&database).await;
    let id = submitted(&*api).await;
    let denied = |what: &str, error: Option<StoreError>| {
        let error = error.unwrap_or_else(|| panic!("an agent must not {what}")).to_string();
        assert!(error.contains("permission denied"), "{what}: {error}");
    };
    denied("submit", agent.submit(execution()).await.err());
    denied("push a pack", agent.push_pack(pack(Vec::new())).await.err());
    denied("cancel", agent.request_cancel(id).await.err());
    denied("see an execution", agent.execution(id).await.err());
    denied("list executions", agent.executions(&ExecutionFilter::default()).await.err());
    denied("read logs", agent.read_log(id, 1, 0, 1).await.err());
    denied("list workers", agent.workers().await.err());
    denied("cordon a worker", agent.cordon_worker("holder", "").await.err());
    denied("undo a cordon", agent.uncordon_worker("holder").await.err());
    denied("list runtimes", agent.runtimes().await.err());
    denied("list packs", agent.packs().await.err());
    denied("see the backlog", agent.requirements().await.err());
}

#[tokio::test]
async fn secrets_reach_the_worker_that_holds_the_execution_and_no_other() {
    let database = postgres::shared().database_with_roles().await;
    let (api, agent) = both(&database).await;
    let id = submitted(&*api).await;
    let (holder, other) = (worker(&*agent, "holder").await, worker(&*agent, "other").await);
    let claimed = agent.claim(holder, id, LEASE).await.unwrap().unwrap();
    assert_eq!(claimed.parameters.0["token"], SECRET);
    // from here on there is no way to them, not even for the holder's own name
    assert!(agent.claim(other, id, LEASE).await.unwrap().is_none());
    assert!(agent.claim(holder, id, LEASE).await.unwrap().is_none());
    assert!(
        agent.claim_next(other, &agent.known_requirements().await.unwrap(), LEASE).await.unwrap().is_none()
    );
    assert!(agent.held(other).await.unwrap().is_empty());
    assert!(agent.heartbeat(other, LEASE).await.unwrap().leases.is_empty());
    // nor to the id that is the key to a lease
    let mut connection = database.connect("attune_agent").await;
    let activity =
        sqlx::query("SELECT query FROM pg_stat_activity").fetch_all(&mut connection).await.unwrap();
    for row in activity {
        let query: Option<&str> = row.get(0);
        assert!(!query.unwrap_or_default().contains(&holder.to_string()), "{query:?}");
    }
}

#[tokio::test]
async fn what_has_ended_cannot_be_rewritten() {
    let database = postgres::shared().database_with_roles().await;
    let (api, agent) = both(&database).await;
    let id = submitted(&*api).await;
    let holder = worker(&*agent, "holder").await;
    let attempt = agent.claim(holder, id, LEASE).await.unwrap().unwrap().attempt;
    let fence = Fence { execution: id, attempt, worker: holder };
    agent.finish(fence, ExecutionStatus::Failed, Outcome::default(), vec![]).await.unwrap();
    let before = api.execution(id).await.unwrap().unwrap();
    let other = Outcome { exit_code: Some(0), ..Outcome::default() };
    let fenced =
        |result: Result<(), StoreError>| assert!(matches!(result, Err(StoreError::Fenced)), "{result:?}");
    fenced(agent.finish(fence, ExecutionStatus::Succeeded, other, vec![]).await);
    fenced(agent.release(fence, Outcome::default(), vec![]).await);
    fenced(agent.append_log(fence, vec![]).await);
    assert!(agent.claim(holder, id, LEASE).await.unwrap().is_none());
    assert!(agent.reap().await.unwrap().is_empty());
    let mut connection = database.connect("attune_agent").await;
    let call = format!(
        "SELECT attune_agent.finish('{id}', 1, '{holder}', 'queued', '{{}}', '{{}}', '{{}}', '{{}}')"
    );
    let error = sqlx::raw_sql(AssertSqlSafe(call)).execute(&mut connection).await.unwrap_err().to_string();
    assert!(error.contains("cannot finish as queued"), "{error}");
    let after = api.execution(id).await.unwrap().unwrap();
    assert_eq!(Execution { read_at: before.read_at, ..after }, before);
}

#[tokio::test]
async fn every_function_of_agents_is_hardened() {
    let database = postgres::shared().database_with_roles().await;
    backend(&database.url("attune_api")).await;
    let functions = sqlx::query(
        "SELECT p.proname::text, p.prosecdef, p.proconfig @> ARRAY['search_path=pg_catalog, pg_temp'],
                has_function_privilege('attune_agent', p.oid, 'EXECUTE'), p.proacl::text LIKE '%{=X/%' OR p.proacl::text LIKE '%,=X/%',
                pg_get_userbyid(p.proowner)::text
         FROM pg_proc p WHERE p.pronamespace = 'attune_agent'::regnamespace",
    )
    .fetch_all(&mut database.superuser().await)
    .await
    .unwrap();
    assert!(functions.len() >= 14);
    for row in functions {
        let name: &str = row.get(0);
        let facts: (bool, Option<bool>, bool, Option<bool>, &str) =
            (row.get(1), row.get(2), row.get(3), row.get(4), row.get(5));
        assert_eq!(facts, (true, Some(true), true, Some(false), "attune_api"), "{name}");
    }
}

#[test]
fn the_program_prints_the_sql_of_the_roles() {
    let output =
        std::process::Command::new(binaries::path("attune-api")).arg("database-roles").output().unwrap();
    assert!(output.status.success(), "{}", shown(&output));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), attune_common::store::postgres::ROLES);
}

#[tokio::test]
async fn roles_may_come_later_and_twice_and_without_a_superuser() {
    let database = postgres::shared().database().await;
    // one role did everything so far
    let api = backend(&database.url("owner")).await.store();
    let id = submitted(&*api).await;
    assert!(open(&database.url("attune_agent")).await.is_err());
    database.make_roles().await;
    database.make_roles().await;
    let (api, agent) = both(&database).await;
    let holder = worker(&*agent, "holder").await;
    assert!(agent.claim(holder, id, LEASE).await.unwrap().is_some());
    assert_eq!(api.execution(id).await.unwrap().unwrap().status, ExecutionStatus::Running);
    let mut connection = database.connect("attune_agent").await;
    refused(&mut connection, "SELECT FROM attune.executions").await;
}

#[tokio::test]
async fn an_owner_who_may_create_roles_can_make_them() {
    // roles belong to a whole server: this test needs one on which they are not there yet
    let server = postgres::Server::start();
    let database = server.database().await;
    execute(&mut database.superuser().await, "ALTER ROLE owner CREATEROLE").await;
    let mut owner = database.connect("owner").await;
    execute(&mut owner, attune_common::store::postgres::ROLES).await;
    execute(&mut owner, attune_common::store::postgres::ROLES).await;
    for role in ["attune_api", "attune_agent"] {
        execute(&mut owner, &format!("ALTER ROLE {role} PASSWORD '{PASSWORD}'")).await;
    }
    let (api, agent) = both(&database).await;
    let id = submitted(&*api).await;
    let holder = worker(&*agent, "holder").await;
    assert!(agent.claim(holder, id, LEASE).await.unwrap().is_some());
    refused(&mut database.connect("attune_agent").await, "SELECT FROM attune.executions").await;
    let row = sqlx::query(
        "SELECT bool_or(rolsuper OR rolcreaterole OR rolcreatedb) FROM pg_roles WHERE rolname LIKE 'attune%'",
    )
    .fetch_one(&mut database.superuser().await)
    .await
    .unwrap();
    assert!(!row.get::<bool, _>(0));
}
