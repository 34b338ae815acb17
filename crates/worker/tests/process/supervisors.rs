//! Supervisors that are started before there is an action.

use std::{fs, process::Command};

use attune_worker::process::Status;

use super::*;

/// Runs a script under one of these supervisors, and returns what it wrote.
async fn run(supervisors: &Supervisors, script: &str) -> String {
    let (sender, mut receiver) = mpsc::channel(4);
    let (_end, reason) = watch::channel(None);
    let spec = ProcessSpec { supervisors: supervisors.clone(), ..spec(&["/bin/sh", "-c", script]) };
    let running = tokio::spawn(process::run(spec, limits(LONG, LONG), sender, reason));
    let mut written = Vec::new();
    while let Some(output) = receiver.recv().await {
        written.extend(output.data);
    }
    running.await.unwrap().unwrap();
    String::from_utf8(written).unwrap()
}

async fn waiting(supervisors: &Supervisors) -> i32 {
    wait_for("a supervisor to wait", || supervisors.waiting_process().is_some()).await;
    supervisors.waiting_process().expect("nobody takes it")
}

fn command_line(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap().replace('\0', " ").trim_end().to_owned()
}

#[tokio::test]
async fn the_next_action_gets_the_one_that_waits() {
    let supervisors = spec(&["/bin/true"]).supervisors;
    assert_eq!(supervisors.waiting_process(), None, "none is started before it is asked for");
    supervisors.keep_one_waiting();
    let first = waiting(&supervisors).await;
    wait_for("its name", || command_line(first) == "attune supervise-action waiting for an action").await;
    let shown = run(&supervisors, "echo $PPID; tr '\\0' ' ' < /proc/$PPID/cmdline").await;
    assert_eq!(shown.trim_end(), format!("{first}\nattune supervise-action a test"));
    assert_ne!(waiting(&supervisors).await, first, "there is one for the next action");
}

#[tokio::test]
async fn one_that_was_killed_meanwhile_is_not_used() {
    let supervisors = spec(&["/bin/true"]).supervisors;
    supervisors.keep_one_waiting();
    let killed = waiting(&supervisors).await;
    assert!(Command::new("kill").args(["-9", &killed.to_string()]).status().unwrap().success());
    wait_for("its end", || !alive(&killed.to_string())).await;
    assert_eq!(run(&supervisors, "echo done").await, "done\n");
}

/// As one whose interpreter lies on a file server that does not answer.
#[tokio::test]
async fn one_that_never_starts_its_action_is_waited_for_as_long_as_the_action_would_be() {
    for (timeout, reason) in [
        (Duration::from_millis(50), None),
        (LONG, Some(EndReason::Cancelled)),
        (LONG, Some(EndReason::GivenBack)),
        (LONG, Some(EndReason::LeaseLost)),
    ] {
        let supervisors = spec(&["/bin/true"]).supervisors;
        supervisors.keep_one_waiting();
        let first = waiting(&supervisors).await;
        assert!(Command::new("kill").args(["-STOP", &first.to_string()]).status().unwrap().success());
        let (sender, _output) = mpsc::channel(4);
        let (_end, ends) = watch::channel(reason);
        let spec = ProcessSpec { supervisors, ..spec(&["/bin/true"]) };
        // a lease that is lost leaves no grace
        let grace = if reason == Some(EndReason::LeaseLost) { LONG } else { Duration::from_millis(50) };
        let ending = process::run(spec, limits(timeout, grace), sender, ends).await.unwrap();
        assert_eq!(
            (ending.status, ending.timed_out, ending.reason),
            (Status::Unseen, reason.is_none(), reason)
        );
        assert!(!alive(&first.to_string()), "{reason:?}");
    }
}

#[tokio::test]
async fn one_that_is_killed_before_it_hears_of_its_action_is_replaced() {
    let supervisors = spec(&["/bin/true"]).supervisors;
    supervisors.keep_one_waiting();
    let first = waiting(&supervisors).await;
    let signal =
        |name: &str| Command::new("kill").args([name, &first.to_string()]).status().unwrap().success();
    assert!(signal("-STOP"));
    let killed = async {
        wait_for("it to be taken", || supervisors.waiting_process() != Some(first)).await;
        assert!(signal("-9"));
    };
    let (written, ()) = tokio::join!(run(&supervisors, "echo done"), killed);
    assert_eq!(written, "done\n");
}

#[tokio::test]
async fn one_that_waits_ends_with_its_worker() {
    let supervisors = spec(&["/bin/true"]).supervisors;
    supervisors.keep_one_waiting();
    let left = waiting(&supervisors).await;
    drop(supervisors);
    wait_for("its end", || !alive(&left.to_string())).await;
}
