//! One process of an action: started, fed, listened to, and ended together with everything it started.
//!
//! The worker talks to a [`supervisor`](crate::supervisor), which is the action's parent; the action's pipes lead here.

mod capture;
mod cgroup;
mod oom;
mod supervised;
mod supervisors;

use std::{ffi::OsString, io, path::PathBuf, time::Duration};

pub use capture::Output;
pub(crate) use cgroup::{
    memory_limits, prepare as prepare_control_groups, remove_abandoned as remove_abandoned_control_groups,
};
use supervised::Supervised;
pub use supervisors::Supervisors;
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use self::{cgroup::Cgroup, oom::OomKills};
pub use crate::supervisor::protocol::Status;
use crate::{confinement::Confinement, supervisor::protocol::Total};

/// How long the supervisor is waited for once everything was killed; what the kernel does not let go of stays with it.
const END_LIMIT: Duration = Duration::from_secs(30);

/// What to start, and how. The environment is the whole environment.
#[derive(Debug)]
pub struct ProcessSpec {
    /// Where what answers for the process comes from.
    pub supervisors: Supervisors,
    /// What the list of processes shows for the supervisor. Everybody can see it.
    pub title: String,
    /// Program and arguments; the program is a path.
    pub command: Vec<OsString>,
    /// Every variable.
    pub environment: Vec<(OsString, OsString)>,
    /// Working directory.
    pub directory: PathBuf,
    /// What to write to standard input, which is then closed.
    pub stdin: Vec<u8>,
    /// User and limits.
    pub confinement: Confinement,
    /// A folder that goes when the worker is killed.
    pub workspace: Option<PathBuf>,
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

/// The end of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// How it ended.
    pub status: Status,
    /// Whether its time was up.
    pub timed_out: bool,
    /// Why it was ended, when somebody wanted it to.
    pub reason: Option<EndReason>,
    /// Whether something that it had started outlived it: a process, or an open end of its pipes.
    pub leaked: bool,
    /// Whether the kernel ended it because memory ran out.
    pub oom_killed: bool,
    /// What it and everything that it started used.
    pub total: Total,
}

/// How long a process may take, and how it is asked to end.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Limit of the whole run.
    pub timeout: Duration,
    /// The polite signal, by number (signal(7)).
    pub stop_signal: i32,
    /// Time between the polite signal and SIGKILL.
    pub kill_grace: Duration,
}

