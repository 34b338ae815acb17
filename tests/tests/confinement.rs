//! What a configuration says of the confinement of actions holds for them, whatever the agent itself was started with.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output, Stdio},
};

use attune_common::model::ExecutionStatus;
use attune_tests::{binaries, service::Machine};
use serde_json::json;

/// Users that nobody else is.
const AGENT: &str = "64990";
const ACTION: &str = "64991";

/// An agent that does one execution, started by a command, with more variables.
fn agent(command: &[&str], machine: &Machine, cache: &Path, environment: &[(&str, &str)]) -> Output {
    Command::new(command[0])
        .args(&command[1..])
        .arg(binaries::path("attune-agent"))
        .args(["--max-executions", "1"])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("ATTUNE_WORKER_RUNTIMES", "shell")
        .env("ATTUNE__DATABASE__URL", machine.url())
        .env("ATTUNE__WORKER__CACHE_DIR", cache)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .output()
        .expect("bash and setpriv can be started")
}

#[tokio::test(flavor = "multi_thread")]
async fn user_and_limits_are_those_that_are_configured_and_signals_are_as_usual() {
    let machine = Machine::new().await;
    let look = "id -u; id -g; id -G; ulimit -n; ulimit -v; ulimit -u; ulimit -c; umask
        grep -E '^Sig(Blk|Ign)' /proc/self/status";
    machine.push(&[("look", "", look)]).await;
    let id = machine.submit("look", json!({})).await;
    let cache = tempfile::tempdir().unwrap();
    fs::set_permissions(cache.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let environment = [
        ("ATTUNE__WORKER__RUN_AS", ACTION),
        ("ATTUNE__WORKER__LIMIT_OPEN_FILES", "77"),
        ("ATTUNE__WORKER__LIMIT_ADDRESS_SPACE", "409600000"),
        ("ATTUNE__WORKER__LIMIT_PROCESSES", "88"),
    ];
    // as something that does not want to hear of terminals, children and closed pipes starts it
    let command = ["bash", "-c", "trap '' HUP PIPE USR1 CHLD; exec \"$0\" \"$@\""];
    let output = tokio::task::block_in_place(|| agent(&command, &machine, cache.path(), &environment));
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(machine.ended(id).await.status, ExecutionStatus::Succeeded, "{told}");
    let said = machine.log(id, 1).await;
    let (is, signals) = said.split_at(said.find("Sig").expect("signals"));
    assert_eq!(is, format!("{ACTION}\n{ACTION}\n{ACTION}\n77\n400000\n88\n0\n0077\n"));
    // the C library keeps two to itself, 32 and 33, and lets nobody change them (signal(7))
    let reserved: u64 = 0b11 << 31;
    for line in signals.lines() {
        let (_, mask) = line.split_once(":\t").unwrap();
        assert_eq!(u64::from_str_radix(mask, 16).unwrap() & !reserved, 0, "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn its_folders_are_its_own() {
    let machine = Machine::new().await;
    let look = r#"pwd -P; for folder in "$PWD" "$HOME" "$TMPDIR" "$ATTUNE_ARTIFACTS_DIR"; do
            stat --format '%a %u' "$folder"; touch "$folder/mine"; stat --format '%a' "$folder/mine"; ls -A "$folder"; done
        printf '%s\n' "$PWD" "$HOME" "$TMPDIR" "$ATTUNE_ARTIFACTS_DIR" | sort -u | wc -l
        touch "$ATTUNE_ARTIFACTS_DIR/../lock" 2>/dev/null && echo 'changed what is the worker'\''s'; exit 0"#;
    machine.push(&[("look", "", look)]).await;
    let id = machine.submit("look", json!({})).await;
    let cache = tempfile::tempdir().unwrap();
    fs::set_permissions(cache.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let output = tokio::task::block_in_place(|| {
        agent(&["env"], &machine, cache.path(), &[("ATTUNE__WORKER__RUN_AS", ACTION)])
    });
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(machine.ended(id).await.status, ExecutionStatus::Succeeded, "{told}");
    let said = machine.log(id, 1).await;
    let (folder, found) = said.split_once('\n').unwrap();
    let each = format!("700 {ACTION}\n600\nmine\n");
    assert_eq!(found, format!("{}4\n", each.repeat(4)));
    assert!(Path::new(folder).starts_with(cache.path()) && !Path::new(folder).exists(), "{folder}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_root_can_run_actions_as_somebody_else() {
    let machine = Machine::new().await;
    let cache = tempfile::tempdir().unwrap();
    for folder in [cache.path(), machine.folder()] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).unwrap();
    }
    fs::set_permissions(machine.folder().join("attune.db"), fs::Permissions::from_mode(0o666)).unwrap();
    let command = ["setpriv", "--reuid", AGENT, "--regid", AGENT, "--clear-groups", "--"];
    let environment = [("ATTUNE__WORKER__RUN_AS", ACTION), ("RUST_LOG", "off")];
    let output = tokio::task::block_in_place(|| agent(&command, &machine, cache.path(), &environment));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    insta::assert_snapshot!(String::from_utf8_lossy(&output.stderr).trim_end(), @"attune-agent: worker.run_as is set, but only root can run actions as somebody else: start the worker as root, or unset it");
}
