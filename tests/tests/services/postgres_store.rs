//! The PostgreSQL store does what every store must do, whoever connects, and says what keeps it from doing so.

use std::fs::File;

use attune_common::model::WorkerId;
use attune_tests::{
    agent::shell_agent,
    dev::wait_for,
    postgres::{self, Database, PASSWORD, execute},
    seeding::{new_worker, push_action, submit},
    store_conformance,
};
use sqlx::Row;
use uuid::{Uuid, Variant};

use crate::{LONG, backend, both, open};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn it_conforms_with_one_role_for_everything() {
    let database = postgres::shared().database().await;
    let url = database.url("owner");
    store_conformance::run(backend(&url).await.store(), backend(&url).await.store()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn it_conforms_with_agents_that_may_only_do_what_agents_need() {
    let database = postgres::shared().database_with_roles().await;
    let (api, agent) = both(&database).await;
    store_conformance::run(api, agent).await;
}

/// Submitters whose clocks differ write one list, in the order of the database's clock.
#[tokio::test]
async fn an_id_begins_with_the_time_of_the_database() {
    let database = postgres::shared().database().await;
    let store = backend(&database.url("owner")).await.store();
    push_action(&*store, "mine.work", 1).await;
    let mut last = None;
    for _ in 0..20 {
        let execution = submit(&*store, "mine.work").await;
        let id = Uuid::from(execution.id);
        let (seconds, nanoseconds) = id.get_timestamp().expect("it has a time").to_unix();
        assert_eq!((id.get_version_num(), id.get_variant()), (7, Variant::RFC4122), "{id}");
        let milliseconds = execution.created_at.as_millisecond();
        assert_eq!(seconds * 1000 + u64::from(nanoseconds) / 1_000_000, milliseconds.unsigned_abs(), "{id}");
        assert!(last < Some(execution.id), "{id}");
        last = Some(execution.id);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn twenty_may_open_a_new_database_at_once() {
    let database = postgres::shared().database().await;
    let starts: Vec<_> = (0..20)
        .map(|_| {
            let url = database.url("owner");
            tokio::spawn(async move { open(&url).await.map(drop) })
        })
        .collect();
    for start in starts {
        start.await.unwrap().unwrap();
    }
    assert_eq!(migrations(&database).await, 2);
}

#[tokio::test]
async fn twenty_agents_may_start_at_once_on_a_new_database() {
    let database = postgres::shared().database().await;
    let folder = tempfile::tempdir().unwrap();
    let log = |number: usize| folder.path().join(format!("{number}.log"));
    let mut processes: Vec<_> = (0..20)
        .map(|number| {
            let log = File::create(log(number)).unwrap();
            shell_agent(&folder.path().join(number.to_string()), log)
                .env("ATTUNE__DATABASE__URL", database.url("owner"))
                .env("ATTUNE__WORKER__NAME", number.to_string())
                .env("RUST_LOG", "info")
                .spawn()
                .unwrap()
        })
        .collect();
    for (number, process) in processes.iter_mut().enumerate() {
        wait_for("an agent to register", || {
            let text = std::fs::read_to_string(log(number)).unwrap();
            assert!(process.try_wait().unwrap().is_none(), "it ended: {text}");
            assert!(!text.contains(PASSWORD), "{text}");
            text.contains("registered")
        });
    }
    for process in &mut processes {
        process.kill().unwrap();
        process.wait().unwrap();
    }
    assert_eq!(migrations(&database).await, 2);
}

async fn migrations(database: &Database<'_>) -> i64 {
    let mut connection = database.superuser().await;
    let row =
        sqlx::query("SELECT count(*) FROM attune.migrations WHERE success").fetch_one(&mut connection).await;
    row.unwrap().get(0)
}

/// What opening leads to, without what differs from run to run.
async fn told(database: &Database<'_>, url: &str) -> String {
    let error = open(url).await.expect_err("it must be refused").to_string();
    assert!(!error.contains(PASSWORD), "{error}");
    let address = database.server.address();
    let port = address.rsplit(':').next().unwrap();
    error.replace(&database.name, "DATABASE").replace(&address, "HOST:PORT").replace(port, "PORT")
}

#[tokio::test]
async fn what_keeps_it_from_opening_is_said_with_what_to_do() {
    let database = postgres::shared().database_with_roles().await;
    let url = database.url("attune_api");
    let mut lines = vec![
        told(&database, &url.replace(PASSWORD, "wrong")).await,
        told(&database, &url.replace("attune_api", "nobody")).await,
        told(&database, &url.replace(&database.name, "missing")).await,
        told(&database, &url.replace(&database.server.address(), "127.0.0.1:1")).await,
        told(&database, &url.replace("127.0.0.1", "host.invalid"))
            .await
            .split(" (")
            .next()
            .unwrap()
            .to_owned(),
        told(&database, &format!("{url}?sslmod=require")).await,
        // an agent that comes before the API has made the tables
        told(&database, &database.url("attune_agent")).await,
    ];
    let mut superuser = database.superuser().await;
    let full = postgres::shared().database().await;
    execute(&mut superuser, &format!("ALTER DATABASE {} CONNECTION LIMIT 0", full.name)).await;
    lines.push(told(&full, &full.url("owner")).await);
    backend(&url).await;
    // a role that may connect and nothing else
    execute(&mut superuser, &format!("GRANT CONNECT ON DATABASE {} TO owner", database.name)).await;
    lines.push(told(&database, &database.url("owner")).await);
    // a later program was here
    execute(&mut superuser, "INSERT INTO attune.migrations VALUES (9000, 'later', now(), true, '', 0)").await;
    lines.push(told(&database, &url).await);
    lines.push(told(&database, &database.url("attune_agent")).await);
    insta::assert_snapshot!(lines.join("\n"));
}

/// "Renewal, sign of life and requests to cancel" are one statement, however many leases there are; the server's log counts them.
#[tokio::test]
async fn a_heartbeat_is_one_round_trip() {
    let server = postgres::Server::start();
    let database = server.database_with_roles().await;
    let api = backend(&database.url("attune_api")).await.store();
    push_action(&*api, "mine.work", 1).await;
    let agent = backend(&database.url("attune_agent")).await.store();
    let worker = WorkerId::new();
    agent.register_worker(new_worker(worker, "worker", LONG)).await.unwrap();
    for _ in 0..3 {
        let id = submit(&*api, "mine.work").await.id;
        agent.claim(worker, id, LONG).await.unwrap().expect("it is free");
        api.request_cancel(id).await.unwrap();
    }
    // for sessions that begin later: the one that sends the heartbeat has its first question behind it
    execute(&mut database.superuser().await, "ALTER ROLE attune_agent SET log_statement = 'all'").await;
    let agent = backend(&database.url("attune_agent")).await.store();
    agent.held(worker).await.unwrap();
    let before = server.log().len();
    let heartbeat = agent.heartbeat(worker, LONG).await.unwrap();
    assert_eq!(heartbeat.leases.iter().filter(|lease| lease.cancel_requested).count(), 3);
    let log = server.log();
    let statements: Vec<&str> = log[before..].lines().filter(|line| line.contains("LOG:  ")).collect();
    assert_eq!(statements.len(), 1, "{statements:#?}");
}

#[tokio::test]
async fn sessions_say_who_they_are_and_have_limits() {
    let database = postgres::shared().database().await;
    let store = backend(&database.url("owner")).await;
    assert!(!format!("{store:?}").contains(PASSWORD));
    store.store().packs().await.unwrap();
    let mut superuser = database.superuser().await;
    let sessions =
        sqlx::query("SELECT application_name FROM pg_stat_activity WHERE datname = $1 AND usename = 'owner'")
            .bind(&database.name)
            .fetch_all(&mut superuser)
            .await
            .unwrap();
    assert!(sessions.iter().all(|row| row.get::<&str, _>(0) == "attune-test") && !sessions.is_empty());
    // neither a lock that is not given nor a slow statement is waited for until the end of time
    execute(&mut superuser, "BEGIN; LOCK TABLE attune.packs").await;
    for (limit, told) in
        [("lock_timeout", "due to lock timeout"), ("statement_timeout", "due to statement timeout")]
    {
        let url = format!("{}?options=-c%20{limit}%3D50ms", database.url("owner"));
        let error = backend(&url).await.store().packs().await.unwrap_err().to_string();
        assert!(error.contains(told), "{error}");
    }
}
