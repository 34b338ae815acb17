//! The folder of environments: shared, read-only, and tidied up.

use std::{fs, os::unix::fs::MetadataExt, time::Duration};

use attune_common::model::ExecutionStatus;
use attune_tests::{
    pack::Pack,
    service::{Machine, runtimes},
};
use serde_json::json;
use walkdir::WalkDir;

use crate::{RECIPE, ended, shell_pack};

#[tokio::test]
async fn executions_that_need_the_same_environment_at_once_build_it_once() {
    let machine = Machine::new().await;
    machine.push_folder(shell_pack(RECIPE).path()).await;
    let mut ids = Vec::new();
    for _ in 0..12 {
        ids.push(machine.submit("show", json!({})).await);
    }
    let mut settings = machine.settings();
    settings.slots = 6;
    let workers = [machine.start(settings.clone()).await, machine.start(settings).await];
    let mut built = 0;
    for id in ids {
        assert_eq!(machine.ended(id).await.status, ExecutionStatus::Succeeded);
        built += machine.log(id, 1).await.matches("building the environment").count();
    }
    assert_eq!(built, 1);
    for worker in workers {
        worker.drain().await;
    }
}

#[tokio::test]
async fn packs_and_environments_are_read_only_and_nothing_is_written_beside_scripts() {
    let machine = Machine::new().await;
    let pack = Pack::default()
        .file("actions/lib.py", "WORD = 'hello'\n")
        .action("import", "py", "runner_type: python\n", "import json, lib; print(json.dumps(lib.WORD))\n")
        .file("runtimes/shell.yaml", "name: shell\nlock_files: [pack.yaml]\ninstall: ['touch {env_dir}/made']\nvariables: {MADE: '{env_dir}'}\n")
        .action(
            "writable",
            "sh",
            "runner_type: shell\n",
            "find \"$ATTUNE_PACK_DIR\" \"$MADE\" ! -type l -perm /222 ! -name .inside | wc -l\n\
             find \"$ATTUNE_PACK_DIR\" -name '*.pyc' -o -name __pycache__ | wc -l\n",
        );
    machine.push_folder(pack.path()).await;
    let worker = machine.start_with(machine.settings(), runtimes("python,shell").await);
    assert_eq!(machine.result("import").await, "hello");
    let ended = ended(&machine, "writable").await;
    let log = machine.log(ended.id, 1).await;
    let counts: Vec<&str> = log.lines().filter(|line| !line.starts_with("[environment]")).collect();
    assert_eq!(counts, ["0", "0"], "{log}");
    worker.drain().await;
}

#[tokio::test]
async fn what_was_not_used_for_long_goes_when_a_worker_starts_but_never_what_runs() {
    let machine = Machine::new().await;
    let pack = shell_pack(RECIPE).action(
        "waits",
        "sh",
        "runner_type: shell\nparameter_delivery: env\nparameters: {file: {type: string}}\n",
        "echo started; while [ ! -e \"$ATTUNE_ACTION_FILE\" ]; do sleep 0.02; done; ls \"$TOOL_HOME\" >/dev/null && echo 1\n",
    );
    machine.push_folder(pack.path()).await;
    let worker = machine.start(machine.settings()).await;
    let flag = machine.folder().join("go");
    let running = machine.submit("waits", json!({"file": flag})).await;
    machine.logged(running, 1, "started").await;
    // one more environment and pack, which nobody uses now
    machine.push_folder(shell_pack(RECIPE).file("shell.lock", "tool 2\n").path()).await;
    machine.result("show").await;
    assert_eq!((machine.kept("packs").len(), machine.kept("environments").len()), (2, 2));
    let mut settings = machine.settings();
    settings.execution.environment_max_age = Duration::ZERO;
    let tidy = machine.start(settings.clone()).await;
    while (machine.kept("packs").len(), machine.kept("environments").len()) != (1, 1) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tidy.drain().await;
    fs::write(&flag, "").unwrap();
    assert_eq!(
        machine.ended(running).await.status,
        ExecutionStatus::Succeeded,
        "its environment was there to the end"
    );
    worker.drain().await;
    let tidy = machine.start(settings).await;
    while !(machine.kept("packs").is_empty() && machine.kept("environments").is_empty()) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tidy.drain().await;
}

#[tokio::test]
async fn what_was_not_used_for_longest_goes_when_all_takes_too_much() {
    let machine = Machine::new().await;
    let worker = machine.start(machine.settings()).await;
    let mut made: Vec<String> = Vec::new();
    // the first one is used again: it is the oldest, but not the one that was not used for longest
    for lock in ["tool 1\n", "tool 2\n", "tool 3\n", "tool 1\n"] {
        machine.push_folder(shell_pack(RECIPE).file("shell.lock", lock).path()).await;
        machine.result("show").await;
        made.extend(
            machine.kept("environments").into_iter().filter(|name| !made.contains(name)).collect::<Vec<_>>(),
        );
    }
    worker.drain().await;
    let [first, _, third] = &made[..] else { panic!("one environment for each lock file: {made:?}") };
    let folder = machine.folder().join("cache/environments");
    // what du(1) says; a name is a link to the folder
    let entries = WalkDir::new(fs::canonicalize(folder.join(first)).unwrap());
    let size: u64 = entries.into_iter().map(|entry| entry.unwrap().metadata().unwrap().blocks() * 512).sum();
    let mut settings = machine.settings();
    // room for two and a half
    settings.execution.environment_max_bytes = size * 5 / 2;
    let tidy = machine.start(settings).await;
    while machine.kept("environments").len() == 3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tidy.drain().await;
    let mut expected = [first.clone(), third.clone()];
    expected.sort();
    assert_eq!(machine.kept("environments"), expected);
}
