//! The worker service on a real store with real processes: everything that can become of an execution.

use std::time::Duration;

use attune_common::{
    model::{Capabilities, ExecutionStatus, LogStream, Outcome, WorkerId, WorkerKind},
    store::{ExecutionFilter, Fence, NewWorker, StoreError},
};
use attune_tests::service::Machine;
use attune_worker::settings::WorkerSettings;
use serde_json::json;
use sqlx::Connection;

/// Runs until it is ended, and says so; then it ends at once.
const ENDLESS: &str = "echo started; trap 'exit 9' TERM; while :; do sleep 0.02; done";

#[tokio::test]
async fn an_action_runs_and_its_result_and_log_are_recorded() {
    let machine = Machine::new().await;
    let script = "echo working; echo careful >&2; read -r line; echo \"{\\\"got\\\": $line}\"; ls -A \"$HOME\" \"$PWD\"  >&2";
    machine
        .push(&[("a", "output_format: json\nparameters: {n: {type: integer, default: 3}}\n", script)])
        .await;
    let worker = machine.start(machine.settings()).await;
    let id = machine.submit("a", json!({})).await;
    let ended = machine.ended(id).await;
    assert_eq!(ended.status, ExecutionStatus::Succeeded, "{ended:?}");
    let outcome = ended.outcome.unwrap();
    assert_eq!((outcome.exit_code, outcome.result), (Some(0), Some(json!({"got": {"n": 3}}))));
    assert!(outcome.interpreter.unwrap().starts_with("/bin/sh"));
    assert!(
        outcome.peak_memory_bytes.is_some_and(|bytes| bytes > 100_000),
        "{:?}",
        outcome.peak_memory_bytes
    );
    assert!(outcome.cpu_seconds.is_some_and(|seconds| seconds > 0.0), "{:?}", outcome.cpu_seconds);
    let chunks = machine.store.read_log(id, 1, 0, u64::MAX).await.unwrap();
    let of = |stream| {
        let bytes: Vec<u8> =
            chunks.iter().filter(|c| c.stream == stream).flat_map(|c| c.data.clone()).collect();
        String::from_utf8(bytes).unwrap()
    };
    assert_eq!(of(LogStream::Stdout), "working\n{\"got\": {\"n\":3}}\n");
    assert!(of(LogStream::Stderr).starts_with("careful\n"));
    worker.drain().await;
    assert!(machine.store.workers().await.unwrap().is_empty(), "it has deregistered");
    assert_eq!(machine.leftover_workspaces(), 0);
}

#[tokio::test]
async fn every_byte_is_in_the_stored_log() {
    let machine = Machine::new().await;
    let script = "for high in 0 1 2 3; do for middle in 0 1 2 3 4 5 6 7; do for low in 0 1 2 3 4 5 6 7; do \
                  printf \"\\\\$high$middle$low\"; done; done; done";
    machine.push(&[("bytes", "", script)]).await;
    let worker = machine.start(machine.settings()).await;
    let id = machine.submit("bytes", json!({})).await;
    let ended = machine.ended(id).await;
    assert_eq!(machine.log_bytes(id, 1).await, (0..=255).collect::<Vec<u8>>(), "{ended:?}");
    worker.drain().await;
}

