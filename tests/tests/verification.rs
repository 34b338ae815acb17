//! Interpreters that tell their version and do not run scripts.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    fs::{self, File},
    process::Command,
    time::{Duration, Instant},
};

use attune_common::model::{EarlierAttempt, ExecutionId, ExecutionStatus, WorkerKind};
use attune_tests::{
    binaries,
    dev::wait_for,
    interpreters::{BROKEN, program, python, shell_and_python},
    service::{Machine, configured, runtimes},
    waiting,
};
use attune_worker::runtime_detect::{Runtime, Source};
use serde_json::json;

const PYTHON: (&str, &str, &str) = ("python", "runner_type: python\n", "print('done')\n");

async fn given_back(machine: &Machine, id: ExecutionId) -> EarlierAttempt {
    let look = async || machine.store.earlier_attempts(id).await.unwrap().pop();
    waiting::found("it to be given back", look).await
}

/// Path of the Python that this machine has.
async fn real() -> String {
    runtimes("python").await.runtimes[0].interpreters[0].path.display().to_string()
}

/// Names of the runtimes that the only worker is registered with.
async fn registered(machine: &Machine) -> Vec<String> {
    let workers = machine.store.workers().await.unwrap();
    let offered = workers.into_iter().flat_map(|worker| worker.capabilities.runtimes);
    offered.map(|runtime| runtime.name).collect()
}

