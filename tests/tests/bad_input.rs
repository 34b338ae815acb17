//! Whatever people get wrong is said in one line that tells what to do, with the right exit status, and nothing is lost.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::{Command, Output},
};

use attune_tests::{
    binaries,
    dev::{Dev, attune, shown},
};

/// The exit status and the one line, with what differs between runs replaced.
fn told(output: &Output, folder: &Path) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(stderr.lines().count(), 1, "one line is expected: {}", shown(output));
    assert!(output.stdout.is_empty(), "nothing but data goes to standard output: {}", shown(output));
    let line = stderr.trim_end().replace(folder.to_str().unwrap(), "DIR");
    format!("{} {line}", output.status.code().expect("it exited"))
}

#[test]
fn what_is_wrong_with_a_run_is_said_before_anything_runs() {
    let dev = Dev::start();
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("actions")).unwrap();
    fs::write(folder.path().join("pack.yaml"), "ref: mine\nversion: 1.0.0\n").unwrap();
    fs::write(folder.path().join("actions/a.sh"), "").unwrap();
    let manifest = "ref: mine.a\nrunner_type: shell\nentry_point: a.sh\n\
        parameters: {who: {type: string, required: true, description: whom to greet}, times: {type: integer, default: 1}, key: {type: string, secret: true, minLength: 12}}\n";
    fs::write(folder.path().join("actions/a.yaml"), manifest).unwrap();
    fs::write(folder.path().join("bad.json"), "{\"who\": ").unwrap();
    fs::write(folder.path().join("list.yaml"), "- who\n").unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let pushed = dev.attune(["pack", "push", &path("")]);
    assert!(pushed.status.success(), "{}", shown(&pushed));
    let cases: Vec<Vec<String>> = [
        vec!["run", "mine.b"],
        vec!["run", "exmaples.tour"],
        vec!["run", "tour"],
        vec!["run", "mine.a"],
        vec!["run", "mine.a", "--param", "who"],
        vec!["run", "mine.a", "--param", "who=me", "--param", "times=many"],
        vec!["run", "mine.a", "--param", "who=me", "--param", "time=2"],
        vec!["run", "mine.a", "--param", "who=me", "--param", "key=hunter2"],
        vec!["run", "mine.a", "--params-file", &path("bad.json")],
        vec!["run", "mine.a", "--params-file", &path("list.yaml")],
        vec!["run", "mine.a", "--params-file", &path("missing.json")],
        vec!["executions", "show", "01a2079d-9464-7161-b6c8-7ca8f2a23732"],
        vec!["executions", "cancel", "01a2079d-9464-7161-b6c8-7ca8f2a23732"],
        vec!["logs", "01a2079d-9464-7161-b6c8-7ca8f2a23732"],
        vec!["executions", "list", "--status", "done"],
        vec!["actions", "show", "mine.zzzzzzzz"],
        vec!["pack", "show", "yours"],
        vec!["pack", "push", &path("missing")],
        vec!["pack", "push", &path("actions")],
        vec!["pack", "push", &path("bad.json")],
    ]
    .into_iter()
    .map(|words| words.into_iter().map(str::to_owned).collect())
    .collect();
    let lines: Vec<String> = cases.iter().map(|words| told(&dev.attune(words), folder.path())).collect();
    insta::assert_snapshot!(lines.join("\n"));
    let executions = dev.json(["executions", "list"]);
    assert_eq!(executions["executions"].as_array().unwrap().len(), 0, "nothing was submitted");
}

#[test]
fn what_is_wrong_with_a_pack_is_said_with_file_and_line() {
    let dev = Dev::start();
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("actions")).unwrap();
    fs::write(folder.path().join("actions/a.sh"), "").unwrap();
    let mut lines = Vec::new();
    for (pack, action) in [
        ("ref: mine\n version: 1\n", ""),
        ("ref: mine\nversion: 1.0.0\n", "ref: mine.a\nrunner_type: [shell\n"),
        ("ref: mine\nversion: 1.0.0\n", "ref: mine.a\nrunner_type: shell\nentry_point: b.sh\n"),
        (
            "ref: mine\nversion: 1.0.0\n",
            "ref: mine.a\nrunner_type: shell\nentry_point: a.sh\nmax_attempts: few\n",
        ),
    ] {
        fs::write(folder.path().join("pack.yaml"), pack).unwrap();
        fs::write(folder.path().join("actions/a.yaml"), action).unwrap();
        lines.push(told(&dev.attune(["pack", "push", folder.path().to_str().unwrap()]), folder.path()));
    }
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn what_keeps_dev_from_starting_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for state in ["no-database/state", "a-folder/state/attune.db", "a-file"] {
        fs::create_dir_all(place(state)).unwrap();
    }
    let text = "this is no database, only text that is long enough for a header";
    fs::write(place("no-database/state/attune.db"), text).unwrap();
    fs::write(place("a-file/state"), "").unwrap();
    fs::create_dir(place("new")).unwrap();
    let dev =
        |case: &str, listen: &str| attune(&place(case)).args(["dev", "--listen", listen]).output().unwrap();
    let lines = [
        dev("new", &address),
        dev("new", "nowhere"),
        dev("no-database", "127.0.0.1:0"),
        dev("a-folder", "127.0.0.1:0"),
        dev("a-file", "127.0.0.1:0"),
    ]
    .map(|output| told(&output, folder.path()).replace(&address, "127.0.0.1:PORT"));
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn without_a_server_the_command_line_says_how_to_start_one() {
    let folder = tempfile::tempdir().unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let run = |change: &dyn Fn(&mut Command)| {
        let mut command = attune(folder.path());
        command.arg("workers");
        change(&mut command);
        told(&command.output().unwrap(), folder.path()).replace(&free.to_string(), "127.0.0.1:PORT")
    };
    let lines = [
        run(&|_| {}),
        run(&|command| {
            command
                .env("ATTUNE_API_URL", format!("http://{free}"))
                .env("ATTUNE_API_TOKEN", "0123456789abcdef");
        }),
        run(&|command| {
            command.env("ATTUNE_API_URL", "http://192.0.2.1:1").env("ATTUNE_API_TOKEN", "0123456789abcdef");
        }),
        run(&|command| {
            command.env("ATTUNE_API_URL", "nonsense").env("ATTUNE_API_TOKEN", "0123456789abcdef");
        }),
    ];
    insta::assert_snapshot!(lines.join("\n"));
    let dev = Dev::start();
    let mut command = dev.command(["workers"]);
    let endpoint: serde_json::Value =
        serde_json::from_slice(&fs::read(dev.state_dir().join("endpoint.json")).unwrap()).unwrap();
    let url = endpoint["url"].as_str().unwrap();
    command.env("ATTUNE_API_URL", url).env("ATTUNE_API_TOKEN", "another token that is wrong");
    insta::assert_snapshot!(
        "wrong_token",
        told(&command.output().unwrap(), folder.path()).replace(url, "URL")
    );
}