#[tokio::test]
async fn an_action_has_these_variables_and_no_others() {
    let machine = Machine::new().await;
    let script = "tr '\\0' '\\n' </proc/$$/environ | cut -d= -f1 | sort";
    let declared = "parameters: {text: {type: string, default: a}}\nparameter_delivery: ";
    let deliveries = ["stdin", "env", "file"].map(|delivery| (delivery, format!("{declared}{delivery}\n")));
    let actions: Vec<_> =
        deliveries.iter().map(|(name, manifest)| (*name, manifest.as_str(), script)).collect();
    machine.push(&actions).await;
    let mut settings = machine.settings();
    // the second is the action's own, whatever the worker's is
    settings.execution.pass_environment = vec!["CARGO_MANIFEST_DIR".to_owned(), "HOME".to_owned()];
    let worker = machine.start(settings).await;
    for (name, own) in
        [("stdin", None), ("env", Some("ATTUNE_ACTION_TEXT")), ("file", Some("ATTUNE_PARAMETERS_FILE"))]
    {
        let id = machine.submit(name, json!({})).await;
        machine.ended(id).await;
        let mut expected = vec![
            "ATTUNE_ACTION",
            "ATTUNE_ARTIFACTS_DIR",
            "ATTUNE_ATTEMPT",
            "ATTUNE_EXEC_ID",
            "ATTUNE_PACK_DIR",
            "ATTUNE_PACK_REF",
            "CARGO_MANIFEST_DIR",
            "HOME",
            "LANG",
            "PATH",
            "TMPDIR",
        ];
        expected.extend(own);
        expected.sort_unstable();
        assert_eq!(machine.log(id, 1).await.lines().collect::<Vec<_>>(), expected, "{name}");
    }
    worker.drain().await;
}

#[tokio::test]
async fn an_action_is_asked_to_end_by_its_own_signal() {
    let machine = Machine::new().await;
    let script = "trap 'echo asked by USR1; exit 0' USR1; echo started; while :; do sleep 0.02; done";
    machine.push(&[("own", "stop_signal: SIGUSR1\n", script)]).await;
    let worker = machine.start(machine.settings()).await;
    let id = machine.submit("own", json!({})).await;
    machine.logged(id, 1, "started").await;
    machine.cancel(id).await;
    assert_eq!(machine.ended(id).await.status, ExecutionStatus::Cancelled);
    assert!(machine.log(id, 1).await.ends_with("asked by USR1\n"));
    worker.drain().await;
}

#[tokio::test]
async fn parameters_arrive_by_every_way_in_every_format() {
    let machine = Machine::new().await;
    let declared = "parameters: {text: {type: string}, list: {type: array}}\n";
    let with = |how: &str, format: &str| {
        format!("parameter_delivery: {how}\nparameter_format: {format}\n{declared}")
    };
    machine
        .push(&[
            ("json", &with("stdin", "json"), "cat"),
            ("dotenv", &with("stdin", "dotenv"), "cat"),
            (
                "yaml",
                &with("file", "yaml"),
                "cat \"$ATTUNE_PARAMETERS_FILE\"; ls -l \"$ATTUNE_PARAMETERS_FILE\" | cut -c1-10",
            ),
            ("env", &with("env", "json"), "echo \"$ATTUNE_ACTION_TEXT\"; echo \"$ATTUNE_ACTION_LIST\""),
        ])
        .await;
    let worker = machine.start(machine.settings()).await;
    let odd = json!({"text": "it's \"two\"\nlines 🦀", "list": [1, null]});
    let mut logs = Vec::new();
    for name in ["json", "dotenv", "yaml", "env"] {
        let id = machine.submit(name, odd.clone()).await;
        machine.ended(id).await;
        logs.push(format!("# {name}\n{}", machine.log(id, 1).await));
    }
    insta::assert_snapshot!(logs.concat());
    worker.drain().await;
}

#[tokio::test]
async fn every_way_to_fail_has_its_status_and_its_words() {
    let machine = Machine::new().await;
    machine
        .push(&[
            ("status", "", "exit 7"),
            ("signal", "", "kill -KILL $$"),
            ("slow", "timeout: 0.2\n", ENDLESS),
            ("no-result", "output_format: json\n", "echo done"),
            ("failed-result", "output_format: json\n", "echo '{\"why\": \"full\"}'; exit 3"),
            ("native", "runner_type: native\n", "#!/bin/sh\nexit 4\n"),
            ("bad-native", "runner_type: native\n", "not a program"),
        ])
        .await;
    let worker = machine.start(machine.settings()).await;
    let mut told = Vec::new();
    for name in ["status", "signal", "slow", "no-result", "failed-result", "native", "bad-native"] {
        let ended = machine.ended(machine.submit(name, json!({})).await).await;
        let Outcome { exit_code, signal, error, result, .. } = ended.outcome.unwrap();
        let error = error
            .unwrap()
            .split_whitespace()
            .map(|word| if word.contains("/cache/") { "PATH:" } else { word })
            .collect::<Vec<_>>()
            .join(" ");
        told.push(format!("{name}: {} {exit_code:?} {signal:?} {result:?}\n  {error}", ended.status));
    }
    insta::assert_snapshot!(told.join("\n"));
    worker.drain().await;
}

