//! The PostgreSQL doorbell: rings arrive at once, and whatever happens to the connection is noticed.

use std::{sync::Arc, time::Duration};

use attune_common::{
    config::Sources,
    doorbell::{self, Doorbell, Ring, Wake},
    model::ExecutionId,
    requirement::Requirement,
};
use attune_tests::{
    postgres::{self, Database, Server, execute},
    private_server::PrivateServer,
};
use sqlx::{AssertSqlSafe, Row};

use crate::{LONG, backend, heard, listen_again, open, queued};

pub(super) async fn bell(database: &Database<'_>, sweep_interval: Duration) -> Arc<dyn Doorbell> {
    let mut configuration = Sources::default().load().unwrap();
    configuration.database.sweep_interval = sweep_interval;
    doorbell::open(&backend(&database.url("owner")).await, &configuration).unwrap()
}

#[tokio::test]
async fn a_ring_reaches_every_listener() {
    let database = postgres::shared().database().await;
    let (here, there) = (bell(&database, LONG).await, bell(&database, LONG).await);
    let (mut first, mut second) = (here.listen().await.unwrap(), there.listen().await.unwrap());
    for (ring, wake) in [
        (queued("python >=3.11; gpu=nvidia"), Wake::LookForWork),
        (Ring::CancelRequested { execution: ExecutionId::new() }, Wake::LookForCancellations),
        (queued(&many_labels()), Wake::Sweep),
    ] {
        here.ring(&ring).await.unwrap();
        assert_eq!((&heard(&mut first).await, &heard(&mut second).await), (&wake, &wake));
    }
}

/// A requirement that is longer than a notification may be.
fn many_labels() -> String {
    let labels: Vec<String> = (0..200).map(|number| format!("label-{number}={}", "x".repeat(60))).collect();
    let text = format!("python; {}", labels.join("; "));
    assert!(text.parse::<Requirement>().unwrap().to_string().len() > 8000);
    text
}

#[tokio::test]
async fn a_silent_bell_still_lets_listeners_look() {
    let database = postgres::shared().database().await;
    let mut listener = bell(&database, Duration::from_millis(10)).await.listen().await.unwrap();
    for _ in 0..3 {
        assert_eq!(heard(&mut listener).await, Wake::Sweep);
    }
}

#[tokio::test]
async fn a_listener_whose_connection_was_ended_says_so_and_the_next_one_hears() {
    let database = postgres::shared().database().await;
    let bell = bell(&database, LONG).await;
    let mut listener = bell.listen().await.unwrap();
    let mut superuser = database.superuser().await;
    let ended = sqlx::query(AssertSqlSafe(format!(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{}' AND query LIKE 'LISTEN%'",
        database.name
    )))
    .fetch_one(&mut superuser)
    .await
    .unwrap();
    assert_eq!(ended.get::<i64, _>(0), 1, "one connection listens");
    let lost = tokio::time::timeout(Duration::from_mins(1), listener.wake()).await.expect("it is noticed");
    assert_eq!(
        lost.unwrap_err().to_string(),
        "doorbell: lost the connection that listens: the server closed it"
    );
    let mut listener = listen_again(&bell).await;
    bell.ring(&queued("shell")).await.unwrap();
    assert_eq!(heard(&mut listener).await, Wake::LookForWork);
}

#[tokio::test]
async fn restarts_and_crashes_of_the_server_are_outlived() {
    let mut server = Server::start();
    let url = server.database().await.url("owner");
    let mut configuration = Sources::default().load().unwrap();
    configuration.database.sweep_interval = LONG;
    let bell = doorbell::open(&open(&url).await.unwrap(), &configuration).unwrap();
    let mut listener = bell.listen().await.unwrap();
    for crash in [false, true] {
        if crash {
            server.kill();
        } else {
            server.stop();
        }
        let lost =
            tokio::time::timeout(Duration::from_mins(1), listener.wake()).await.expect("it is noticed");
        assert!(lost.is_err(), "{lost:?}");
        server.start_again();
        listener = listen_again(&bell).await;
        // connections that the restart broke fail once each
        while bell.ring(&queued("shell")).await.is_err() {}
        assert_eq!(heard(&mut listener).await, Wake::LookForWork);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn store_and_listener_together_keep_to_the_number_of_connections() {
    let database = postgres::shared().database().await;
    let client = attune_common::store::Client { name: "attune-agent", max_connections: 3 };
    let store = attune_common::store::open(&database.url("owner").into(), &client).await.unwrap();
    let bell = doorbell::open(&store, &Sources::default().load().unwrap()).unwrap();
    let _listener = bell.listen().await.unwrap();
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let store = store.store();
        calls.spawn(async move { store.packs().await.map(drop) });
    }
    while let Some(call) = calls.join_next().await {
        call.unwrap().unwrap();
    }
    let mut superuser = database.superuser().await;
    let connections = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'attune-agent' AND datname = current_database()";
    let count: i64 = sqlx::query(connections).fetch_one(&mut superuser).await.unwrap().get(0);
    assert_eq!(count, 3, "two of the store, and the one that listens");
    execute(&mut superuser, "SELECT 1").await;
}
