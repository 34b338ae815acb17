//! The memory of an agent does not grow with what its actions print.

use std::fs::File;

use attune_common::model::ExecutionStatus;
use attune_tests::{
    agent::shell_agent,
    processes::{Killed, memory},
    service::Machine,
};
use serde_json::json;

/// A line without an end, on each of the two streams.
const OUTPUT: u64 = 1_000_000_000;
const ERRORS: u64 = 200_000_000;

/// By how much the agent may grow, in bytes: buffers, and what the allocator keeps.
const GROWTH: u64 = 32_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn two_endless_lines_at_once_and_secrets_to_look_for_leave_it_as_small_as_before() {
    let machine = Machine::new().await;
    let loud = format!("head -c {OUTPUT} /dev/zero & head -c {ERRORS} /dev/zero >&2; wait");
    machine
        .push(&[
            ("quiet", "", "echo done"),
            ("loud", "parameters: {token: {type: string, secret: true}}\n", &loud),
        ])
        .await;
    let folder = tempfile::tempdir().unwrap();
    let log = File::create(folder.path().join("log")).unwrap();
    let mut command = shell_agent(&folder.path().join("cache"), log);
    let agent = Killed(command.env("ATTUNE__DATABASE__URL", machine.url()).spawn().unwrap());
    let quiet = machine.submit("quiet", json!({})).await;
    machine.ended(quiet).await;
    let before = memory(agent.0.id(), "VmHWM");

    let id = machine.submit("loud", json!({"token": "a secret of some length"})).await;
    let ended = machine.ended(id).await;
    assert_eq!(ended.status, ExecutionStatus::Succeeded, "{ended:#?}");
    let after = memory(agent.0.id(), "VmHWM");
    assert!(after < before + GROWTH, "it had {before} bytes at most, and then {after}");

    let stored = machine.log_bytes(id, 1).await.len() as u64;
    let dropped = ended.outcome.unwrap().log_bytes_dropped;
    assert!(
        dropped > OUTPUT && dropped + stored >= OUTPUT + ERRORS,
        "{dropped} were dropped, {stored} are stored"
    );
    assert!(machine.log(id, 1).await.contains("bytes"), "a marker says how much is missing");
}
