//! What is left when a supervisor is killed, alone or together with its agent: also what can be told by nothing of its own any
//! more, because it gave up its session, its parents and its environment.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;

use attune_common::model::{ExecutionId, ExecutionStatus};
use attune_tests::{
    agent::Agent,
    dev::wait_for,
    processes::{marked, parents},
    service::Machine,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

/// Living processes of `sleep` for this time.
fn asleep(seconds: &str) -> usize {
    let expected = format!("sleep\0{seconds}\0");
    let sleeps =
        |pid: &i32| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line == expected.as_bytes());
    parents().keys().filter(|pid| sleeps(pid)).count()
}

/// Submits an action that starts one which hides, and waits for both. Returns the supervisor's number, too.
async fn hiding(machine: &Machine, seconds: &str) -> (ExecutionId, Pid) {
    let script = format!("setsid env -i sleep {seconds} & exec sleep {seconds}");
    machine.push(&[("hides", "max_attempts: 1\n", &script)]).await;
    let id = machine.submit("hides", json!({})).await;
    wait_for("the action and what hides", || asleep(seconds) == 2);
    let [action] = marked(&format!("ATTUNE_EXEC_ID={id}"))[..] else {
        panic!("the action is told by its environment, and what hides is not")
    };
    (id, Pid::from_raw(parents()[&action]).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_adopts_and_ends_what_a_killed_supervisor_leaves() {
    let machine = Machine::new().await;
    let agent = Agent::start(&machine, &[], &[]);
    let (id, supervisor) = hiding(&machine, "304.04").await;
    kill_process(supervisor, Signal::KILL).unwrap();
    let ended = machine.ended(id).await;
    assert_eq!((ended.status, asleep("304.04")), (ExecutionStatus::Failed, 0), "{}", agent.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_when_both_are_killed_at_once_the_next_worker_ends() {
    let machine = Machine::new().await;
    let cache = machine.folder().join("cache");
    let environment = [("ATTUNE__WORKER__CACHE_DIR", cache.to_str().unwrap())];
    let mut agent = Agent::start(&machine, &[], &environment);
    let (_, supervisor) = hiding(&machine, "305.05").await;
    // neither has a moment in which it could see the other's end
    for signal in [Signal::STOP, Signal::KILL] {
        agent.signal(signal);
        kill_process(supervisor, signal).unwrap();
    }
    agent.wait();
    wait_for("the end of the action itself", || asleep("305.05") == 1);
    let next = Agent::start(&machine, &[], &environment);
    wait_for("the end of what hides", || asleep("305.05") == 0);
    drop(next);
}
