//! The worker service on a real store with real processes: slots, drains, leases, and who takes what.

use std::time::{Duration, Instant};

use attune_common::{
    model::{Capabilities, ExecutionStatus, Outcome, WorkerId, WorkerKind},
    store::{ExecutionFilter, Fence, NewWorker, StoreError},
};
use attune_tests::{service::Machine, waiting::until};
use attune_worker::{
    cache::{Cache, Taken},
    settings::WorkerSettings,
};
use rustix::process::{Pid, test_kill_process_group};
use serde_json::json;
use sqlx::Connection;

/// Runs until it is ended, and says so; then it ends at once.
const ENDLESS: &str = "trap 'exit 9' TERM; echo started; while :; do sleep 0.02; done";

#[tokio::test]
async fn a_running_execution_can_be_cancelled() {
    let machine = Machine::new().await;
    machine.push(&[("endless", "", ENDLESS)]).await;
    let worker = machine.start(machine.settings()).await;
    let id = machine.submit("endless", json!({})).await;
    machine.logged(id, 1, "started").await;
    machine.cancel(id).await;
    let ended = machine.ended(id).await;
    assert_eq!(ended.status, ExecutionStatus::Cancelled);
    assert_eq!(ended.outcome.unwrap().exit_code, Some(9), "it could tidy up");
    worker.drain().await;
}

/// A worker that was stopped while it unpacked a pack into a cache that others share.
#[tokio::test]
async fn whoever_waits_for_a_pack_has_its_time_limit_and_can_be_cancelled() {
    let machine = Machine::new().await;
    machine.push(&[("short", "timeout: 0.3\n", "exit 0"), ("long", "", "exit 0")]).await;
    let digest = machine.store.packs().await.unwrap()[0].digest.clone();
    let cache = Cache::new(machine.folder().join("cache/packs"));
    let Taken::Vacant(vacancy) = cache.take(&digest, || {}).await.unwrap() else {
        panic!("nobody unpacked it")
    };
    let worker = machine.start(machine.settings()).await;
    let cancelled = machine.submit("long", json!({})).await;
    let late = machine.ended(machine.submit("short", json!({})).await).await;
    assert_eq!(late.status, ExecutionStatus::TimedOut);
    assert_eq!(late.outcome.unwrap().error.unwrap(), "not finished after 300ms, its time limit");
    machine.cancel(cancelled).await;
    assert_eq!(machine.ended(cancelled).await.status, ExecutionStatus::Cancelled);
    drop(vacancy);
    let id = machine.submit("short", json!({})).await;
    assert_eq!(machine.ended(id).await.status, ExecutionStatus::Succeeded);
    worker.drain().await;
}

