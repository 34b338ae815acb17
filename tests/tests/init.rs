//! `attune-agent` as the first process of a container, made with bubblewrap.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    fs::{self, File},
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
};

use attune_common::model::{Execution, ExecutionId, ExecutionStatus};
use attune_tests::{binaries, dev::wait_for, processes::marked, service::Machine};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tempfile::TempDir;

/// In the environment of each agent.
const TOKEN: &str = "open-sesame-of-the-first-process";

/// A container whose first process is an agent. Dropping it kills it.
struct Container {
    folder: TempDir,
    bwrap: Child,
}

impl Container {
    fn start(machine: &Machine) -> Self {
        Self::start_with(machine, &[])
    }

    /// Starts one with further options of bubblewrap.
    fn start_with(machine: &Machine, options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        let bwrap = bwrap(&[machine.folder(), folder.path()])
            .args(options)
            .arg(binaries::path("attune-agent"))
            .env("ATTUNE_WORKER_RUNTIMES", "shell")
            .env("ATTUNE_WORKER_NAME", "first")
            .env("ATTUNE__DATABASE__URL", machine.url())
            .env("ATTUNE_AGENT_TOKEN", TOKEN)
            .env("ATTUNE__WORKER__CACHE_DIR", folder.path().join("cache"))
            .env("ATTUNE__WORKER__KILL_GRACE", "5s")
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("bwrap can be started: it is in Debian's bubblewrap");
        let container = Self { folder, bwrap };
        wait_for("the agent to register", || container.log().contains("registered"));
        container
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// The container's first process, and its only child, which does the work.
    fn first_and_worker(&self) -> (i32, i32) {
        let [first] = children(self.bwrap.id().cast_signed())[..] else { panic!("one first process") };
        let workers = children(first);
        assert_eq!(workers.len(), 1, "{workers:?}");
        (first, workers[0])
    }

    fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        wait_for("the container to end", || {
            status = self.bwrap.try_wait().unwrap();
            status.is_some()
        });
        status.expect("it has ended")
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.bwrap.kill();
        let _ = self.bwrap.wait();
    }
}

fn bwrap(writable: &[&Path]) -> Command {
    // whoever runs the tests may ignore signals, as nohup(1) does
    let mut command = Command::new("env");
    command
        .args(["--default-signal", "bwrap"])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .args(["--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--unshare-pid", "--as-pid-1"])
        .args(["--die-with-parent"])
        .stdin(Stdio::null());
    for folder in writable {
        command.arg("--bind").arg(folder).arg(folder);
    }
    command
}

/// Two of the numbers that the kernel has for a process (`proc_pid_stat(5)`).
struct Stat {
    parent: i32,
    group: i32,
}

fn stat(pid: i32) -> Option<Stat> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(1);
    Some(Stat { parent: fields.next()?.parse().ok()?, group: fields.next()?.parse().ok()? })
}

/// Children of a process, zombies included.
fn children(parent: i32) -> Vec<i32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| stat(*pid).is_some_and(|stat| stat.parent == parent)).collect()
}

/// The worker's child that answers for an execution, by what the list of processes shows. Another one waits for the next.
fn supervisor(worker: i32, id: ExecutionId) -> i32 {
    let shows = |pid: &i32| {
        let shown = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        shown.contains(&id.to_string())
    };
    let [supervisor] = children(worker).into_iter().filter(shows).collect::<Vec<_>>()[..] else {
        panic!("one supervisor of {id}")
    };
    supervisor
}

/// An execution that leaves orphans, when it has ended because its supervisor was killed.
async fn ended_without_supervisor(machine: &Machine, container: &Container) -> Execution {
    let id = machine.submit("orphans", json!({})).await;
    machine.logged(id, 1, "started").await;
    let (_, worker) = container.first_and_worker();
    signal(supervisor(worker, id), Signal::KILL);
    machine.ended(id).await
}

