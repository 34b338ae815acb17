//! The supervisor: a tiny process between the worker and each action, which answers for everything that the action starts.
//!
//! The worker starts its own program again with [`ARGUMENT`]. That process runs no async code and knows no credential: its
//! environment is empty, and what it is to start comes through a socket ([`protocol`]). It confines itself (its own
//! session, no new privileges, no inherited descriptors), waits for its action, starts it, and becomes the parent of
//! whatever the action leaves behind (`PR_SET_CHILD_SUBREAPER`). So it knows when nothing of the action lives any more,
//! and what all of it used. When the socket is closed, because the worker has ended or was killed, it ends everything and
//! removes the workspace: nothing of an execution outlives its worker.
//!
//! Chosen over doing the same in the worker: orphans of several actions cannot be told apart there, and nobody would be
//! left when the worker is killed.

mod child;
mod control;
mod descendants;
mod prepare;
pub(crate) mod protocol;
mod title;

use std::{
    ffi::OsString,
    os::{fd::FromRawFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    process::ExitCode,
};

pub(crate) use descendants::Orphans;
pub(crate) use title::placeholder;

use crate::startup;

/// The first argument with which a program becomes a supervisor.
pub const ARGUMENT: &str = "supervise-action";

/// The descriptor of the socket to the worker.
pub(crate) const CONTROL_DESCRIPTOR: i32 = 3;

/// The program that is started as a supervisor: one whose `main` calls [`serve_if_asked`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SupervisorProgram(PathBuf);

impl SupervisorProgram {
    /// The running program itself, whatever happens to its file meanwhile (`proc_pid_exe(5)`).
    #[must_use]
    pub fn this_program() -> Self {
        Self("/proc/self/exe".into())
    }

    /// Another program.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

/// Supervises an action if this process was started for that; programs that run actions ask this first of all.
#[must_use]
pub fn serve_if_asked() -> Option<ExitCode> {
    let asked = std::env::args_os().nth(1) == Some(OsString::from(ARGUMENT));
    let refuse = || {
        let error = anyhow::anyhow!("this is how a worker starts its actions; it is not for people");
        startup::report_error(ARGUMENT, &error);
        ExitCode::from(2)
    };
    asked.then(|| control_socket().map_or_else(refuse, control::serve))
}

#[expect(unsafe_code, reason = "the descriptor is this process's from birth, and nothing else takes it")]
fn control_socket() -> Option<UnixStream> {
    // SAFETY: descriptor 3 is handed over by the worker for this purpose, and this is called once, before anything opens files
    let socket = unsafe { UnixStream::from_raw_fd(CONTROL_DESCRIPTOR) };
    // somebody who types the argument has no socket there: then nothing may be closed that is not ours
    if socket.peer_addr().is_err() {
        std::mem::forget(socket);
        return None;
    }
    Some(socket)
}
