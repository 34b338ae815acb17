//! How installers run: their log, their time, their variables.

use std::fs;

use attune_common::model::{ExecutionStatus, Outcome};
use attune_tests::service::Machine;
use serde_json::json;

use crate::{ended, shell_pack};

#[tokio::test]
async fn an_installer_that_fails_says_why_in_the_log_and_in_the_error() {
    let machine = Machine::new().await;
    let recipe = "install:\n  - [sh, -c, 'echo fetching; echo \"no such package: tool\" >&2; exit 3']\n";
    machine.push_folder(shell_pack(recipe).path()).await;
    let worker = machine.start(machine.settings()).await;
    let mut told = Vec::new();
    let ended = ended(&machine, "show").await;
    told.push(format!("{}\n{}", ended.status, ended.outcome.clone().unwrap().error.unwrap()));
    told.push(machine.log(ended.id, 1).await);
    machine.push_folder(shell_pack("install: [no-such-installer]\n").path()).await;
    let ended = self::ended(&machine, "show").await;
    told.push(format!("{}\n{}", ended.status, ended.outcome.unwrap().error.unwrap()));
    let shell = fs::canonicalize("/bin/sh").unwrap();
    insta::with_settings!({filters => vec![
        (machine.folder().to_str().unwrap(), "MACHINE"),
        (shell.to_str().unwrap(), "/bin/sh"),
        (r"[^ `]*/sh -c", "SH -c"),
    ]}, {
        insta::assert_snapshot!(told.join("\n---\n"));
    });
    assert_eq!(machine.kept("environments"), Vec::<String>::new());
    assert_eq!(machine.leftover_workspaces(), 0);
    worker.drain().await;
}

#[tokio::test]
async fn installers_have_the_time_of_the_execution_and_end_with_it() {
    let machine = Machine::new().await;
    let endless = "install:\n  - [sh, -c, 'echo started; while :; do sleep 0.02; done']\n";
    let pack = shell_pack(endless).action("short", "sh", "runner_type: shell\ntimeout: 0.3\n", "exit 0\n");
    machine.push_folder(pack.path()).await;
    let worker = machine.start(machine.settings()).await;
    let cancelled = machine.submit("show", json!({})).await;
    machine.logged(cancelled, 1, "started").await;
    // it waits for the same environment, and no longer than it may
    let late = ended(&machine, "short").await;
    assert_eq!(late.status, ExecutionStatus::TimedOut);
    let Outcome { error, exit_code, signal, .. } = late.outcome.unwrap();
    assert_eq!(
        (error.unwrap().as_str(), exit_code, signal),
        ("not finished after 300ms, its time limit", None, None)
    );
    assert!(
        machine.log(late.id, 1).await.contains("[environment] waiting for another worker that builds it")
    );
    machine.cancel(cancelled).await;
    let ended = machine.ended(cancelled).await;
    assert_eq!(ended.status, ExecutionStatus::Cancelled);
    assert_eq!((ended.outcome.as_ref().unwrap().exit_code, ended.outcome.unwrap().signal), (None, None));
    assert_eq!(
        self::ended(&machine, "short").await.status,
        ExecutionStatus::TimedOut,
        "now its own installer"
    );
    assert_eq!(machine.kept("environments"), Vec::<String>::new());
    worker.drain().await;
}

#[tokio::test]
async fn installers_get_neither_secrets_nor_parameters_nor_what_is_not_passed_on() {
    let machine = Machine::new().await;
    let pack = shell_pack("install: [env, 'cat -']\n").action(
        "secret",
        "sh",
        "runner_type: shell\nparameter_delivery: env\nparameters: {password: {type: string, secret: true}}\n",
        "echo '\"done\"'\n",
    );
    machine.push_folder(pack.path()).await;
    let mut settings = machine.settings();
    // cargo sets both for its tests
    settings.execution.pass_environment = vec!["CARGO_PKG_NAME".to_owned()];
    assert!(std::env::var_os("CARGO_PKG_VERSION").is_some());
    let worker = machine.start(settings).await;
    let id = machine.submit("secret", json!({"password": "correct horse"})).await;
    assert_eq!(machine.ended(id).await.status, ExecutionStatus::Succeeded);
    let log = machine.log(id, 1).await;
    let mut names: Vec<&str> = log
        .lines()
        .filter_map(|line| line.strip_prefix("[environment] ")?.split_once('='))
        .map(|(name, _)| name)
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["CARGO_PKG_NAME", "HOME", "LANG", "PATH", "TMPDIR"]);
    assert!(!log.contains("correct horse"));
    worker.drain().await;
}
