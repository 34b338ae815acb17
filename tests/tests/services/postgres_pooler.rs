//! Many agents behind `PgBouncer`, which shares few connections among them, one transaction at a time.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use attune_common::{
    config::Sources,
    doorbell,
    model::ExecutionStatus,
    store::{self, Client},
};
use attune_tests::{
    pgbouncer::Pooler,
    postgres::{self, Database},
    service::{Machine, runtimes},
    waiting,
};
use serde_json::json;
use sqlx::Row;

use crate::backend;

/// Many times what a server takes that nobody has configured (`max_connections` is 100).
const AGENTS: usize = 300;

/// Connections that they share.
const CONNECTIONS: usize = 20;

const EXECUTIONS: usize = 300;

/// As an agent opens it.
const AGENT: Client = Client { name: "attune-agent", max_connections: 3 };

/// Most connections that the role of agents had at any look.
async fn most_connections(database: &Database<'_>, until: &AtomicBool) -> i64 {
    let mut connection = database.superuser().await;
    let mut most = 0;
    while !until.load(Ordering::SeqCst) {
        let counted = sqlx::query(
            "SELECT count(*) FROM pg_stat_activity WHERE usename = 'attune_agent' AND datname = $1",
        )
        .bind(&database.name)
        .fetch_one(&mut connection)
        .await
        .unwrap();
        most = most.max(counted.get::<i64, _>(0));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    most
}

#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_agents_share_the_few_connections_of_a_pooler() {
    let database = postgres::shared().database_with_roles().await;
    let mut machine = Machine::new().await;
    machine.store = backend(&database.url("attune_api")).await.store();
    machine.push(&[("work", "", "echo \"$ATTUNE_EXEC_ID\"\n")]).await;
    let pooler = Pooler::start(&database, CONNECTIONS);
    let done = Arc::new(AtomicBool::new(false));
    let counting = {
        let (database, done) = (database.clone(), done.clone());
        tokio::spawn(async move { most_connections(&database, &done).await })
    };

    // no notification passes through the pooler: work is found by looking
    let mut configuration = Sources::default().load().unwrap();
    configuration.database.sweep_interval = Duration::from_secs(5);
    let api = machine.store.clone();
    let mut workers = Vec::new();
    let shell = runtimes("shell").await;
    for number in 0..AGENTS {
        let backend = store::open(&pooler.url(&database).into(), &AGENT).await;
        let backend = backend.unwrap_or_else(|error| panic!("{error}\n{}", pooler.log()));
        machine.doorbell = doorbell::open(&backend, &configuration).unwrap();
        machine.store = backend.store();
        let mut settings = machine.settings();
        settings.name = format!("agent-{number}");
        settings.slots = 1;
        // three hundred are on one machine here, each with a heartbeat as the defaults have it
        settings.heartbeat_interval = Duration::from_secs(10);
        settings.lease = Duration::from_secs(30);
        workers.push(machine.start_with(settings, shell.clone()));
    }
    machine.store = api;
    let registered = async {
        while machine.store.workers().await.unwrap().len() < AGENTS {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(2), registered).await.expect("all register");

    let mut ids = Vec::new();
    for _ in 0..EXECUTIONS {
        ids.push(machine.submit("work", json!({})).await);
    }
    let mut by = BTreeSet::new();
    for id in ids {
        let ended = machine.ended(id).await;
        assert_eq!((ended.status, ended.attempt), (ExecutionStatus::Succeeded, 1), "{ended:?}");
        assert_eq!(machine.log(id, 1).await, format!("{id}\n"));
        by.insert(ended.worker_name);
    }
    assert!(by.len() > 1, "one worker did everything: {by:?}");
    let said = "work is looked for every 5s: a pooler in front of the database lets no notification through";
    // some may still be connecting
    let all_say = || workers.iter().all(|worker| worker.health.reservations().as_deref() == Some(said));
    waiting::until("every agent to say so", all_say).await;
    for worker in &workers {
        worker.stop.drain();
    }
    for worker in workers {
        worker.stopped().await;
    }
    assert!(machine.store.workers().await.unwrap().is_empty());
    done.store(true, Ordering::SeqCst);
    let most = counting.await.unwrap();
    println!("{AGENTS} agents, {} of which worked, had at most {most} connections", by.len());
    assert!((1..=CONNECTIONS as i64).contains(&most), "{most} connections");
}
