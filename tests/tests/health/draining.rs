//! A worker that is told to stop.

use attune_common::model::ExecutionStatus;
use attune_tests::agent::Agent;
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

use crate::{farewell, machine, now};

#[tokio::test]
async fn a_draining_worker_renews_its_leases_and_finishes_what_runs() {
    let machine = machine().await;
    let folder = TempDir::new().unwrap();
    let flag = folder.path().join("go");
    let mut agent = Agent::start(&machine, &[], &[]);
    let running = machine.submit("waits", json!({"file": flag})).await;
    machine.logged(running, 1, "started").await;
    agent.wait_until("/readyz", "ready");
    agent.signal(Signal::TERM);
    agent.wait_until("/readyz", "not ready: taking_work: draining");
    assert_eq!(agent.get("/readyz").status(), 503);
    assert_eq!(agent.get("/livez").status(), 200, "it must not be ended while it finishes");
    let late = machine.submit("quick", json!({})).await;
    for _ in 0..3 {
        let lease = now(&machine, running).await.lease_expires_at;
        machine.wait(running, "a longer lease", |execution| execution.lease_expires_at > lease).await;
    }
    std::fs::write(&flag, "").unwrap();
    assert_eq!(agent.wait().code(), Some(0), "{}", agent.log());
    let ended = now(&machine, running).await;
    assert_eq!((ended.status, ended.attempt), (ExecutionStatus::Succeeded, 1));
    assert_eq!(now(&machine, late).await.status, ExecutionStatus::Queued);
    assert_eq!(farewell(&agent), "executions=1 given_back=0 reason=told to stop");
    assert!(machine.store.workers().await.unwrap().is_empty(), "it has said goodbye");
}

#[tokio::test]
async fn what_a_drain_cannot_finish_in_time_goes_back_to_the_queue() {
    let machine = machine().await;
    let mut agent = Agent::start(&machine, &[], &[("ATTUNE__WORKER__SHUTDOWN_TIMEOUT", "50ms")]);
    let id = machine.submit("endless", json!({})).await;
    machine.logged(id, 1, "started").await;
    agent.signal(Signal::TERM);
    assert_eq!(agent.wait().code(), Some(0), "{}", agent.log());
    let given_back = now(&machine, id).await;
    assert_eq!((given_back.status, given_back.attempts_left), (ExecutionStatus::Queued, 1));
    assert_eq!(farewell(&agent), "executions=1 given_back=1 reason=told to stop");
}

#[tokio::test]
async fn a_second_signal_cancels_what_runs() {
    let machine = machine().await;
    let mut agent = Agent::start(&machine, &[], &[]);
    let id = machine.submit("endless", json!({})).await;
    machine.logged(id, 1, "started").await;
    agent.wait_until("/readyz", "ready");
    agent.signal(Signal::INT);
    agent.wait_until("/readyz", "not ready: taking_work: draining");
    agent.signal(Signal::TERM);
    assert_eq!(agent.wait().code(), Some(0), "{}", agent.log());
    let ended = now(&machine, id).await;
    assert_eq!(ended.status, ExecutionStatus::Cancelled);
    assert_eq!(ended.outcome.unwrap().exit_code, Some(9), "it could tidy up");
}