/// Runs a process to its end and sends what it writes to `output`, in the order in which it was read.
///
/// When its time is up or `end` gives a reason, its group gets the stop signal and, after the grace, everything that it
/// started is killed; at once when the lease is lost. When it ends by itself, its pipes are read until they are closed or
/// silent; then whatever is left of it is killed, and the ending says so.
///
/// # Errors
/// When the process cannot be started.
pub async fn run(
    mut spec: ProcessSpec,
    limits: Limits,
    output: mpsc::Sender<Output>,
    mut end: watch::Receiver<Option<EndReason>>,
) -> io::Result<Ending> {
    let deadline = Instant::now() + limits.timeout;
    let cgroup = Cgroup::create();
    let oom_kills = OomKills::watch(cgroup.as_ref());
    let stdin = std::mem::take(&mut spec.stdin);
    let starting = Supervised::start(
        spec,
        !stdin.is_empty(),
        cgroup.as_ref(),
        start_limit(deadline, limits.kill_grace, end.clone()),
    );
    let Some(mut supervised) = starting.await? else {
        let reason = *end.borrow();
        return Ok(Ending {
            status: Status::Unseen,
            timed_out: reason.is_none(),
            reason,
            leaked: false,
            oom_killed: false,
            total: Total::default(),
        });
    };
    let feeding = supervised.feed(stdin).map(AbortOnDropHandle::new);
    let exited = CancellationToken::new();
    let readers = capture::start(supervised.child(), &output, &exited);
    drop(output);

    let (stop, timed_out, reason) = tokio::select! {
        status = supervised.ended() => (Err(status), false, None),
        () = tokio::time::sleep_until(deadline) => (Ok(Instant::now()), true, None),
        reason = requested(&mut end) => (Ok(Instant::now()), false, Some(reason)),
    };
    let by_itself = stop.is_err();
    let (status, closed, total) = match stop {
        Err(status) => {
            // who no longer reads its input does not hold it open either
            drop(feeding);
            exited.cancel();
            let closed = tokio::select! {
                closed = readers.finish() => closed,
                () = lease_lost(&mut end) => false,
            };
            supervised.end_all(Duration::ZERO).await;
            (status, closed, end_of(&mut supervised, Duration::ZERO, &mut end).await)
        }
        Ok(asked) => {
            let ends = asked + limits.kill_grace;
            supervised.signal(limits.stop_signal).await;
            tokio::select! {
                () = supervised.report_comes() => {}
                () = tokio::time::sleep_until(ends) => supervised.end_all(Duration::ZERO).await,
                // somebody else may run it now
                () = lease_lost(&mut end) => supervised.end_all(Duration::ZERO).await,
            }
            let status = supervised.ended().await;
            drop(feeding);
            // what a shell had started may still tidy up when the shell is gone, and says so
            let grace = ends.saturating_duration_since(Instant::now());
            supervised.end_all(grace).await;
            let total = end_of(&mut supervised, grace, &mut end).await;
            exited.cancel();
            (status, readers.finish().await, total)
        }
    };
    Ok(Ending {
        status,
        timed_out,
        // a lease that was lost in the last moment must not be reported on
        reason: reason.or_else(|| end.borrow().filter(|reason| *reason == EndReason::LeaseLost)),
        leaked: by_itself && (!closed || total.outlived > 0),
        // the counter of the worker's own group may have risen for somebody else
        oom_killed: (cgroup.is_some() || by_itself && status.is_kill()) && oom_kills.happened(),
        total,
    })
}

/// Waits until a process that has still not started will not be waited for: it has been asked to end, and had its grace.
async fn start_limit(deadline: Instant, grace: Duration, mut end: watch::Receiver<Option<EndReason>>) {
    tokio::select! {
        () = tokio::time::sleep_until(deadline) => {}
        _ = requested(&mut end) => {}
    }
    tokio::select! {
        () = tokio::time::sleep(grace) => {}
        () = lease_lost(&mut end) => {}
    }
}

/// Waits until nothing of an action lives any more, which has this long; no time at all when its lease is lost.
async fn end_of(
    supervised: &mut Supervised,
    grace: Duration,
    end: &mut watch::Receiver<Option<EndReason>>,
) -> Total {
    let limit = Instant::now() + grace + END_LIMIT;
    tokio::select! {
        () = supervised.report_comes() => {}
        () = tokio::time::sleep_until(limit) => {}
        () = lease_lost(end) => supervised.end_all(Duration::ZERO).await,
    }
    tokio::time::timeout_at(limit, supervised.done()).await.unwrap_or_else(|_| {
        tracing::warn!("some of what an action started cannot be killed: the kernel holds it");
        Total { outlived: 1, ..Total::default() }
    })
}

/// Waits until somebody else may run the action: whatever else was asked for, it ends now.
pub(crate) async fn lease_lost(end: &mut watch::Receiver<Option<EndReason>>) {
    let lost = |reason: &Option<EndReason>| *reason == Some(EndReason::LeaseLost);
    if end.wait_for(lost).await.is_err() {
        // nobody is left who could say so
        std::future::pending::<()>().await;
    }
}

/// Waits for a reason to end the process.
async fn requested(end: &mut watch::Receiver<Option<EndReason>>) -> EndReason {
    match end.wait_for(Option::is_some).await.map(|reason| *reason) {
        Ok(Some(reason)) => reason,
        // nobody is left who could ask for it
        _ => std::future::pending().await,
    }
}
