//! With a million executions in the table, what agents do all day long touches a handful of rows, also through plans that were
//! made while the table was empty. The server itself explains every statement as it runs (module `auto_explain`).

use std::time::Duration;

use attune_common::{
    model::{ActionRef, ExecutionStatus, Parameters, WorkerId},
    requirement::Requirement,
    store::{ExecutionFilter, NewExecution, Store},
};
use attune_tests::{
    million::{self, Fill},
    postgres::{Server, execute},
    seeding::{new_worker, push_action, submit},
};
use serde_json::Value;

use crate::open;

const LEASE: Duration = Duration::from_mins(10);

/// Most rows that a statement may visit in the table of executions, passed over ones included.
const MOST_ROWS: f64 = 1200.0;

#[tokio::test]
async fn a_million_executions_that_have_ended_are_never_read_through() {
    never_read_through(Fill::Ended).await;
}

#[tokio::test]
async fn a_million_executions_that_wait_are_never_read_through() {
    never_read_through(Fill::Waiting).await;
}

async fn never_read_through(fill: Fill) {
    let server = Server::start();
    let database = server.database().await;
    let mut superuser = database.superuser().await;
    // the server's own log is where the plans go
    execute(
        &mut superuser,
        &format!(
            "ALTER DATABASE {0} SET session_preload_libraries = 'auto_explain';
             ALTER DATABASE {0} SET auto_explain.log_min_duration = 0;
             ALTER DATABASE {0} SET auto_explain.log_nested_statements = on;
             ALTER DATABASE {0} SET auto_explain.log_analyze = on;
             ALTER DATABASE {0} SET auto_explain.log_format = json",
            database.name
        ),
    )
    .await;
    // one connection, so that what is planned now is what runs later
    let url = database.url("owner");
    let client = attune_common::store::Client { name: "attune-test", max_connections: 2 };
    let store = attune_common::store::open(&url.as_str().into(), &client).await.unwrap().store();
    let seed = seed(&*store).await;
    for _ in 0..8 {
        work(&*store, seed).await;
    }
    // what the fill itself does is of no interest
    execute(&mut superuser, "SET auto_explain.log_min_duration = -1").await;
    million::fill(&mut superuser, fill).await;
    check(&server, "before any statistics", || work(&*store, seed)).await;
    execute(&mut superuser, "VACUUM ANALYZE attune.executions").await;
    check(&server, "with statistics", || work(&*store, seed)).await;
    let fresh = open(&url).await.unwrap().store();
    check(&server, "planned anew", || work(&*fresh, seed)).await;
}

async fn seed(store: &dyn Store) -> WorkerId {
    push_action(store, "mine.work", 3).await;
    let new = NewExecution {
        action: "mine.work".parse().unwrap(),
        parameters: Parameters::default(),
        idempotency_key: Some("seed".to_owned()),
    };
    let execution = store.submit(new).await.unwrap().execution;
    store.request_cancel(execution.id).await.unwrap();
    let worker = WorkerId::new();
    store.register_worker(new_worker(worker, "worker", LEASE)).await.unwrap();
    worker
}

/// Everything that happens often.
async fn work(store: &dyn Store, worker: WorkerId) {
    let of: Vec<Requirement> =
        (1..=50).map(|number| format!("shell; number={number}").parse().unwrap()).collect();
    if let Some(claimed) = store.claim_next(worker, &of, LEASE).await.unwrap() {
        assert!(store.claim(worker, claimed.id, LEASE).await.unwrap().is_none());
        store.execution(claimed.id).await.unwrap();
    }
    store.heartbeat(worker, LEASE).await.unwrap();
    store.held(worker).await.unwrap();
    store.reap().await.unwrap();
    store.oldest_waiting(Duration::ZERO, 20).await.unwrap();
    store.workers().await.unwrap();
    push_action(store, "mine.other", 1).await;
    let submitted = submit(store, "mine.other").await;
    store.request_cancel(submitted.id).await.unwrap();
    let action: ActionRef = "mine.work7".parse().unwrap();
    for (action, statuses) in [
        (None, vec![]),
        (Some(action.clone()), vec![]),
        (None, vec![ExecutionStatus::Lost]),
        (None, vec![ExecutionStatus::Running, ExecutionStatus::Failed]),
        (Some(action), vec![ExecutionStatus::Failed]),
    ] {
        let filter = ExecutionFilter { action, statuses, ..ExecutionFilter::default() };
        store.executions(&filter).await.unwrap();
    }
}

/// Words of the statements that matter, by which they are known in the log.
const STATEMENTS: [&str; 7] = [
    "FOR UPDATE SKIP LOCKED", // the claim
    "WHERE e.id = wanted",
    "renewed AS", // the heartbeat
    "WHERE e.worker = holder",
    "expired AS", // the reaper
    "(e.action_ref, e.status, e.id) <",
    "(e.status, e.id) <",
];

/// Runs something, and looks at how the server did it.
async fn check(server: &Server, when: &str, work: impl AsyncFnOnce()) {
    let before = server.log().len();
    work().await;
    let log = server.log();
    let mut explained = Vec::new();
    for plan in plans_of(&log[before..]) {
        let query = plan["Query Text"].as_str().unwrap().to_owned();
        if visit(&plan["Plan"], &query, when) > 0 {
            explained.push(query);
        }
    }
    for words in STATEMENTS {
        assert!(explained.iter().any(|query| query.contains(words)), "{when}: {words} was not explained");
    }
}

/// The plans in a log: each follows `plan:`, on lines that begin with a tab.
fn plans_of(log: &str) -> Vec<Value> {
    let mut plans = Vec::new();
    for part in log.split("plan:\n").skip(1) {
        let text: String = part.lines().take_while(|line| line.starts_with('\t')).collect();
        plans.push(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")));
    }
    plans
}

/// Checks every node that reads executions, and counts them.
fn visit(node: &Value, query: &str, when: &str) -> usize {
    let mut found = 0;
    if node["Relation Name"] == "executions" && node["Node Type"] != "ModifyTable" {
        found = 1;
        assert_ne!(node["Node Type"], "Seq Scan", "{when}: {query}\n{node:#}");
        let number = |name: &str| node[name].as_f64().unwrap_or_default();
        let rows =
            (number("Actual Rows") + number("Rows Removed by Filter")) * number("Actual Loops").max(1.0);
        assert!(rows <= MOST_ROWS, "{when}: {rows} rows were visited by {query}\n{node:#}");
    }
    found
        + node["Plans"].as_array().into_iter().flatten().map(|child| visit(child, query, when)).sum::<usize>()
}
