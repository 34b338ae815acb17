//! Supervisors that wait for an action: starting a program takes longer than most of what comes before it.

use std::{
    collections::HashSet,
    fmt, io,
    os::{fd::OwnedFd, unix::net::UnixStream as StdUnixStream},
    process::Stdio,
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
};

use command_fds::{CommandFdExt, FdMapping};
use tokio::{
    net::UnixStream,
    process::{Child, Command},
};

use crate::supervisor::{ARGUMENT, CONTROL_DESCRIPTOR, SupervisorProgram, placeholder};

/// Starts supervisors, and keeps one waiting between two actions.
///
/// One, because an idle worker should be small: of actions that start at the same moment the others wait for theirs.
#[derive(Clone)]
pub struct Supervisors {
    program: SupervisorProgram,
    waiting: Arc<Mutex<Option<Waiting>>>,
}

/// A supervisor that knows no action yet. Dropping it ends it: it sees its socket closed.
pub(super) struct Waiting {
    pub(super) child: Registered,
    pub(super) socket: UnixStream,
    /// It was not started for the action that gets it.
    pub(super) waited: bool,
}

impl Supervisors {
    /// Supervisors of this program; none is started yet.
    #[must_use]
    pub fn new(program: SupervisorProgram) -> Self {
        Self { program, waiting: Arc::default() }
    }

    /// Starts one for the next action, if none waits.
    pub fn keep_one_waiting(&self) {
        let supervisors = self.clone();
        // starting a process blocks for a moment
        tokio::task::spawn_blocking(move || {
            if supervisors.waiting().is_some() {
                return;
            }
            match supervisors.start(true) {
                Ok(one) => *supervisors.waiting() = Some(one),
                // whoever needs one tries again, and tells people
                Err(error) => tracing::debug!(%error, "no supervisor waits for the next action"),
            }
        });
    }

    /// The process that waits, if one does.
    #[must_use]
    pub fn waiting_process(&self) -> Option<i32> {
        self.waiting().as_ref().and_then(|one| one.child.id)
    }

    /// The one that waits, or else a new one.
    pub(super) fn take(&self) -> io::Result<Waiting> {
        let waiting = self.waiting().take();
        // one that was killed meanwhile is of no use
        if let Some(mut one) = waiting
            && matches!(one.child.process.try_wait(), Ok(None))
        {
            return Ok(one);
        }
        self.start(false)
    }

    fn waiting(&self) -> MutexGuard<'_, Option<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self, waited: bool) -> io::Result<Waiting> {
        let (ours, theirs) = StdUnixStream::pair()?;
        let mut command = Command::new(self.program.path());
        command
            // what the list of processes shows
            .arg0("attune")
            .arg(ARGUMENT)
            .arg(placeholder())
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .fd_mappings(vec![FdMapping { parent_fd: OwnedFd::from(theirs), child_fd: CONTROL_DESCRIPTOR }])
            .map_err(io::Error::other)?;
        let child = Registered::spawn(&mut command).map_err(|error| {
            let program = self.program.path().display();
            io::Error::new(error.kind(), format!("the supervisor {program} does not start: {error}"))
        })?;
        // the command holds the other end of the socket, whose closing is a signal
        drop(command);
        ours.set_nonblocking(true)?;
        Ok(Waiting { child, socket: UnixStream::from_std(ours)?, waited })
    }
}

impl fmt::Debug for Supervisors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Supervisors").field("program", &self.program).finish_non_exhaustive()
    }
}

/// The process of a supervisor, which everybody can tell from an orphan as long as it is not reaped.
pub(super) struct Registered {
    pub(super) process: Child,
    pub(super) id: Option<i32>,
}

impl Registered {
    pub(super) fn all() -> MutexGuard<'static, HashSet<i32>> {
        static ALL: LazyLock<Mutex<HashSet<i32>>> = LazyLock::new(Mutex::default);
        // every change is a single step, so that a panic elsewhere leaves the set whole
        ALL.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spawn(command: &mut Command) -> io::Result<Self> {
        // held while it starts: nobody sees a process that is not registered yet
        let mut all = Self::all();
        let process = command.spawn()?;
        let id = process.id().map(u32::cast_signed);
        all.extend(id);
        Ok(Self { process, id })
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            Self::all().remove(&id);
        }
    }
}
