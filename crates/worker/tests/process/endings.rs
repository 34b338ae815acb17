//! How a process ends, and that nothing of it lives on.

use attune_worker::process::Status;

use super::*;

#[tokio::test]
async fn a_process_whose_time_is_up_is_ended_with_its_children() {
    let script = "trap '' TERM; sleep 300 & echo $!; wait; sleep 300";
    let ask =
        Ask { limits: limits(Duration::from_millis(300), Duration::from_millis(50)), ..Ask::new(script) };
    let run = ask.run().await;
    assert!(run.ending.timed_out);
    assert_eq!(run.ending.status, Status::Signalled(9), "SIGTERM was ignored");
    assert!(!run.ending.leaked, "it was told to end: nothing outlived its own end");
    assert!(!alive(run.text()));
}

#[tokio::test]
async fn a_process_can_tidy_up_when_it_is_asked_to_end() {
    for (signal, name) in [(15, "TERM"), (2, "INT"), (10, "USR1")] {
        let script = format!("trap 'echo tidy; exit 3' {name}; echo ready; while :; do sleep 0.01; done");
        let ask = Ask {
            limits: Limits { stop_signal: signal, ..limits(LONG, LONG) },
            end_when: Some(("ready", EndReason::Cancelled)),
            ..Ask::new(&script)
        };
        let run = ask.run().await;
        assert_eq!((run.ending.status, run.ending.reason), (Status::Exited(3), Some(EndReason::Cancelled)));
        assert_eq!(run.text(), "ready\ntidy");
    }
}

#[tokio::test]
async fn what_a_shell_has_started_can_tidy_up_though_the_shell_is_gone() {
    // the shell has no trap: it ends at once
    let script = "(trap 'sleep 0.7; echo tidy; exit' TERM; echo ready; while :; do sleep 0.01; done) & wait";
    let ask = Ask { end_when: Some(("ready", EndReason::Cancelled)), ..Ask::new(script) };
    let run = ask.run().await;
    assert_eq!((run.ending.status, run.text()), (Status::Signalled(15), "ready\ntidy"));

    // until its time is up, and not what the signal did not reach
    let script = "(trap '' TERM; setsid sh -c 'echo ready; exec sleep 300' & exec sleep 300) & wait";
    let ask = Ask {
        limits: limits(LONG, Duration::from_millis(300)),
        end_when: Some(("ready", EndReason::Cancelled)),
        ..Ask::new(script)
    };
    let run = ask.run().await;
    assert_eq!((run.ending.status, run.ending.total.outlived), (Status::Signalled(15), 2));
}

#[tokio::test]
async fn who_goes_on_writing_is_not_listened_to_for_ever() {
    let run = shell("yes & exit 5").await;
    assert_eq!((run.ending.status, run.ending.leaked), (Status::Exited(5), true));
}

#[tokio::test]
async fn what_was_written_is_kept_however_late_somebody_takes_it() {
    // a pipe holds all of it, and what waits between pipe and log does not
    let (sender, mut receiver) = mpsc::channel(1);
    let (_end, reason) = watch::channel(None);
    let script = "for i in 1 2 3 4 5 6; do head -c 10000 /dev/zero; sleep 0.05; done";
    let running =
        tokio::spawn(process::run(spec(&["/bin/sh", "-c", script]), limits(LONG, LONG), sender, reason));
    // longer than output may come after the end
    tokio::time::sleep(Duration::from_secs(11)).await;
    let mut bytes = 0;
    while let Some(output) = receiver.recv().await {
        bytes += output.data.len();
    }
    let ending = running.await.unwrap().unwrap();
    assert_eq!((bytes, ending.leaked), (60_000, false));
}

#[tokio::test]
async fn what_outlives_the_process_is_ended_and_told() {
    // each writes the number of a process that would live for five minutes
    let python_daemon = "import os, sys, time
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
print(os.getpid(), flush=True)
for descriptor in range(3): os.close(descriptor)
os.environ.clear()
time.sleep(300)";
    for (what, script) in [
        ("a child that holds the pipes", "sleep 300 & echo $!".to_owned()),
        ("a child that holds no pipe", "sleep 300 >/dev/null 2>&1 </dev/null & echo $!".to_owned()),
        ("a child that ignores signals", "(trap '' TERM HUP INT; exec sleep 300) & echo $!".to_owned()),
        ("a session of its own", "setsid sleep 300 & sleep 0.1; pgrep -n -f '^sleep 300$'".to_owned()),
        ("a stopped child", "sleep 300 & kill -STOP $!; echo $!".to_owned()),
        ("a daemon", format!("python3 -c '{python_daemon}'; sleep 0.2")),
    ] {
        let run = shell(&script).await;
        assert_eq!(run.ending.status, Status::Exited(0), "{what}");
        assert!(run.ending.leaked, "{what}");
        assert!(!run.text().is_empty() && !alive(run.text()), "{what}: {} lives", run.text());
    }
}

#[tokio::test]
async fn what_ends_a_moment_later_is_waited_for() {
    let run = shell("{ sleep 0.2; echo late; } &").await;
    assert_eq!(run.text(), "late", "its output is still read");
    assert!(!run.ending.leaked, "nothing had to be ended");
}

#[tokio::test]
async fn a_storm_of_processes_ends_too() {
    // each starts two more and goes on; the limit keeps the machine usable, and may leave no process for the first one's sleep
    let script = "storm() { storm & storm & sleep 300; }; ulimit -u 400 2>/dev/null; storm &
                  i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; exit 4";
    let mut ask = Ask::new(script);
    ask.environment.push(("STORM".into(), "of this test".into()));
    ask.confinement.run_as = Some("64999".parse().unwrap());
    ask.confinement.limits.processes = Some(300);
    let run = ask.run().await;
    assert_eq!(run.ending.status, Status::Exited(4));
    assert!(run.ending.leaked);
    assert_eq!(processes_of(64999), Vec::<String>::new());
}

fn processes_of(uid: u32) -> Vec<String> {
    use std::os::unix::fs::MetadataExt;
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let own = entries.filter(|entry| entry.metadata().is_ok_and(|about| about.uid() == uid));
    own.map(|entry| entry.file_name().into_string().unwrap()).filter(|pid| alive(pid)).collect()
}

#[tokio::test]
async fn what_everything_used_is_counted() {
    let script = "python3 -c 'x = bytearray(200_000_000); print(len(x))'; i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
    let total = shell(script).await.ending.total;
    assert!((200_000_000..2_000_000_000).contains(&total.peak_memory_bytes), "{total:?}");
    assert!((10_000..60_000_000).contains(&total.cpu_micros), "{total:?}");
    assert_eq!(total.outlived, 0);
}

#[tokio::test]
async fn a_program_that_cannot_be_started_says_why() {
    for (command, kind) in [
        (["/nonexistent/interpreter"].as_slice(), std::io::ErrorKind::NotFound),
        (&["/etc/passwd"], std::io::ErrorKind::PermissionDenied),
        (&[], std::io::ErrorKind::InvalidInput),
    ] {
        let (sender, _receiver) = mpsc::channel(4);
        let (_end, reason) = watch::channel(None);
        let error = process::run(spec(command), limits(LONG, LONG), sender, reason).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{command:?}");
    }
}