#[tokio::test]
async fn a_draining_worker_finishes_what_runs_and_takes_nothing_new() {
    let machine = Machine::new().await;
    let folder = tempfile::tempdir().unwrap();
    let flag = folder.path().join("go");
    machine
        .push(&[
            (
                "waits",
                "parameter_delivery: env\nparameters: {file: {type: string}}\n",
                "echo started; while [ ! -e \"$ATTUNE_ACTION_FILE\" ]; do sleep 0.02; done; echo seen",
            ),
            ("quick", "", "true"),
        ])
        .await;
    let worker = machine.start(machine.settings()).await;
    let running = machine.submit("waits", json!({"file": flag})).await;
    machine.logged(running, 1, "started").await;
    worker.stop.drain();
    // the worker says so in the store: from then on it takes nothing
    loop {
        let workers = machine.store.workers().await.unwrap();
        if workers[0].status == attune_common::model::WorkerStatus::Draining {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let late = machine.submit("quick", json!({})).await;
    std::fs::write(&flag, "").unwrap();
    worker.stopped().await;
    assert_eq!(machine.ended(running).await.status, ExecutionStatus::Succeeded);
    assert_eq!(machine.store.execution(late).await.unwrap().unwrap().status, ExecutionStatus::Queued);
}

#[tokio::test]
async fn what_a_stopping_worker_cannot_finish_goes_back_to_the_queue() {
    let machine = Machine::new().await;
    let script = "trap 'echo last words; exit 9' TERM; echo started; while :; do sleep 0.02; done";
    machine.push(&[("endless", "", script)]).await;
    let mut settings = machine.settings();
    settings.shutdown_timeout = Duration::from_millis(50);
    let worker = machine.start(settings).await;
    let id = machine.submit("endless", json!({})).await;
    machine.logged(id, 1, "started").await;
    worker.drain().await;
    assert_eq!(machine.store.execution(id).await.unwrap().unwrap().status, ExecutionStatus::Queued);
    let mut earlier = machine.store.earlier_attempts(id).await.unwrap();
    let given_back = earlier.pop().expect("the attempt is told").outcome;
    assert_eq!(given_back.error.as_deref(), Some("given back: its worker stopped"));
    assert_eq!((given_back.exit_code, given_back.result), (Some(9), None));
    assert!(given_back.cpu_seconds.unwrap() > 0.0 && given_back.peak_memory_bytes.unwrap() > 0);
    machine.logged(id, 1, "last words").await;
    // another worker goes on with it, although the action allows one attempt only
    let next = machine.start(machine.settings()).await;
    machine.logged(id, 2, "started").await;
    next.stop.cancel();
    next.stopped().await;
    let ended = machine.ended(id).await;
    assert_eq!((ended.status, ended.attempt), (ExecutionStatus::Cancelled, 2));
    assert_eq!(ended.outcome.unwrap().error.unwrap(), "cancelled: its worker was told to stop at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_back_while_the_store_does_not_answer_is_not_lost() {
    let machine = Machine::new().await;
    machine.push(&[("endless", "", ENDLESS)]).await;
    let mut settings = machine.settings();
    settings.shutdown_timeout = Duration::from_millis(50);
    // the store waits a quarter of a minute for the lock, each time
    settings.lease = Duration::from_mins(5);
    let worker = machine.start(settings).await;
    let id = machine.submit("endless", json!({})).await;
    machine.logged(id, 1, "started").await;
    let locked = machine.lock_store().await;
    worker.stop.drain();
    let failed = || !worker.health.metrics_text().unwrap().contains("operation=\"release\"} 0\n");
    until("it to be given back in vain", failed).await;
    locked.close().await.unwrap();
    worker.stopped().await;
    let execution = machine.store.execution(id).await.unwrap().unwrap();
    assert_eq!((execution.status, execution.attempts_left), (ExecutionStatus::Queued, 1), "{execution:?}");
}

#[tokio::test]
async fn a_worker_whose_lease_is_gone_ends_the_process_and_records_nothing() {
    let machine = Machine::new().await;
    machine
        .push(&[("endless", "max_attempts: 2\n", "echo \"started $$\"; while :; do sleep 0.02; done")])
        .await;
    let mut settings = machine.settings();
    // its first heartbeat comes when the lease is long over
    settings.lease = Duration::from_millis(1);
    settings.heartbeat_interval = Duration::from_millis(300);
    let worker = machine.start(settings).await;
    let id = machine.submit("endless", json!({})).await;
    let first = machine.wait(id, "its start", |execution| execution.status == ExecutionStatus::Running).await;
    loop {
        // somebody else takes it away; the worker may claim it again itself, which is a new attempt
        machine.store.reap().await.unwrap();
        let now = machine.store.execution(id).await.unwrap().unwrap();
        if now.attempt == 2 && now.status == ExecutionStatus::Lost {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let stale = Fence { execution: id, attempt: 1, worker: first.worker.unwrap() };
    let late = machine.store.finish(stale, ExecutionStatus::Succeeded, Outcome::default(), vec![]).await;
    assert!(matches!(late, Err(StoreError::Fenced)));
    worker.stop.drain();
    // draining ends only when the processes have: nothing of a lost attempt runs on
    worker.stopped().await;
    assert_eq!(machine.store.execution(id).await.unwrap().unwrap().status, ExecutionStatus::Lost);
}

/// Whatever the service waits for, and however politely it would ask otherwise: somebody else may run it from then on.
#[tokio::test(flavor = "multi_thread")]
async fn when_its_lease_ends_a_process_is_killed_though_the_store_does_not_answer() {
    for script in ["sleep 1000", "yes", "yes & exit 0"] {
        let machine = Machine::new().await;
        let pid = machine.folder().join("pid");
        let script = format!(
            "[ $ATTUNE_ATTEMPT = 1 ] || exit 0; trap '' TERM; echo $$ >{0}.new; mv {0}.new {0}; {script}",
            pid.display()
        );
        machine.push(&[("deaf", "max_attempts: 2\n", &script)]).await;
        let mut settings = machine.settings();
        settings.execution.kill_grace = Duration::from_hours(1);
        settings.lease = Duration::from_millis(500);
        settings.slots = 1;
        let worker = machine.start(settings).await;
        let id = machine.submit("deaf", json!({})).await;
        until("the action to start", || pid.exists()).await;
        let group: i32 = std::fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
        let group = Pid::from_raw(group).unwrap();
        let locked = machine.lock_store().await;
        until("its end", || test_kill_process_group(group).is_err()).await;
        locked.close().await.unwrap();
        let ended = machine.ended(id).await;
        assert_eq!((ended.status, ended.attempt), (ExecutionStatus::Succeeded, 2));
        worker.drain().await;
    }
}

/// Whoever started it for a job would otherwise start it once more.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_cannot_say_goodbye_has_ended_in_order_all_the_same() {
    let machine = Machine::new().await;
    let worker = machine.start(machine.settings()).await;
    until("it to register", || worker.health.ready(Instant::now()).is_ok()).await;
    let locked = machine.lock_store().await;
    worker.drain().await;
    locked.close().await.unwrap();
    let listed = machine.store.workers().await.unwrap();
    assert_eq!(listed.len(), 1, "until it has been silent for long enough");
}

#[tokio::test]
async fn no_more_runs_at_once_than_there_are_slots() {
    let machine = Machine::new().await;
    let script = "cd \"$ATTUNE_ACTION_FOLDER\"; mkdir \"$ATTUNE_EXEC_ID\"; ls | wc -l; sleep 0.05; rmdir \"$ATTUNE_EXEC_ID\"";
    machine
        .push(&[("count", "parameter_delivery: env\nparameters: {folder: {type: string}}\n", script)])
        .await;
    let folder = tempfile::tempdir().unwrap();
    let mut ids = Vec::new();
    for _ in 0..8 {
        ids.push(machine.submit("count", json!({"folder": folder.path()})).await);
    }
    let worker = machine.start(machine.settings()).await;
    for id in ids {
        machine.ended(id).await;
        let seen: u32 = machine.log(id, 1).await.trim().parse().unwrap();
        assert!((1..=2).contains(&seen), "two slots, and {seen} at once");
    }
    let all = machine.store.executions(&ExecutionFilter::default()).await.unwrap();
    assert!(all.iter().all(|one| one.status == ExecutionStatus::Succeeded && one.attempt == 1));
    worker.drain().await;
}

#[tokio::test]
async fn a_worker_whose_heartbeat_ends_gives_back_what_runs_and_ends_with_an_error() {
    let machine = Machine::new().await;
    machine.push(&[("endless", "", ENDLESS)]).await;
    let id = machine.submit("endless", json!({})).await;
    let mut settings = machine.settings();
    // no configuration allows it, and a task that beats so often panics
    settings.heartbeat_interval = Duration::ZERO;
    let worker = machine.start(settings).await;
    let health = worker.health.clone();
    let error = format!("{:#}", worker.ended().await.unwrap_err());
    assert!(error.starts_with("the worker's heartbeat ended: "), "{error}");
    let unready = health.ready(Instant::now()).unwrap_err();
    assert!(unready.contains("heartbeat: not yet") && unready.contains("taking_work: draining"), "{unready}");
    let given_back = machine.store.execution(id).await.unwrap().unwrap();
    assert_eq!((given_back.status, given_back.attempts_left), (ExecutionStatus::Queued, 1));
    assert!(machine.store.workers().await.unwrap().is_empty(), "it has said goodbye");
}

#[tokio::test]
async fn a_worker_takes_work_away_from_workers_that_are_silent() {
    let machine = Machine::new().await;
    machine.push(&[("quick", "max_attempts: 2\n", "echo done")]).await;
    let id = machine.submit("quick", json!({})).await;
    let silent = WorkerId::new();
    let new = NewWorker {
        id: silent,
        name: "silent".to_owned(),
        kind: WorkerKind::Agent,
        version: "1".to_owned(),
        capabilities: Capabilities::default(),
        slots: 1,
        heartbeat_interval: Duration::from_millis(1),
    };
    machine.store.register_worker(new).await.unwrap();
    machine.store.claim(silent, id, Duration::ZERO).await.unwrap().unwrap();
    // there is nobody else: no API
    let worker = machine.start(machine.settings()).await;
    let ended = machine.ended(id).await;
    assert_eq!((ended.status, ended.attempt), (ExecutionStatus::Succeeded, 2));
    worker.drain().await;
}

#[tokio::test]
async fn a_cordoned_worker_finishes_what_it_runs_and_goes_on_when_that_is_undone() {
    let machine = Machine::new().await;
    let wait = "while [ ! -e \"$ATTUNE_ACTION_GO\" ]; do sleep 0.02; done";
    machine
        .push(&[
            ("quick", "", "echo done"),
            ("wait", "parameter_delivery: env\nparameters: {go: {type: string}}\n", wait),
        ])
        .await;
    let named = |name: &str| WorkerSettings { name: name.to_owned(), ..machine.settings() };
    let worker = machine.start(named("cordoned")).await;
    let go = machine.folder().join("go");
    let running = machine.submit("wait", json!({"go": go})).await;
    machine.wait(running, "its start", |one| one.status == ExecutionStatus::Running).await;
    machine.store.cordon_worker("cordoned", "new disk").await.unwrap();

    let first = machine.submit("quick", json!({})).await;
    let other = machine.start(named("other")).await;
    assert_eq!(
        machine.ended(first).await.worker_name.unwrap(),
        "other",
        "although the cordoned one has a free slot"
    );
    other.drain().await;
    std::fs::write(&go, "").unwrap();
    let ended = machine.ended(running).await;
    assert_eq!((ended.status, ended.worker_name.as_deref()), (ExecutionStatus::Succeeded, Some("cordoned")));

    let second = machine.submit("quick", json!({})).await;
    // a restart changes nothing, and what cannot be taken is idleness
    worker.drain().await;
    let mut idle = named("cordoned");
    idle.limits.exit_when_idle = Some(Duration::from_millis(100));
    machine.start(idle).await.stopped().await;
    let worker = machine.start(named("cordoned")).await;
    let waiting = machine.store.execution(second).await.unwrap().unwrap();
    assert_eq!(waiting.status, ExecutionStatus::Queued);
    machine.store.uncordon_worker("cordoned").await.unwrap();
    assert_eq!(machine.ended(second).await.status, ExecutionStatus::Succeeded);
    worker.drain().await;
}

#[tokio::test]
async fn a_tainted_worker_takes_what_tolerates_its_taints_and_leaves_the_rest() {
    let machine = Machine::new().await;
    machine
        .push(&[("any", "", "echo any"), ("special", "tolerations: [dedicated=ml]\n", "echo special")])
        .await;
    let mut tainted = machine.settings();
    tainted.taints = ["dedicated=ml".parse().unwrap()].into();
    tainted.limits.exit_when_idle = Some(Duration::ZERO);
    let (any, special) = (machine.submit("any", json!({})).await, machine.submit("special", json!({})).await);
    machine.start(tainted).await.stopped().await;
    let status = async |id| machine.store.execution(id).await.unwrap().unwrap().status;
    assert_eq!(
        (status(any).await, status(special).await),
        (ExecutionStatus::Queued, ExecutionStatus::Succeeded)
    );
    let requirement = machine.store.execution(special).await.unwrap().unwrap().requirement;
    assert_eq!(requirement.to_string(), "shell; tolerates dedicated=ml");
    let worker = machine.start(machine.settings()).await;
    assert_eq!(machine.ended(any).await.status, ExecutionStatus::Succeeded);
    worker.drain().await;
}
