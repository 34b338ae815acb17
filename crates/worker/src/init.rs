//! The first process of a container (PID 1): a tiny parent of the worker, without async code.
//!
//! The kernel gives it every orphan of the container, and keeps from it every signal that it does not ask for
//! (`pid_namespaces(7)`). It starts the program again as its child, reaps orphans, passes signals on, and exits as the
//! child did; with it ends everything else in the container. Not the crate `pid1`: that makes children by forking itself,
//! and passes on only two signals.

use std::{
    io,
    os::unix::process::CommandExt,
    process::{Command, ExitCode},
};

use nix::sys::signal::{SigSet, Signal as NixSignal};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process, wait};

use crate::startup;

/// Does the duties of PID 1 if this process is that. `None` means: this process is to do the work.
#[must_use]
pub fn serve_if_first(program: &str) -> Option<ExitCode> {
    if !getpid().is_init() {
        return None;
    }
    serve().unwrap_or_else(|error| {
        startup::report_error(program, &error.context("cannot start as the first process of the container"));
        Some(ExitCode::FAILURE)
    })
}

fn serve() -> anyhow::Result<Option<ExitCode>> {
    let signals = SigSet::all();
    // before the child is there, so that no signal is missed; the child empties its mask itself
    signals.thread_block()?;
    let mut arguments = std::env::args_os();
    let mut command = Command::new("/proc/self/exe");
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    // a terminal sends its signals to the group of this process: the child would get them once more
    command.process_group(0);
    let child = match command.args(arguments).spawn() {
        // without /proc, or in an emulator that cannot start itself again, no action can be started either, but everything
        // else can be done here
        Err(error)
            if error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENOEXEC) =>
        {
            signals.thread_unblock()?;
            return Ok(None);
        }
        child => child?,
    };
    let child =
        Pid::from_raw(child.id().cast_signed()).ok_or_else(|| anyhow::anyhow!("a process has no number"))?;
    // its environment holds credentials; what runs in the container cannot read it then (prctl(2), PR_SET_DUMPABLE)
    startup::make_unreadable()?;
    loop {
        match signals.wait() {
            Ok(NixSignal::SIGCHLD) => {
                if let Some(code) = reap(child) {
                    return Ok(Some(code));
                }
            }
            Ok(signal) => {
                if let Some(signal) = Signal::from_named_raw(signal as i32) {
                    // ended in this moment: then SIGCHLD comes next
                    let _ = kill_process(child, signal);
                }
            }
            // real-time signals have no meaning for the worker
            Err(_) => {}
        }
    }
}

/// Reaps whatever has ended. With the child's own end comes the exit status.
fn reap(child: Pid) -> Option<ExitCode> {
    let mut code = None;
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if pid == child {
            code = Some(ExitCode::from(exit_code(status)));
        }
    }
    code
}

/// As shells have it: signals count from 128.
fn exit_code(status: WaitStatus) -> u8 {
    let code = status.exit_status().or_else(|| Some(128 + status.terminating_signal()?));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}
