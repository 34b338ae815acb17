//! Probes, drains and workers that end by themselves: the real `attune-agent` on a real store.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod draining;
mod limits;
mod probes;

use std::process::Output;

use attune_common::model::{Execution, ExecutionId, ExecutionStatus};
use attune_tests::{agent::Agent, dev::shown, service::Machine};
use serde_json::json;

/// Runs until it is ended, and says so; then it ends at once.
const ENDLESS: &str = "trap 'exit 9' TERM; echo started; while :; do sleep 0.02; done";

/// The same without a word.
const SILENT: &str = "trap 'exit 9' TERM; while :; do sleep 0.02; done";

/// Runs until the file of its parameter is there.
const WAITS: &str = "echo started; while [ ! -e \"$ATTUNE_ACTION_FILE\" ]; do sleep 0.02; done; echo seen";

const TAKES_A_FILE: &str = "parameter_delivery: env\nparameters: {file: {type: string}}\n";

async fn machine() -> Machine {
    let machine = Machine::new().await;
    machine
        .push(&[
            ("endless", "", ENDLESS),
            ("waits", TAKES_A_FILE, WAITS),
            ("quick", "", "echo done"),
            ("fails", "", "echo oops >&2; exit 3"),
            ("silent", "", SILENT),
            ("loud", "", "head -c 300000 /dev/zero"),
        ])
        .await;
    machine
}

async fn submit(machine: &Machine, count: usize) -> Vec<ExecutionId> {
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(machine.submit("quick", json!({})).await);
    }
    ids
}

async fn now(machine: &Machine, id: ExecutionId) -> Execution {
    machine.store.execution(id).await.unwrap().unwrap()
}

/// How many of these are in each state: queued, succeeded, anything else.
async fn count(machine: &Machine, ids: &[ExecutionId]) -> [usize; 3] {
    let mut counts = [0; 3];
    for id in ids {
        let index = match now(machine, *id).await.status {
            ExecutionStatus::Queued => 0,
            ExecutionStatus::Succeeded => 1,
            _ => 2,
        };
        counts[index] += 1;
    }
    counts
}

/// The last line of the agent's log: why it stopped.
fn farewell(agent: &Agent) -> String {
    let log = agent.log();
    let line = log.lines().last().unwrap_or_default();
    line.split_once("stopped ")
        .unwrap_or_else(|| panic!("it has not stopped in order:\n{log}"))
        .1
        .split_whitespace()
        .filter(|word| !word.starts_with("worker="))
        .collect::<Vec<_>>()
        .join(" ")
}

/// The exit status and the one line of a health check, with its address replaced.
fn told(output: &Output, address: &str) -> String {
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let line = format!("{stdout}{stderr}");
    assert_eq!(line.lines().count(), 1, "one line is expected: {}", shown(output));
    let line = line.trim_end().replace(address, "ADDRESS");
    format!("{} {line}", output.status.code().expect("it exited"))
}
