//! Real processes, ended in every way there is.

use std::path::Path;

use attune_common::model::LogStream;

use super::*;

const LONG: Duration = Duration::from_mins(2);

struct Run {
    ending: Ending,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// Runs a shell script; `end_when` is the text on standard output at which its end is asked for.
async fn shell(script: &str, stdin: &[u8], limits: Limits, end_when: Option<(&str, EndReason)>) -> Run {
    let spec = ProcessSpec {
        command: ["/bin/sh", "-c", script].map(Into::into).to_vec(),
        environment: vec![("PATH".into(), search_path())],
        directory: "/".into(),
        stdin: stdin.to_vec(),
    };
    let (sender, mut receiver) = mpsc::channel(4);
    let (end, reason) = watch::channel(None);
    let running = tokio::spawn(run(spec, limits, sender, reason));
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    while let Some(output) = receiver.recv().await {
        match output.stream {
            LogStream::Stdout => stdout.extend(output.data),
            _ => stderr.extend(output.data),
        }
        if let Some((text, reason)) = end_when
            && String::from_utf8_lossy(&stdout).contains(text)
        {
            end.send_replace(Some(reason));
        }
    }
    Run { ending: running.await.unwrap().unwrap(), stdout, stderr }
}

/// Where the tester's own tools are, which is not the same everywhere.
fn search_path() -> OsString {
    std::env::var_os("PATH").expect("tests need tools")
}

fn limits(timeout: Duration, kill_grace: Duration) -> Limits {
    Limits { timeout, kill_grace }
}

/// Waits until a process is gone; a zombie that nobody has reaped yet is gone, too.
async fn wait_until_gone(pid: &str) {
    let alive = || {
        let stat = std::fs::read_to_string(Path::new("/proc").join(pid).join("stat")).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with(['R', 'S', 'D', 'T']))
    };
    while alive() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn both_streams_and_the_status_arrive() {
    let run = shell("echo out; echo err >&2; exit 7", b"", limits(LONG, LONG), None).await;
    assert_eq!(run.ending, Ending { status: Status::Exited(7), timed_out: false, reason: None });
    assert_eq!((run.stdout.as_slice(), run.stderr.as_slice()), (b"out\n".as_slice(), b"err\n".as_slice()));
}

#[tokio::test]
async fn ten_megabytes_go_in_and_come_out() {
    let input: Vec<u8> = (0..10 * 1024 * 1024).map(|n: u32| n.to_le_bytes()[1]).collect();
    let run = shell("exec cat", &input, limits(LONG, LONG), None).await;
    assert!(run.stdout == input, "every byte must come back in order");
}

#[tokio::test]
async fn input_that_is_not_read_is_no_error() {
    let run = shell("exit 0", &vec![b'x'; 1024 * 1024], limits(LONG, LONG), None).await;
    assert_eq!(run.ending.status, Status::Exited(0));
}

#[tokio::test]
async fn no_variable_is_inherited() {
    let run = shell("env", b"", limits(LONG, LONG), None).await;
    let text = String::from_utf8(run.stdout).unwrap();
    let added = ["PWD=", "SHLVL=", "OLDPWD=", "_="];
    let variables: Vec<&str> =
        text.lines().filter(|line| !added.iter().any(|name| line.starts_with(name))).collect();
    let path = format!("PATH={}", search_path().display());
    assert_eq!(variables, [path], "besides what shells add by themselves");
}

#[tokio::test]
async fn a_process_whose_time_is_up_is_ended_with_its_children() {
    let script = "trap '' TERM; sleep 300 & echo $!; wait; sleep 300";
    let run = shell(script, b"", limits(Duration::from_millis(300), Duration::from_millis(50)), None).await;
    assert!(run.ending.timed_out);
    assert_eq!(run.ending.status, Status::Signalled(9), "SIGTERM was ignored");
    wait_until_gone(String::from_utf8(run.stdout).unwrap().trim()).await;
}

#[tokio::test]
async fn a_process_can_tidy_up_when_it_is_asked_to_end() {
    let script = "trap 'echo tidy; exit 3' TERM; echo ready; while :; do sleep 0.01; done";
    let run = shell(script, b"", limits(LONG, LONG), Some(("ready", EndReason::Cancelled))).await;
    assert_eq!(
        run.ending,
        Ending { status: Status::Exited(3), timed_out: false, reason: Some(EndReason::Cancelled) }
    );
    assert_eq!(run.stdout, b"ready\ntidy\n");
}

#[tokio::test]
async fn children_left_behind_are_ended_and_their_pipes_do_not_hold_us() {
    let run = shell("sleep 300 & echo $!", b"", limits(LONG, LONG), None).await;
    assert_eq!(run.ending.status, Status::Exited(0));
    wait_until_gone(String::from_utf8(run.stdout).unwrap().trim()).await;
}

#[tokio::test]
async fn a_program_that_is_missing_is_an_error() {
    let spec = ProcessSpec {
        command: vec!["/nonexistent/interpreter".into()],
        environment: Vec::new(),
        directory: "/".into(),
        stdin: Vec::new(),
    };
    let (sender, _receiver) = mpsc::channel(4);
    let (_end, reason) = watch::channel(None);
    let error = run(spec, limits(LONG, LONG), sender, reason).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
}
