//! The whole road with the real programs: detect, submit, run, see.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{collections::BTreeMap, process::Command};

use attune_tests::{
    binaries,
    dev::{Dev, attune, shown, wait_for},
};
use rustix::process::Signal;
use serde_json::{Value, json};

/// Every runtime with its example action and a parameter that shows in the result.
const EXAMPLES: [(&str, &str); 8] = [
    ("shell", "examples.checksum_files"),
    ("python", "examples.summarise_csv"),
    ("node", "examples.render_template"),
    ("ruby", "examples.analyse_access_log"),
    ("go", "examples.check_certificate"),
    ("java", "examples.plan_meeting"),
    ("r", "examples.fit_trend"),
    ("perl", "examples.redact_text"),
];

#[test]
fn every_runtime_runs_its_example_through_the_command_line() {
    let dev = Dev::start();
    for (runtime, action) in EXAMPLES {
        let ended = dev.json(["run", action]);
        assert_eq!(ended["status"], "succeeded", "{action}: {ended:#}\n{}", dev.log());
        assert_eq!((ended["attempt"].as_u64(), ended["exit_code"].as_i64()), (Some(1), Some(0)));
        assert!(ended["requirement"].as_str().unwrap().starts_with(runtime), "{ended:#}");
        // only the redacted text is log alone; every other action answers with data
        assert_eq!(ended["result"].is_null(), runtime == "perl", "{ended:#}");
    }
    // what people see of it
    let output =
        dev.attune(["run", "examples.summarise_csv", "--param", "group_by=product", "--param", "decimals=0"]);
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && stdout.contains("read 12 rows"), "{}", shown(&output));
    let listed = dev.json(["executions", "list", "--limit", "100"]);
    assert_eq!(listed["executions"].as_array().unwrap().len(), EXAMPLES.len() + 1);
    let id = listed["executions"][0]["id"].as_str().unwrap().to_owned();
    let logs = dev.attune(["logs", &id]);
    assert!(String::from_utf8_lossy(&logs.stdout).contains("read 12 rows"), "{}", shown(&logs));
}

#[test]
fn one_command_runs_the_tour_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let output = attune(folder.path()).args(["dev", "--run", "examples.tour"]).output().unwrap();
    assert!(output.status.success(), "{}", shown(&output));
    let stderr = String::from_utf8_lossy(&output.stderr);
    for (_, action) in EXAMPLES {
        let line = stderr.lines().rfind(|line| line.starts_with(action));
        assert!(line.is_some_and(|line| line.contains("succeeded")), "{action}: {}", shown(&output));
    }
    let state = folder.path().join("state");
    assert!(!state.join("endpoint.json").exists(), "the token is gone with the server");
    assert_eq!(std::fs::read_dir(state.join("cache/executions")).unwrap().count(), 0);
}

#[test]
fn a_running_execution_is_followed_cancelled_and_listed() {
    let dev = Dev::start();
    let pack = tempfile::tempdir().unwrap();
    write_pack(pack.path(), "trap 'echo tidy; exit 1' TERM; echo started; while :; do sleep 0.02; done");
    let pushed = dev.attune(["pack", "push", pack.path().to_str().unwrap()]);
    assert!(pushed.status.success(), "{}", shown(&pushed));
    let started = dev.json(["run", "mine.work", "--detach"]);
    let id = started["id"].as_str().unwrap().to_owned();
    wait_for("the first line", || dev.attune(["logs", &id]).stdout == b"started\n");
    let follower = dev.command(["logs", "-f", &id]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let cancelled = dev.attune(["executions", "cancel", &id]);
    assert!(cancelled.status.success(), "{}", shown(&cancelled));
    let seen = follower.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&seen.stdout), "started\ntidy\n");
    let ended = dev.json(["executions", "show", &id]);
    assert_eq!(ended["status"], "cancelled");
    let listed = dev.json(["executions", "list", "--status", "cancelled"]);
    assert_eq!(listed["executions"][0]["id"], json!(id));
}

#[test]
fn the_exit_status_tells_how_it_ended() {
    let dev = Dev::start();
    let pack = tempfile::tempdir().unwrap();
    let status = |script: &str, manifest: &str| {
        write_pack_with(pack.path(), script, manifest);
        assert!(dev.attune(["pack", "push", pack.path().to_str().unwrap()]).status.success());
        dev.attune(["run", "mine.work"]).status.code()
    };
    assert_eq!(status("exit 0", ""), Some(0));
    assert_eq!(status("exit 42", ""), Some(1));
    assert_eq!(status("while :; do sleep 0.02; done", "timeout: 0.1\n"), Some(124));
}