#[tokio::test]
async fn every_installed_interpreter_is_verified_before_a_worker_registers() {
    let machine = Machine::new().await;
    let all = runtimes("shell,python,node,ruby,go,java,r,perl").await.runtimes;
    let paths: Vec<String> = all
        .iter()
        .map(|runtime| format!("{}={}", runtime.name, runtime.interpreters[0].path.display()))
        .collect();
    let log = machine.folder().join("log");
    let mut worker = Command::new(binaries::path("attune-worker"))
        .env("ATTUNE__DATABASE__URL", machine.url())
        .env("ATTUNE__WORKER__CACHE_DIR", machine.folder().join("cache"))
        .env("ATTUNE__WORKER__RUNTIMES", paths.join(","))
        .env("NO_COLOR", "1")
        .env_remove("RUST_LOG")
        .stderr(File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let told = || fs::read_to_string(&log).unwrap();
    // Go and Java on a busy machine
    wait_for("it to register", || told().contains("registered") || worker.try_wait().unwrap().is_some());
    worker.kill().unwrap();
    worker.wait().unwrap();
    let verified: Vec<String> =
        told().lines().filter(|line| line.contains(" verified ")).map(str::to_owned).collect();
    assert_eq!(verified.len(), 8, "{}", told());
    assert!(told().contains("registered"), "{}", told());
}

/// As of `attune dev` in the folder of a Go module, which may ask for what this Go does not know.
#[tokio::test(flavor = "multi_thread")]
async fn a_module_around_the_cache_says_nothing_of_the_installed_go() {
    let machine = Machine::new().await;
    let module = tempfile::tempdir().unwrap();
    fs::write(module.path().join("go.mod"), "module example.com/around\n\nfrom-the-future 1\n").unwrap();
    let mut settings = machine.settings();
    settings.kind = WorkerKind::Worker;
    settings.execution.cache_dir = module.path().join("cache");
    let worker = machine.start_with(settings, runtimes("go").await);
    let look = async || Some(registered(&machine).await).filter(|offered| !offered.is_empty());
    assert_eq!(waiting::found("it to register", look).await, ["go"]);
    worker.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_broken_interpreter_cannot_run_goes_back_and_is_taken_no_more() {
    let machine = Machine::new().await;
    let folder = tempfile::tempdir().unwrap();
    machine.push(&[("work", "", "echo done\n"), PYTHON]).await;
    let worker =
        machine.start_with(machine.settings(), shell_and_python(&python(folder.path(), BROKEN)).await);
    let id = machine.submit("python", json!({})).await;

    let attempt = given_back(&machine, id).await;
    let error = attempt.outcome.error.unwrap().replace(folder.path().to_str().unwrap(), "/opt");
    insta::assert_snapshot!(
        error,
        @"given back: /opt/python3 does not run scripts: exit status 1: Fatal Python error: init_fs_encoding: failed to get the Python codec"
    );
    let look = async || (registered(&machine).await == ["shell"]).then_some(());
    waiting::found("it to register without", look).await;
    // what it can run it runs, also after it has looked at everything again
    let shell = machine.submit("work", json!({})).await;
    assert_eq!(machine.ended(shell).await.status, ExecutionStatus::Succeeded);
    let reservation = worker.health.reservations().unwrap().replace(folder.path().to_str().unwrap(), "/opt");
    assert!(error.ends_with(&reservation), "probes say the same: {reservation}");
    let waits = machine.store.execution(id).await.unwrap().unwrap();
    assert_eq!((waits.status, waits.attempt), (ExecutionStatus::Queued, 1));

    let other = machine.start_with(machine.settings(), runtimes("python").await);
    let ended = machine.ended(id).await;
    assert_eq!((ended.status, ended.attempt), (ExecutionStatus::Succeeded, 2), "{ended:?}");
    worker.drain().await;
    other.drain().await;
}

/// A heartbeat gives back what the one before has seen, too, and nobody here runs: there is an interval between them, in which every
/// claim is answered.
#[tokio::test(flavor = "multi_thread")]
async fn however_often_something_is_withdrawn_no_claim_under_way_is_given_back() {
    let machine = Machine::new().await;
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = "labels: {gpu: nvidia}\n";
    machine.push(&[PYTHON, ("node", "runner_type: node\n", ""), ("other", elsewhere, "")]).await;
    let mut found = shell_and_python(&python(folder.path(), BROKEN)).await;
    let node = program(folder.path(), "node", "[ \"$1\" = --version ] && exec echo v20.1.0\nexit 1\n");
    found.runtimes.extend(configured("node", node).await.runtimes);
    let mut settings = machine.settings();
    (settings.heartbeat_interval, settings.lease) = (Duration::from_hours(1), Duration::from_hours(3));
    let worker = machine.start_with(settings, found);
    waiting::until("it to register", || worker.health.ready(Instant::now()).is_ok()).await;

    // the answer has not reached it
    let id = machine.store.workers().await.unwrap()[0].id;
    let claimed = machine.submit_silently("test.other", json!({})).await.id;
    machine.store.claim(id, claimed, Duration::from_hours(3)).await.unwrap().unwrap();
    for action in ["python", "node"] {
        let id = machine.submit(action, json!({})).await;
        given_back(&machine, id).await;
    }
    let look = async || (registered(&machine).await == ["shell"]).then_some(());
    waiting::found("it to register without both", look).await;
    let held = machine.store.execution(claimed).await.unwrap().unwrap();
    assert_eq!((held.status, held.attempt), (ExecutionStatus::Running, 1));
    worker.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_interpreter_of_the_same_worker_takes_the_place_of_a_broken_one() {
    let machine = Machine::new().await;
    let folder = tempfile::tempdir().unwrap();
    machine.push(&[PYTHON]).await;
    let mut detection = configured("python", python(folder.path(), BROKEN)).await;
    let good = runtimes("python").await.runtimes.remove(0).interpreters;
    detection.runtimes[0].interpreters.extend(good);
    let worker = machine.start_with(machine.settings(), detection);
    let ended = machine.ended(machine.submit("python", json!({})).await).await;
    assert_eq!((ended.status, ended.attempt), (ExecutionStatus::Succeeded, 1), "{ended:?}");
    worker.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_can_run_nothing_ends_with_an_error() {
    let machine = Machine::new().await;
    let folder = tempfile::tempdir().unwrap();
    machine.push(&[PYTHON]).await;
    let broken = configured("python", python(folder.path(), BROKEN)).await;
    let worker = machine.start_with(machine.settings(), broken);
    let id = machine.submit("python", json!({})).await;
    insta::assert_snapshot!(
        worker.ended().await.unwrap_err(),
        @"none of the interpreters here runs scripts: the log says why; repair them, or use another image"
    );
    assert_eq!(machine.store.execution(id).await.unwrap().unwrap().status, ExecutionStatus::Queued);
    assert_eq!(machine.store.workers().await.unwrap(), [], "it is no longer registered");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_to_run_one_execution_and_has_not_says_so() {
    let machine = Machine::new().await;
    let folder = tempfile::tempdir().unwrap();
    machine.push(&[PYTHON]).await;
    let mut settings = machine.settings();
    settings.limits.max_executions = Some(1);
    let id = machine.submit("python", json!({})).await;
    let worker = machine.start_with(settings, shell_and_python(&python(folder.path(), BROKEN)).await);
    insta::assert_snapshot!(
        worker.ended().await.unwrap_err(),
        @"an interpreter here does not run scripts, and what was taken for it went back: the log says why"
    );
    assert_eq!(machine.store.execution(id).await.unwrap().unwrap().status, ExecutionStatus::Queued);
}

/// A hints file may make a runtime of its own of the same file, in whose language nothing can be tried.
#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_that_only_a_hints_file_knows_is_left_to_its_actions() {
    let machine = Machine::new().await;
    let folder = tempfile::tempdir().unwrap();
    machine.push(&[PYTHON, ("tool", "runner_type: tool\n", "")]).await;
    let mut detection = configured("python", python(folder.path(), BROKEN)).await;
    detection.runtimes.push(Runtime {
        name: "tool".to_owned(),
        source: Source::Hints,
        ..detection.runtimes[0].clone()
    });
    let worker = machine.start_with(machine.settings(), detection);
    let python = machine.submit("python", json!({})).await;
    given_back(&machine, python).await;
    let tool = machine.ended(machine.submit("tool", json!({})).await).await;
    assert_eq!((tool.status, tool.attempt), (ExecutionStatus::Failed, 1), "{tool:?}");
    assert_eq!(registered(&machine).await, ["tool"]);
    worker.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_configured_with_a_broken_interpreter_does_not_start() {
    let machine = Machine::new().await;
    let folder = tempfile::tempdir().unwrap();
    let mut settings = machine.settings();
    settings.kind = WorkerKind::Worker;
    let worker = machine.start_with(settings, shell_and_python(&python(folder.path(), BROKEN)).await);
    let error = worker.ended().await.unwrap_err().to_string();
    insta::assert_snapshot!(
        error.replace(folder.path().to_str().unwrap(), "/opt"),
        @"python: /opt/python3 does not run scripts: exit status 1: Fatal Python error: init_fs_encoding: failed to get the Python codec; repair it, or take it out of worker.runtimes"
    );
    assert_eq!(machine.store.workers().await.unwrap(), []);
}

/// Only the second of two failures decides.
#[tokio::test(flavor = "multi_thread")]
async fn a_failure_that_does_not_come_again_is_none() {
    let machine = Machine::new().await;
    let folder = tempfile::tempdir().unwrap();
    let once = folder.path().join("once");
    machine.push(&[PYTHON]).await;
    let script = format!("mkdir {} 2>/dev/null && exit 1\nexec {} \"$@\"\n", once.display(), real().await);
    let worker =
        machine.start_with(machine.settings(), configured("python", python(folder.path(), &script)).await);
    let ended = machine.ended(machine.submit("python", json!({})).await).await;
    assert_eq!((ended.status, ended.attempt), (ExecutionStatus::Succeeded, 1), "{ended:?}");
    assert!(once.exists(), "it has failed once");
    worker.drain().await;
}

/// Such as a kernel that is short of memory: the action is tried, and says for itself what it finds.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_killed_decides_nothing() {
    let machine = Machine::new().await;
    let folder = tempfile::tempdir().unwrap();
    machine.push(&[PYTHON]).await;
    let worker = machine
        .start_with(machine.settings(), configured("python", python(folder.path(), "kill -KILL $$\n")).await);
    for _ in 0..2 {
        let ended = machine.ended(machine.submit("python", json!({})).await).await;
        assert_eq!((ended.status, ended.attempt), (ExecutionStatus::Failed, 1), "{ended:?}");
        assert_eq!(ended.outcome.unwrap().signal, Some(9));
    }
    assert_eq!(registered(&machine).await, ["python"]);
    worker.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interpreter_is_verified_once_however_many_executions_want_it() {
    let machine = Machine::new().await;
    let folder = tempfile::tempdir().unwrap();
    let runs = folder.path().join("runs");
    machine.push(&[PYTHON]).await;
    let script = format!("basename \"$1\" >>{}\nexec {} \"$@\"\n", runs.display(), real().await);
    let mut settings = machine.settings();
    settings.slots = 4;
    let worker = machine.start_with(settings, configured("python", python(folder.path(), &script)).await);
    machine.run_all("python", 8).await;
    let runs = fs::read_to_string(runs).unwrap();
    assert_eq!(runs.matches("verify.py").count(), 1, "{runs}");
    assert_eq!(runs.matches("python.sh").count(), 8, "{runs}");
    worker.drain().await;
}
