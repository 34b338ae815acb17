//! Probes, drains and workers that end by themselves: the real `attune-agent` on a real store.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{io::Write, net::TcpListener, process::Output};

use attune_common::model::{Execution, ExecutionId, ExecutionStatus};
use attune_tests::{
    agent::{Agent, healthcheck},
    dev::{shown, wait_for},
    service::Machine,
};
use rustix::process::Signal;
use serde_json::json;
use sqlx::Connection;
use tempfile::TempDir;

/// Runs until it is ended, and says so; then it ends at once.
const ENDLESS: &str = "echo started; trap 'exit 9' TERM; while :; do sleep 0.02; done";

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

#[tokio::test]
async fn a_worker_is_ready_when_it_is_registered_and_hears_and_lives_before() {
    let machine = machine().await;
    let locked = machine.lock_store().await;
    let agent = Agent::start(&machine, &[], &[]);
    let before = agent.get("/readyz");
    assert_eq!(before.status(), 503);
    assert_eq!(
        before.body,
        "not ready: registered: not yet; doorbell: not yet; heartbeat: not yet; taking_work: not yet\n"
    );
    assert_eq!((agent.get("/livez").status(), agent.get("/livez").body.as_str()), (200, "live\n"));
    locked.close().await.unwrap();
    agent.wait_until("/readyz", "ready");
    assert_eq!(agent.get("/readyz").status(), 200);
    let workers = machine.store.workers().await.unwrap();
    assert_eq!(workers.len(), 1, "who is ready is registered");
}

#[tokio::test]
async fn a_worker_whose_store_does_not_answer_lives_but_is_not_ready() {
    let machine = machine().await;
    let agent = Agent::start(&machine, &[], &[("ATTUNE__WORKER__LEASE", "1s")]);
    agent.wait_until("/readyz", "ready");
    let locked = machine.lock_store().await;
    agent.wait_until("/readyz", "not ready: heartbeat: ");
    assert_eq!(agent.get("/readyz").status(), 503);
    assert_eq!(agent.get("/livez").status(), 200, "a new start would not bring the store back");
    let metrics = agent.get("/metrics").body;
    assert!(metrics.contains("attune_worker_condition{condition=\"heartbeat\"} 0\n"), "{metrics}");
    locked.close().await.unwrap();
    agent.wait_until("/readyz", "ready");
}

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

#[tokio::test]
async fn the_metrics_count_what_happened() {
    let machine = machine().await;
    let agent = Agent::start(&machine, &[], &[("ATTUNE__WORKER__MAX_LOG_BYTES", "100000")]);
    for name in ["quick", "quick", "fails", "loud"] {
        machine.ended(machine.submit(name, json!({})).await).await;
    }
    machine.submit("silent", json!({})).await;
    agent.wait_until("/readyz", "ready");
    // what is counted last
    wait_for("four to have ended, and one to run", || {
        let metrics = agent.get("/metrics").body;
        metrics.contains("attune_worker_run_duration_seconds_count 4\n")
            && metrics.contains("attune_worker_slots_busy 1\n")
            && metrics.contains("attune_worker_claims_total 5\n")
    });
    let answer = agent.get("/metrics");
    assert_eq!(answer.status(), 200);
    assert!(
        answer.head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"),
        "{}",
        answer.head
    );
    insta::with_settings!({filters => vec![
        // how long things took differs; how many there were does not
        (r#"(_bucket\{le="[0-9.e]+"\}) \d+"#, "$1 [COUNT]"),
        (r"(_sum) [0-9.e-]+", "$1 [SECONDS]"),
        (r"(claim_duration_seconds_bucket.*|claim_duration_seconds_count) \d+", "$1 [COUNT]"),
        (r"(heartbeat_age_seconds) [0-9.e-]+", "$1 [SECONDS]"),
        (r#"architecture="[^"]+""#, "architecture=\"[ARCHITECTURE]\""),
        (r#"version="[^"]+""#, "version=\"[VERSION]\""),
    ]}, {
        insta::assert_snapshot!(answer.body);
    });
}

#[tokio::test]
async fn the_health_check_says_in_one_line_what_is_wrong() {
    let machine = machine().await;
    let mut agent = Agent::start(&machine, &[], &[]);
    agent.wait_until("/readyz", "ready");
    let address = agent.address().to_owned();
    let check = |arguments: &[&str]| told(&agent.healthcheck(arguments), &address);
    let mut lines = vec![check(&[]), check(&["--live"]), check(&["--addr", &address])];
    let running = machine.submit("endless", json!({})).await;
    machine.logged(running, 1, "started").await;
    agent.signal(Signal::TERM);
    agent.wait_until("/readyz", "not ready: taking_work: draining");
    lines.extend([check(&[]), check(&["--live"])]);
    agent.signal(Signal::TERM);
    agent.wait();
    lines.push(told(&agent.healthcheck(&[]), &address));
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn the_health_check_explains_a_wrong_address() {
    let ask = |arguments: &[&str], environment: &[(&str, &str)], address: &str| {
        told(&healthcheck(arguments, environment), address)
    };
    // accepts, and never says a word
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_address = silent.local_addr().unwrap().to_string();
    // says something that is not HTTP
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let other_address = other.local_addr().unwrap().to_string();
    let speaking = std::thread::spawn(move || {
        let (mut stream, _) = other.accept().unwrap();
        stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").unwrap();
    });
    let lines = [
        ask(&[], &[], "NONE"),
        ask(&["--addr", "nowhere"], &[], "NONE"),
        ask(&["--addr", "127.0.0.1:0"], &[], "NONE"),
        ask(&[], &[("ATTUNE__WORKER__HEALTH_ADDR", "[::]:0")], "NONE"),
        ask(&["--addr", &silent_address, "--timeout", "50ms"], &[], &silent_address),
        ask(&["--addr", &other_address], &[], &other_address),
    ];
    speaking.join().unwrap();
    insta::assert_snapshot!(lines.join("\n"));
}

#[tokio::test]
async fn no_client_can_occupy_the_probes() {
    let machine = machine().await;
    let agent = Agent::start(&machine, &[], &[]);
    agent.wait_until("/readyz", "ready");
    let silent: Vec<_> = (0..200).map(|_| agent.connect()).collect();
    let halves: Vec<_> = (0..200)
        .map(|_| {
            let mut stream = agent.connect();
            // those behind it may have thrown it out already
            let _ = stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: ");
            stream
        })
        .collect();
    assert_eq!(agent.get("/readyz").body, "ready\n");
    drop((silent, halves));
    let cases = [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 404),
        ("POST /readyz HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc".to_owned(), 405),
        ("HEAD /readyz HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 200),
        (format!("GET /readyz HTTP/1.1\r\nHost: a\r\n{}\r\n", "x: y\r\n".repeat(200)), 431),
        ("nonsense\r\n\r\n".to_owned(), 400),
    ];
    for (request, status) in cases {
        let answer = agent.send(&request);
        assert_eq!(answer.status(), status, "{request:.40}: {answer:?}");
    }
    assert_eq!(agent.get("/readyz").body, "ready\n");
}

#[tokio::test]
async fn probes_are_answered_on_every_address_of_both_kinds() {
    let machine = machine().await;
    let agent = Agent::start(&machine, &["--health-addr", "[::]:0"], &[]);
    let port = agent.address().strip_prefix("[::]:").unwrap_or_else(|| panic!("{}", agent.address()));
    let check = || healthcheck(&["--live", "--addr", &format!("127.0.0.1:{port}")], &[]);
    assert!(check().status.success(), "{}", shown(&check()));
}