#[test]
fn work_for_a_runtime_that_is_not_here_waits_and_is_visible() {
    let dev = Dev::start();
    let pack = tempfile::tempdir().unwrap();
    write_pack_with(pack.path(), "", "runner_type: python\nruntime_version: '>=99'\n");
    assert!(dev.attune(["pack", "push", pack.path().to_str().unwrap()]).status.success());
    let waiting = dev.command(["run", "mine.work", "--detach"]).output().unwrap();
    assert!(waiting.status.success(), "{}", shown(&waiting));
    assert!(String::from_utf8_lossy(&waiting.stderr).contains("python >=99"), "{}", shown(&waiting));
    let loads = dev.json(["requirements"]);
    let load = loads["requirements"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["requirement"] == "python >=99")
        .unwrap();
    assert_eq!((load["waiting"].as_u64(), load["workers"].as_array().map(Vec::len)), (Some(1), Some(0)));
}

#[test]
fn a_second_process_on_the_same_file_takes_work_too() {
    let dev = Dev::start_with(|command| {
        command.args(["--slots", "1"]);
    });
    let pack = tempfile::tempdir().unwrap();
    let folder = tempfile::tempdir().unwrap();
    write_pack_with(
        pack.path(),
        "touch \"$ATTUNE_ACTION_FOLDER/$ATTUNE_EXEC_ID\"; while [ \"$(ls \"$ATTUNE_ACTION_FOLDER\" | wc -l)\" -lt 2 ]; do sleep 0.02; done",
        "parameter_delivery: env\nparameters: {folder: {type: string}}\n",
    );
    assert!(dev.attune(["pack", "push", pack.path().to_str().unwrap()]).status.success());
    let mut agent = Command::new(binaries::path("attune-agent"))
        .env("ATTUNE__DATABASE__URL", format!("sqlite://{}", dev.state_dir().join("attune.db").display()))
        .env("ATTUNE__WORKER__CACHE_DIR", folder.path().join("cache"))
        .env("ATTUNE_WORKER_RUNTIMES", "shell")
        .env("ATTUNE_WORKER_NAME", "second")
        .env("RUST_LOG", "off")
        .spawn()
        .unwrap();
    // the two wait for each other: one slot alone could never finish them
    let seen = folder.path().join("seen");
    std::fs::create_dir(&seen).unwrap();
    let parameter = format!("folder={}", seen.display());
    let ids: Vec<String> = (0..2)
        .map(|_| {
            dev.json(["run", "mine.work", "--detach", "--param", &parameter])["id"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    let mut workers = BTreeMap::new();
    for id in ids {
        wait_for("its end", || dev.json(["executions", "show", &id])["status"] == "succeeded");
        let ended = dev.json(["executions", "show", &id]);
        workers.insert(ended["worker"].as_str().unwrap().to_owned(), id);
    }
    assert_eq!(workers.len(), 2, "each took one: {workers:?}");
    let pid = rustix::process::Pid::from_raw(agent.id().cast_signed()).unwrap();
    rustix::process::kill_process(pid, Signal::TERM).unwrap();
    assert!(agent.wait().unwrap().success(), "it stops in order");
}

#[test]
fn dev_stops_when_it_is_told_to_and_can_start_again() {
    let mut dev = Dev::start();
    let before = dev.json(["run", "examples.checksum_files"])["id"].clone();
    dev.signal(Signal::TERM);
    assert!(dev.wait().success(), "{}", dev.log());
    let state = dev.state_dir();
    let after = attune(state.parent().unwrap())
        .args(["dev", "--run", "examples.checksum_files", "-o", "json"])
        .output()
        .unwrap();
    assert!(after.status.success(), "{}", shown(&after));
    let after: Value = serde_json::from_slice(&after.stdout).unwrap();
    assert_ne!(after["id"], before);
}

fn write_pack(folder: &std::path::Path, script: &str) {
    write_pack_with(folder, script, "");
}

fn write_pack_with(folder: &std::path::Path, script: &str, manifest: &str) {
    let runner = if manifest.contains("runner_type") { "" } else { "runner_type: shell\n" };
    std::fs::create_dir_all(folder.join("actions")).unwrap();
    std::fs::write(folder.join("pack.yaml"), "ref: mine\nversion: 1.0.0\n").unwrap();
    std::fs::write(folder.join("actions/work.sh"), script).unwrap();
    std::fs::write(
        folder.join("actions/work.yaml"),
        format!("ref: mine.work\nentry_point: work.sh\n{runner}{manifest}"),
    )
    .unwrap();
}
