//! One process of an action: started, fed, listened to, and ended together with everything it started.

mod capture;
mod group;

use std::{ffi::OsString, path::PathBuf, process::Stdio, time::Duration};

pub use capture::Output;
use group::ProcessGroup;
use tokio::{
    io::AsyncWriteExt,
    process::{Child, Command},
    sync::{mpsc, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// How long output may still come after the process has ended: whoever holds the pipes then is none of our business.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// What to start. The environment is the whole environment.
#[derive(Debug)]
pub struct ProcessSpec {
    /// Program and arguments; the program is a path.
    pub command: Vec<OsString>,
    /// Every variable.
    pub environment: Vec<(OsString, OsString)>,
    /// Working directory.
    pub directory: PathBuf,
    /// What to write to standard input, which is then closed.
    pub stdin: Vec<u8>,
}

/// Why a process is ended before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// Somebody asked for the end of the execution.
    Cancelled,
    /// The worker is told to stop at once.
    WorkerStopped,
    /// The worker stops and gives the execution back.
    GivenBack,
    /// The execution is no longer this worker's.
    LeaseLost,
}

/// How a process ended by itself or otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It exited with this status.
    Exited(i32),
    /// This signal ended it.
    Signalled(i32),
}

/// The end of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// How it ended.
    pub status: Status,
    /// Whether its time was up.
    pub timed_out: bool,
    /// Why it was ended, when somebody wanted it to.
    pub reason: Option<EndReason>,
}

/// How long a process may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Limit of the whole run.
    pub timeout: Duration,
    /// Time between SIGTERM and SIGKILL.
    pub kill_grace: Duration,
}

/// Runs a process to its end and sends what it writes to `output`, in the order in which it was read.
///
/// The process leads a group of its own. When its time is up or `end` gives a reason, the group gets SIGTERM and, after
/// the grace, SIGKILL; once the process has ended, whatever is left of the group gets SIGKILL at once.
///
/// # Errors
/// When the process cannot be started.
pub async fn run(
    spec: ProcessSpec,
    limits: Limits,
    output: mpsc::Sender<Output>,
    mut end: watch::Receiver<Option<EndReason>>,
) -> std::io::Result<Ending> {
    let mut child = start(&spec)?;
    let group = ProcessGroup::led_by(&child);
    let deadline = Instant::now() + limits.timeout;
    if let Some(mut stdin) = child.stdin.take() {
        // a process that does not read its input is its own business, hence no look at the result
        tokio::spawn(async move { stdin.write_all(&spec.stdin).await });
    }
    let exited = CancellationToken::new();
    let readers = capture::start(&mut child, &output, &exited);
    drop(output);

    let mut ending = tokio::select! {
        status = child.wait() => Ending { status: status_of(status?), timed_out: false, reason: None },
        () = tokio::time::sleep_until(deadline) => {
            let status = terminate(&mut child, group, limits.kill_grace).await?;
            Ending { status, timed_out: true, reason: None }
        }
        reason = requested(&mut end) => {
            let status = terminate(&mut child, group, limits.kill_grace).await?;
            Ending { status, timed_out: false, reason: Some(reason) }
        }
    };
    group.signal(rustix::process::Signal::KILL);
    exited.cancel();
    readers.finish(DRAIN_LIMIT).await;
    // a lease that was lost in the last moment must not be reported on
    ending.reason = ending.reason.or_else(|| end.borrow().filter(|reason| *reason == EndReason::LeaseLost));
    Ok(ending)
}

fn start(spec: &ProcessSpec) -> std::io::Result<Child> {
    let [program, arguments @ ..] = spec.command.as_slice() else {
        return Err(std::io::Error::other("the command is empty"));
    };
    Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(spec.environment.iter().map(|(name, value)| (name, value)))
        .current_dir(&spec.directory)
        .process_group(0)
        .stdin(if spec.stdin.is_empty() { Stdio::null() } else { Stdio::piped() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
}

/// Waits for a reason to end the process.
async fn requested(end: &mut watch::Receiver<Option<EndReason>>) -> EndReason {
    match end.wait_for(Option::is_some).await.map(|reason| *reason) {
        Ok(Some(reason)) => reason,
        // nobody is left who could ask for it
        _ => std::future::pending().await,
    }
}

async fn terminate(child: &mut Child, group: ProcessGroup, grace: Duration) -> std::io::Result<Status> {
    group.signal(rustix::process::Signal::TERM);
    if let Ok(status) = tokio::time::timeout(grace, child.wait()).await {
        return Ok(status_of(status?));
    }
    group.signal(rustix::process::Signal::KILL);
    Ok(status_of(child.wait().await?))
}

fn status_of(status: std::process::ExitStatus) -> Status {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => Status::Exited(code),
        (None, signal) => Status::Signalled(signal.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests;
