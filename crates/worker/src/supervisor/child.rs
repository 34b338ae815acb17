//! Between fork and exec: the room for what only the new process can do to itself.

use std::{
    ffi::{CString, OsStr, OsString},
    fs::File,
    io::{self, Write},
    os::unix::{ffi::OsStrExt, process::CommandExt},
    process::Command,
};

use nix::unistd::execve;
use rustix::process::{
    Pid, Resource, Rlimit, Signal, getpid, getppid, getrlimit, set_parent_process_death_signal, setrlimit,
};

use crate::confinement::ResourceLimits;

/// Highest signal number of Linux (signal(7)).
const LAST_SIGNAL: i32 = 64;

/// A program with its arguments and its environment, in the kernel's form.
pub(super) struct Image {
    program: CString,
    arguments: Vec<CString>,
    environment: Vec<CString>,
}

impl Image {
    /// Fails when there is no program, or something contains a NUL.
    pub(super) fn new(command: &[OsString], environment: &[(OsString, OsString)]) -> io::Result<Self> {
        let arguments: Vec<CString> =
            command.iter().map(|one| CString::new(one.as_bytes())).collect::<Result<_, _>>()?;
        let variable = |(name, value): &(OsString, OsString)| {
            CString::new([name.as_bytes(), b"=", value.as_bytes()].concat())
        };
        let environment = environment.iter().map(variable).collect::<Result<_, _>>()?;
        let program = arguments.first().cloned().ok_or(io::Error::from_raw_os_error(libc::EINVAL))?;
        Ok(Self { program, arguments, environment })
    }

    pub(super) fn program(&self) -> &OsStr {
        OsStr::from_bytes(self.program.as_bytes())
    }
}

/// Makes the process that a command starts confine itself and become the action.
///
/// `cgroup_procs` is an open `cgroup.procs`, which takes the process in.
#[expect(unsafe_code, reason = "there is no other place between fork and exec")]
pub(super) fn become_action(
    command: &mut Command,
    image: Image,
    limits: ResourceLimits,
    cgroup_procs: Option<File>,
) {
    let supervisor = getpid();
    // SAFETY: the supervisor has a single thread when it forks, so that no lock can be held by another one, which is what a
    // forked process has to fear (signal-safety(7)); besides, the closure does little but make system calls
    unsafe {
        command.pre_exec(move || {
            default_signals();
            if let Some(mut procs) = cgroup_procs.as_ref() {
                // 0 is the writing process itself (Documentation/admin-guide/cgroup-v2.rst). What may make a group need not be
                // allowed to move processes into it; then it goes without
                let _ = procs.write_all(b"0");
            }
            set_limit(Resource::Core, Some(0))?;
            set_limit(Resource::Nofile, limits.open_files)?;
            set_limit(Resource::Nproc, limits.processes)?;
            set_limit(Resource::As, limits.address_space)?;
            die_with(supervisor)?;
            // here and not by the standard library, whose way gives what is no program to a shell under glibc
            let error = match execve(&image.program, &image.arguments, &image.environment) {
                Ok(never) => match never {},
                Err(error) => error,
            };
            Err(error.into())
        });
    }
}

/// Ends this process when that one ends, its parent.
///
/// Fails when the parent has ended already: then no signal would come (`PR_SET_PDEATHSIG(2const)`), and nobody would know of
/// this process.
fn die_with(parent: Pid) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    if getppid() == Some(parent) { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::ESRCH)) }
}

/// Undoes `nohup` and its like: what is ignored would stay ignored (execve(2)). The mask is empty since the supervisor started.
#[expect(unsafe_code, reason = "setting a signal's disposition")]
fn default_signals() {
    for signal in 1..=LAST_SIGNAL {
        // SAFETY: the default disposition runs no code of ours; KILL, STOP and numbers that the C library keeps are refused
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

fn set_limit(resource: Resource, value: Option<u64>) -> io::Result<()> {
    let Some(value) = value else { return Ok(()) };
    // raising the hard limit needs a privilege; lowering it never fails
    let value = getrlimit(resource).maximum.map_or(value, |maximum| value.min(maximum));
    Ok(setrlimit(resource, Rlimit { current: Some(value), maximum: Some(value) })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_whose_supervisor_has_ended_is_not_started() {
        let ended = die_with(getpid()).expect_err("no process is its own parent");
        assert_eq!(ended.raw_os_error(), Some(libc::ESRCH));
        // not to be killed with the thread that started this one
        set_parent_process_death_signal(None).expect("it can be taken back");
    }
}