fn signal(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

async fn machine() -> Machine {
    let machine = Machine::new().await;
    machine
        .push(&[
            ("quick", "", "echo done"),
            ("waits", "", "trap 'echo told; exit 9' TERM; echo started; while :; do sleep 0.02; done"),
            ("looks", "", "for one in environ mem maps auxv; do cat /proc/1/$one /proc/$PPID/$one; done; ls -l /proc/1/fd/; env"),
            ("orphans", "", "setsid sleep 303.03 & echo started; sleep 303.03"),
        ])
        .await;
    machine
}

#[tokio::test(flavor = "multi_thread")]
async fn it_works_and_stops_in_order() {
    let machine = machine().await;
    let mut container = Container::start(&machine);
    let id = machine.submit("quick", json!({})).await;
    assert_eq!(machine.ended(id).await.outcome.unwrap().exit_code, Some(0));
    let (first, worker) = container.first_and_worker();
    // not getpgid(2): rustix takes no group of another PID namespace, where tests may run in one
    let group = |pid| stat(pid).unwrap().group;
    assert_ne!(group(first), group(worker), "what a terminal sends would reach the worker twice");
    signal(first, Signal::TERM);
    assert_eq!(container.wait().code(), Some(0), "{}", container.log());
    assert!(container.log().contains("stopped"), "{}", container.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_signal_reaches_the_worker() {
    for (once, again) in [(Signal::INT, Signal::TERM), (Signal::HUP, Signal::HUP)] {
        reaches_the_worker(once, again).await;
    }
}

async fn reaches_the_worker(once: Signal, again: Signal) {
    let machine = machine().await;
    let mut container = Container::start(&machine);
    let id = machine.submit("waits", json!({})).await;
    machine.logged(id, 1, "started").await;
    let (first, _) = container.first_and_worker();
    // the first drains, the second cancels
    signal(first, once);
    wait_for("it to drain", || container.log().contains("stopping:"));
    signal(first, again);
    assert_eq!(container.wait().code(), Some(0), "{}", container.log());
    assert!(machine.log(id, 1).await.contains("told"));
}

#[tokio::test(flavor = "multi_thread")]
async fn orphans_are_reaped() {
    let machine = machine().await;
    let container = Container::start(&machine);
    ended_without_supervisor(&machine, &container).await;
    let (first, worker) = container.first_and_worker();
    // whatever came to the first process is gone, and no zombie is left of it
    wait_for("the worker to be alone", || children(first) == [worker]);
    // one that is not the worker's, as a probe or a debugger leaves it
    let mark = format!("{}", 100_000 + first);
    let enter = ["-t", &first.to_string(), "-p", "-m", "--", "sh", "-c", "sleep \"$0\" & exit", &mark];
    assert!(Command::new("nsenter").args(enter).status().unwrap().success());
    wait_for("it to be the first process's", || children(first).len() == 2);
    let orphan = children(first).into_iter().find(|id| *id != worker).unwrap();
    signal(orphan, Signal::KILL);
    wait_for("the worker to be alone again", || children(first) == [worker]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_killed_takes_the_container_with_it() {
    let machine = machine().await;
    let mut container = Container::start(&machine);
    let id = machine.submit("orphans", json!({})).await;
    machine.logged(id, 1, "started").await;
    let (_, worker) = container.first_and_worker();
    signal(worker, Signal::KILL);
    let status = container.wait();
    assert_eq!(status.code(), Some(137), "as shells tell of SIGKILL; signal {:?}", status.signal());
}

#[test]
fn the_exit_status_is_the_workers_own() {
    for (arguments, expected) in
        [(["--version"].as_slice(), 0), (&["--nonsense"], 2), (&["--config", "/nonexistent"], 1)]
    {
        let output = bwrap(&[]).arg(binaries::path("attune-agent")).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(expected), "{arguments:?}: {output:?}");
    }
}

/// As a user of the container, the same that the action is: the hard case.
#[tokio::test(flavor = "multi_thread")]
async fn its_credentials_cannot_be_reached_by_actions() {
    let machine = machine().await;
    let container = Container::start_with(&machine, &["--unshare-user", "--uid", "64990", "--gid", "64990"]);
    let id = machine.submit("looks", json!({})).await;
    machine.ended(id).await;
    let said = machine.log(id, 1).await;
    for place in ["/proc/1/environ", "/proc/1/mem", "/proc/1/maps"] {
        assert!(
            said.lines().any(|line| line.contains(place) && line.contains("Permission denied")),
            "{said}"
        );
    }
    assert!(said.contains("ATTUNE_EXEC_ID=") && !said.contains(TOKEN), "{said}");
    // the token is where the test believes it to be
    let (first, _) = container.first_and_worker();
    assert!(fs::read_to_string(format!("/proc/{first}/environ")).unwrap().contains(TOKEN));
}

/// The container's processes are of a session outside of it, which has no number in it.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_supervisor_leaves_is_ended() {
    let machine = machine().await;
    let container = Container::start(&machine);
    let ended = ended_without_supervisor(&machine, &container).await;
    let left = marked(&format!("ATTUNE_EXEC_ID={}", ended.id));
    assert_eq!(ended.status, ExecutionStatus::Failed);
    assert!(left.is_empty(), "{left:?} live on\n{}", container.log());
}
