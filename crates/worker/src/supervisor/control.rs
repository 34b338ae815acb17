//! The supervisor's life: start the action, follow orders, reap everything, report.

use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::{net::UnixStream, process::CommandExt},
    path::Path,
    process::{Command, ExitCode, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use nix::sys::resource::{UsageWho, getrusage};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, Signal, WaitOptions, WaitStatus, kill_process_group, wait},
};

use super::{
    child, descendants, prepare,
    protocol::{self, Order, Report, Start, Status, Total},
    title,
};
use crate::removal;

/// How long what the action left behind may take to end by itself once it was asked for: a filter behind a pipe ends a
/// moment after what fed it.
const PATIENCE: Duration = Duration::from_millis(50);

/// What the thread that hears orders shares with the one that waits for processes.
#[derive(Default)]
struct Shared {
    /// The action's own process has been reaped: its number may be somebody else's.
    leader_ended: AtomicBool,
    outlived: AtomicU32,
    /// The worker is gone.
    abandoned: AtomicBool,
}

/// Runs one action and everything that it starts to the end.
pub(super) fn serve(mut socket: UnixStream) -> ExitCode {
    // the action may come much later, and with secrets
    let confined = prepare::confine_self();
    // without its worker there is nobody to report to, nor anything to start
    let Ok(start) = protocol::receive::<Start>(&mut socket) else { return ExitCode::FAILURE };
    title::show(&start.title);
    let leader = match confined.and_then(|()| self::start(&start)) {
        Ok(leader) => leader,
        Err(error) => {
            let os_error = error.raw_os_error().unwrap_or(libc::EINVAL);
            let _ = protocol::send(&mut socket, &Report::NotStarted { os_error });
            return ExitCode::FAILURE;
        }
    };
    let _ = protocol::send(&mut socket, &Report::Started);
    let shared = Arc::new(Shared::default());
    let hearing = match socket.try_clone() {
        Ok(orders) => {
            let (shared, cgroup) = (shared.clone(), start.cgroup.clone());
            thread::Builder::new().spawn(move || hear(orders, leader, &shared, cgroup.as_deref()))
        }
        Err(error) => Err(error),
    };
    if hearing.is_err() {
        // deaf, it could not be told to end the action; the worker ends what a supervisor leaves that is gone
        return ExitCode::FAILURE;
    }
    reap(&mut socket, leader, &shared);
    let told = protocol::send(&mut socket, &Report::Done(total(&shared))).is_ok();
    // otherwise the worker does it, which reads the group's counters first
    if !told || shared.abandoned.load(Ordering::SeqCst) {
        if let Some(cgroup) = &start.cgroup {
            let _ = fs::remove_dir(cgroup);
        }
        if let Some(workspace) = &start.workspace {
            // what cannot be removed now, the next worker removes
            let _ = removal::remove(workspace);
        }
    }
    // the other thread ends with the process
    ExitCode::SUCCESS
}

fn start(start: &Start) -> io::Result<Pid> {
    let image = child::Image::new(&start.command, &start.environment)?;
    let cgroup_procs = start
        .cgroup
        .as_ref()
        .and_then(|cgroup| OpenOptions::new().write(true).open(cgroup.join("cgroup.procs")).ok());
    let mut command = Command::new(image.program());
    let stdin = if start.with_input { Stdio::inherit() } else { Stdio::null() };
    command.current_dir(&start.directory).process_group(0).stdin(stdin);
    if let Some(run_as) = start.confinement.run_as {
        // with the user go the supplementary groups, too
        command.gid(run_as.gid).uid(run_as.uid);
    }
    child::become_action(&mut command, image, start.confinement.limits, cgroup_procs);
    let child = command.spawn()?;
    prepare::let_go_of_standard_streams()?;
    // reaped by number together with all the others; dropping the handle leaves the process alone
    Pid::from_raw(child.id().cast_signed()).ok_or_else(|| io::Error::other("a process has no number"))
}

/// Follows orders until the worker is gone, which is the last order.
fn hear(mut orders: UnixStream, leader: Pid, shared: &Shared, cgroup: Option<&Path>) {
    loop {
        match protocol::receive::<Order>(&mut orders) {
            Ok(Order::Signal(number)) => {
                if let Some(signal) = Signal::from_named_raw(number)
                    && !shared.leader_ended.load(Ordering::SeqCst)
                {
                    let _ = kill_process_group(leader, signal);
                }
            }
            Ok(Order::End { grace_millis }) => {
                if shared.leader_ended.load(Ordering::SeqCst) {
                    descendants::wait_for_group(leader, Duration::from_millis(grace_millis), || {
                        more(&orders)
                    });
                    let left = descendants::wait_for_none(PATIENCE);
                    shared.outlived.store(u32::try_from(left).unwrap_or(u32::MAX), Ordering::SeqCst);
                }
                descendants::end_all(cgroup);
            }
            Err(_) => {
                shared.abandoned.store(true, Ordering::SeqCst);
                descendants::end_all(cgroup);
                return;
            }
        }
    }
}

/// Whether the worker has said more, or is gone.
fn more(orders: &UnixStream) -> bool {
    let mut watched = [PollFd::new(orders, PollFlags::IN)];
    poll(&mut watched, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}

/// Reaps everything until nothing is left.
fn reap(socket: &mut UnixStream, leader: Pid, shared: &Shared) {
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == leader => {
                shared.leader_ended.store(true, Ordering::SeqCst);
                let _ = protocol::send(socket, &Report::Ended(ending(status)));
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            // no child is left (wait(2), ECHILD)
            Err(_) => return,
        }
    }
}

fn ending(status: WaitStatus) -> Status {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Status::Exited(code),
        (None, signal) => Status::Signalled(signal.unwrap_or_default()),
    }
}

/// What was used by everything that was reaped, by this process or by those that it reaped (getrusage(2)).
fn total(shared: &Shared) -> Total {
    let outlived = shared.outlived.load(Ordering::SeqCst);
    let Ok(usage) = getrusage(UsageWho::RUSAGE_CHILDREN) else {
        return Total { outlived, ..Total::default() };
    };
    let cpu = usage.user_time() + usage.system_time();
    Total {
        // Linux counts in KiB
        peak_memory_bytes: usage.max_rss().unsigned_abs() * 1024,
        cpu_micros: cpu.tv_sec().unsigned_abs() * 1_000_000 + cpu.tv_usec().unsigned_abs(),
        outlived,
    }
}