#[tokio::test]
async fn the_last_of_its_output_is_the_result_in_every_format() {
    let schema = "output_schema: {type: object, required: [free], properties: {free: {type: integer}}}\n";
    let actions = [
        ("text", "output_format: text\n".to_owned(), "echo looking; echo free 7", json!(null)),
        (
            "json",
            format!("output_format: json\n{schema}"),
            "echo looking; echo '{\"free\": 6}'; echo '{\"free\": 7}'",
            json!({"free": 7}),
        ),
        ("yaml", format!("output_format: yaml\n{schema}"), "echo 'free: 7'", json!({"free": 7})),
        (
            "jsonl",
            "output_format: jsonl\n".to_owned(),
            "echo '{\"free\": 6}'; echo '{\"free\": 7}'",
            json!([{"free": 6}, {"free": 7}]),
        ),
    ];
    let machine = Machine::new().await;
    machine
        .push(&actions.each_ref().map(|(name, manifest, script, _)| (*name, manifest.as_str(), *script)))
        .await;
    let worker = machine.start(machine.settings()).await;
    for (name, _, _, expected) in actions {
        let ended = machine.ended(machine.submit(name, json!({})).await).await;
        let outcome = ended.outcome.unwrap();
        assert_eq!(
            (ended.status, outcome.result.unwrap_or_default()),
            (ExecutionStatus::Succeeded, expected),
            "{name}: {:?}",
            outcome.error
        );
    }
    worker.drain().await;
}

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
    machine.push(&[("endless", "", ENDLESS)]).await;
    let mut settings = machine.settings();
    settings.shutdown_timeout = Duration::from_millis(50);
    let worker = machine.start(settings).await;
    let id = machine.submit("endless", json!({})).await;
    machine.logged(id, 1, "started").await;
    worker.drain().await;
    assert_eq!(machine.store.execution(id).await.unwrap().unwrap().status, ExecutionStatus::Queued);
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
    let failed = async {
        while worker.health.metrics_text().unwrap().contains("operation=\"release\"} 0\n") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), failed).await.expect("it is given back in vain");
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

#[tokio::test]
async fn output_is_bounded_and_says_what_is_missing() {
    let machine = Machine::new().await;
    machine
        .push(&[(
            "loud",
            "output_format: json\n",
            "head -c 20000000 /dev/zero; echo; echo '{\"end\": true}'",
        )])
        .await;
    let mut settings = machine.settings();
    settings.execution.max_log_bytes = 100_000;
    let worker = machine.start(settings).await;
    let id = machine.submit("loud", json!({})).await;
    let ended = machine.ended(id).await;
    let outcome = ended.outcome.unwrap();
    assert_eq!(outcome.result, Some(json!({"end": true})), "the result is read from the end all the same");
    assert_eq!(outcome.log_bytes_dropped, 20_000_000 + 15 - 100_000);
    let log = machine.log(id, 1).await;
    let marker = "\n[attune: 19900015 bytes of output were dropped: the log is limited to 100000 bytes]\n";
    assert_eq!(log.len(), 100_000 + marker.len());
    assert!(log.ends_with(marker));
    worker.drain().await;
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
    let unready = health.ready(std::time::Instant::now()).unwrap_err();
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