#[test]
fn what_keeps_a_worker_from_starting_is_said() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("typo.yaml"), "worker:\n  slotz: 3\n").unwrap();
    fs::write(folder.path().join("broken.yaml"), "worker: {slots: 3\n").unwrap();
    fs::write(
        folder.path().join("text.db"),
        "this is no database, only text that is long enough for a header",
    )
    .unwrap();
    let run = |program: &str, arguments: &[&str], environment: &[(&str, String)]| {
        let mut command = Command::new(binaries::path(program));
        command.args(arguments).current_dir(folder.path()).env_clear().env("PATH", "/usr/bin:/bin");
        let output = command.envs(environment.iter().cloned()).env("RUST_LOG", "off").output().unwrap();
        format!("{program}: {}", told(&output, folder.path()))
    };
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken_address = taken.local_addr().unwrap().to_string();
    let only_shell = || ("ATTUNE_WORKER_RUNTIMES", "shell".to_owned());
    let url = |value: String| ("ATTUNE__DATABASE__URL", value);
    let lines = [
        run("attune-agent", &[], &[only_shell()]),
        run("attune-agent", &["-c", "typo.yaml"], &[only_shell()]),
        run("attune-agent", &["-c", "broken.yaml"], &[only_shell()]),
        run("attune-agent", &["-c", "missing.yaml"], &[only_shell()]),
        run(
            "attune-agent",
            &[],
            &[only_shell(), url(format!("sqlite://{}/text.db", folder.path().display()))],
        ),
        run("attune-agent", &[], &[only_shell(), url("mysql://root:hunter2@localhost/x".to_owned())]),
        run("attune-agent", &[], &[only_shell(), ("ATTUNE__WORKER__LEASE", "1s".to_owned())]),
        run("attune-agent", &[], &[only_shell(), ("ATTUNE__WORKER__SLOTZ", "1".to_owned())]),
        run("attune-agent", &[], &[only_shell(), ("ATTUNE__WORKER__MAX_EXECUTIONS", "0".to_owned())]),
        run("attune-agent", &[], &[only_shell(), ("ATTUNE__WORKER__EXIT_WHEN_IDLE", "soon".to_owned())]),
        run("attune-agent", &["--health-addr", "nowhere"], &[only_shell()]),
        run("attune-agent", &["--health-addr", &taken_address], &[only_shell()]),
        run("attune-agent", &[], &[("ATTUNE_WORKER_RUNTIMES", "pyhton".to_owned())]),
        run("attune-worker", &[], &[]),
        run("attune-worker", &[], &[("ATTUNE__WORKER__RUNTIMES", "python=/nonexistent/python3".to_owned())]),
        run("attune-api", &[], &[]),
    ];
    let text = lines.join("\n").replace(&taken_address, "127.0.0.1:PORT");
    assert!(!text.contains("hunter2"), "no password is ever shown:\n{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn a_machine_with_no_interpreter_is_told_so_with_status_3() {
    let folder = tempfile::tempdir().unwrap();
    let agent = binaries::path("attune-agent");
    fs::copy(&agent, folder.path().join("attune-agent")).unwrap();
    // only the root of another machine has no interpreter at all; the agent's own libraries have to be in it
    let libraries = Command::new("ldd").arg(&agent).output().expect("ldd belongs to the C library");
    for word in
        String::from_utf8_lossy(&libraries.stdout).split_whitespace().filter(|word| word.starts_with('/'))
    {
        let place = folder.path().join(word.trim_start_matches('/'));
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::copy(word, place).unwrap();
    }
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--root"]).arg(folder.path());
    let output = command.args(["/attune-agent", "--detect-only", "--format", "json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", shown(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["runtimes"].as_array().map(Vec::len), Some(0), "{report:#}");
}
