//! The real `attune-agent` binary.

use std::fs;
use std::process::{Command, Output, Stdio};

use crate::tree::{Tree, answering};

/// The agent with nothing of the test's environment. It searches the real machine, whatever that has.
fn agent(args: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_attune-agent"))
        .args(args)
        .env_clear()
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn help_and_version() {
    let help = agent(&["--help"], &[]);
    assert!(help.status.success());
    insta::assert_snapshot!(text(&help.stdout));
    let version = agent(&["--version"], &[]);
    assert_eq!(text(&version.stdout), format!("attune-agent {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn data_goes_to_standard_output_and_logs_to_standard_error() {
    let found = agent(
        &["--detect-only", "--format", "json"],
        &[("PATH", "/usr/bin:/bin"), ("RUST_LOG", "attune_worker=debug")],
    );
    assert_eq!(found.status.code(), Some(0), "{}", text(&found.stderr));
    let document: serde_json::Value = serde_json::from_slice(&found.stdout).unwrap();
    assert_eq!(document["schema_version"], 1);
    // every machine that runs these tests has a shell
    assert_eq!(document["runtimes"][0]["name"], "shell");
    assert!(text(&found.stderr).contains("examined"));
}

#[test]
fn the_env_form_is_one_line_that_a_shell_can_evaluate() {
    for path in [None, Some(""), Some("/usr/bin:/bin")] {
        let environment: Vec<_> = path.map(|path| ("PATH", path)).into_iter().collect();
        let found = agent(&["--detect-only", "--format", "env"], &environment);
        let line = text(&found.stdout);
        let list = line.strip_prefix("ATTUNE_WORKER_RUNTIMES=shell").and_then(|rest| rest.strip_suffix('\n'));
        assert!(
            list.is_some_and(|list| list.chars().all(|c| c.is_ascii_alphanumeric() || c == ',')),
            "{line:?}"
        );
    }
}

#[test]
fn the_override_is_respected_and_checked() {
    let ask = |list: &str, more: &[&str]| {
        let args = [&["--detect-only", "--format", "env"], more].concat();
        let found = agent(&args, &[("PATH", "/usr/bin:/bin"), ("ATTUNE_WORKER_RUNTIMES", list)]);
        (found.status.code(), text(&found.stdout), text(&found.stderr))
    };
    assert_eq!(ask("bash", &[]), (Some(0), "ATTUNE_WORKER_RUNTIMES=shell\n".to_owned(), String::new()));
    let (code, stdout, stderr) = ask("shel,python", &[]);
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(
        stderr.starts_with(
            "attune-agent: ATTUNE_WORKER_RUNTIMES: unknown runtime `shel`, did you mean `shell`?"
        ),
        "{stderr}"
    );

    // a runtime that is certainly absent: its only interpreter is
    let tree = Tree::new();
    let hints = tree.file("/hints.yaml", "runtimes: [{name: nil, interpreter: /nonexistent/nil}]\n", 0o644);
    let hints = ["--hints", hints.to_str().unwrap()];
    let (code, stdout, stderr) = ask("nil", &hints);
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(stderr.starts_with("attune-agent: ATTUNE_WORKER_RUNTIMES: nil not found on this machine: /nonexistent/nil rejected (not found)"), "{stderr}");
    let missing = [&hints[..], &["--allow-missing-runtimes"]].concat();
    assert_eq!(ask("nil", &missing), (Some(3), "ATTUNE_WORKER_RUNTIMES=\n".to_owned(), String::new()));
    assert_eq!(ask("nil,sh", &missing).0, Some(0));
}

#[test]
fn wrong_usage_and_wrong_files_have_their_own_status() {
    assert_eq!(agent(&["--detect-only", "--format", "xml"], &[]).status.code(), Some(2));
    assert_eq!(agent(&["--format", "json"], &[]).status.code(), Some(2));
    let missing = agent(&["--detect-only", "--hints", "/nonexistent.yaml"], &[]);
    assert_eq!(missing.status.code(), Some(1));
    assert_eq!(
        text(&missing.stderr),
        "attune-agent: cannot read hints file /nonexistent.yaml: No such file or directory (os error 2); \
         correct the path given by --hints or its permissions\n"
    );
}

#[test]
fn a_first_directory_on_path_is_the_default_of_the_real_machine_too() {
    let tree = Tree::new();
    tree.script("/mine/node", &answering(Some("--version"), 0, "v99.1.2\n", ""));
    let path = format!("{}:/usr/bin:/bin", tree.at("/mine").display());
    let found =
        agent(&["--detect-only", "--format", "json"], &[("PATH", &path), ("ATTUNE_WORKER_RUNTIMES", "node")]);
    let document: serde_json::Value = serde_json::from_slice(&found.stdout).unwrap();
    assert_eq!(document["runtimes"][0]["interpreters"][0]["version"], "99.1.2");
    fs::remove_file(tree.at("/mine/node")).unwrap();
}
