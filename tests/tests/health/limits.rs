//! Workers that end by themselves.

use attune_common::model::ExecutionStatus;
use attune_tests::{agent::Agent, dev::wait_for};
use serde_json::json;
use sqlx::Connection;
use tempfile::TempDir;

use crate::{count, farewell, machine, now, submit};

#[tokio::test]
async fn once_runs_one_and_leaves_the_others() {
    let machine = machine().await;
    let ids = submit(&machine, 3).await;
    let mut agent = Agent::start(&machine, &["--once"], &[]);
    assert_eq!(agent.wait().code(), Some(0), "{}", agent.log());
    assert_eq!(count(&machine, &ids).await, [2, 1, 0]);
    assert_eq!(farewell(&agent), "executions=1 given_back=0 reason=took as many executions as it may: 1");
}

#[tokio::test]
async fn once_waits_for_the_one_and_ends_well_although_that_fails() {
    let machine = machine().await;
    let mut agent = Agent::start(&machine, &["--once"], &[]);
    agent.wait_until("/readyz", "ready");
    let id = machine.submit("fails", json!({})).await;
    assert_eq!(agent.wait().code(), Some(0), "{}", agent.log());
    assert_eq!(now(&machine, id).await.status, ExecutionStatus::Failed);
}

#[tokio::test]
async fn a_worker_that_has_taken_enough_gives_it_all_the_time_it_needs() {
    let machine = machine().await;
    let folder = TempDir::new().unwrap();
    let flag = folder.path().join("go");
    let mut agent = Agent::start(&machine, &["--once"], &[("ATTUNE__WORKER__SHUTDOWN_TIMEOUT", "1ms")]);
    let id = machine.submit("waits", json!({"file": flag})).await;
    machine.logged(id, 1, "started").await;
    agent.wait_until("/readyz", "not ready: taking_work: draining");
    let lease = now(&machine, id).await.lease_expires_at;
    machine.wait(id, "a longer lease", |execution| execution.lease_expires_at > lease).await;
    std::fs::write(&flag, "").unwrap();
    assert_eq!(agent.wait().code(), Some(0), "{}", agent.log());
    assert_eq!(now(&machine, id).await.status, ExecutionStatus::Succeeded);
}

#[tokio::test]
async fn never_more_are_taken_than_max_executions_with_any_number_of_slots() {
    let machine = machine().await;
    let ids = submit(&machine, 10).await;
    let mut agent = Agent::start(&machine, &["--max-executions", "3"], &[("ATTUNE__WORKER__SLOTS", "2")]);
    assert_eq!(agent.wait().code(), Some(0), "{}", agent.log());
    assert_eq!(count(&machine, &ids).await, [7, 3, 0]);
    // by configuration, with more slots than it may take executions
    let environment = [("ATTUNE__WORKER__MAX_EXECUTIONS", "2"), ("ATTUNE__WORKER__SLOTS", "8")];
    let mut agent = Agent::start(&machine, &[], &environment);
    assert_eq!(agent.wait().code(), Some(0), "{}", agent.log());
    assert_eq!(count(&machine, &ids).await, [5, 5, 0]);
    // the flag wins
    let mut agent = Agent::start(&machine, &["--once"], &environment);
    assert_eq!(agent.wait().code(), Some(0), "{}", agent.log());
    assert_eq!(count(&machine, &ids).await, [4, 6, 0]);
}

#[tokio::test]
async fn an_idle_worker_ends_when_the_queue_is_empty_and_not_before() {
    let machine = machine().await;
    let folder = TempDir::new().unwrap();
    let flag = folder.path().join("go");
    let mut ids = submit(&machine, 5).await;
    ids.push(machine.submit("waits", json!({"file": flag})).await);
    let mut agent = Agent::start(&machine, &["--exit-when-idle", "100ms"], &[]);
    machine.logged(ids[5], 1, "started").await;
    // what runs is no idleness, however long it takes
    for _ in 0..3 {
        let lease = now(&machine, ids[5]).await.lease_expires_at;
        machine.wait(ids[5], "a longer lease", |execution| execution.lease_expires_at > lease).await;
    }
    std::fs::write(&flag, "").unwrap();
    assert_eq!(agent.wait().code(), Some(0), "{}", agent.log());
    assert_eq!(count(&machine, &ids).await, [0, 6, 0]);
    assert_eq!(farewell(&agent), "executions=6 given_back=0 reason=nothing to run for 100ms");
    // no time at all: it works off what is there, or finds that there is nothing
    let ids = submit(&machine, 3).await;
    for expected in [3, 0] {
        let mut agent = Agent::start(&machine, &["--exit-when-idle", "0s"], &[]);
        assert_eq!(agent.wait().code(), Some(0), "{}", agent.log());
        let reason = format!("executions={expected} given_back=0 reason=nothing to run for 0s");
        assert_eq!(farewell(&agent), reason);
    }
    assert_eq!(count(&machine, &ids).await, [0, 3, 0]);
}

#[tokio::test]
async fn limits_combine_and_the_first_one_ends_the_worker() {
    let machine = machine().await;
    let ids = submit(&machine, 2).await;
    let flags = ["--max-executions", "3", "--exit-when-idle", "50ms"];
    let mut agent = Agent::start(&machine, &flags, &[]);
    assert_eq!(agent.wait().code(), Some(0), "{}", agent.log());
    assert_eq!(count(&machine, &ids).await, [0, 2, 0]);
    assert_eq!(farewell(&agent), "executions=2 given_back=0 reason=nothing to run for 50ms");
    let ids = submit(&machine, 4).await;
    let mut agent = Agent::start(&machine, &flags, &[]);
    assert_eq!(agent.wait().code(), Some(0), "{}", agent.log());
    assert_eq!(count(&machine, &ids).await, [1, 3, 0]);
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_no_idleness() {
    let machine = machine().await;
    // long enough for the lock to be there before it is over
    let mut agent = Agent::start(&machine, &["--exit-when-idle", "3s"], &[]);
    agent.wait_until("/readyz", "ready");
    let locked = machine.lock_store().await;
    wait_for("the time of idleness to be over", || {
        let metrics = agent.get("/metrics").body;
        let age = metrics.lines().find_map(|line| line.strip_prefix("attune_worker_heartbeat_age_seconds "));
        age.is_some_and(|age| age.parse::<f64>().unwrap() > 4.0)
    });
    assert_eq!(agent.get("/livez").status(), 200, "it is still there");
    locked.close().await.unwrap();
    assert_eq!(agent.wait().code(), Some(0), "{}", agent.log());
}
