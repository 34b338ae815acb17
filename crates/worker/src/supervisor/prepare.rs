//! What the supervisor does to itself before it starts anything; the action inherits it.

use std::{fs, io};

use rustix::{
    fs::{Mode, OFlags},
    process::{DumpableBehavior, getpid, set_child_subreaper, set_dumpable_behavior, setsid, umask},
    stdio::{dup2_stderr, dup2_stdin, dup2_stdout},
    thread::{CapabilitySet, remove_capability_from_bounding_set, set_no_new_privs},
};

use super::CONTROL_DESCRIPTOR;

/// With these, root looks into the memory of any process, the worker's among them, and into the kernel's
/// (capabilities(7)). Root of a container does not have them either, unless it is asked for.
const WAYS_INTO_OTHERS: CapabilitySet = CapabilitySet::SYS_PTRACE
    .union(CapabilitySet::SYS_ADMIN)
    .union(CapabilitySet::SYS_MODULE)
    .union(CapabilitySet::SYS_RAWIO)
    .union(CapabilitySet::PERFMON)
    .union(CapabilitySet::BPF)
    .union(CapabilitySet::CHECKPOINT_RESTORE);

/// Added to the badness of actions, so that the kernel that runs out of memory ends the action and not the worker
/// (`proc_pid_oom_score_adj(5)`: from -1000 to 1000).
const OOM_SCORE_ADJUSTMENT: &str = "500";

/// Gives up what an action must not have.
pub(super) fn confine_self() -> io::Result<()> {
    // whatever the worker's own parent left open; the socket stays with the supervisor, too
    close_fds::CloseFdsBuilder::new().cloexecfrom(CONTROL_DESCRIPTOR);
    // signals of a terminal are the worker's; a process in this session is this supervisor's
    setsid()?;
    set_child_subreaper(Some(getpid()))?;
    umask(Mode::RWXG | Mode::RWXO);
    // set-user-ID programs give nothing (Documentation/userspace-api/no_new_privs.rst)
    set_no_new_privs(true)?;
    for capability in WAYS_INTO_OTHERS.iter() {
        // whoever has none has none to give up, and is refused
        let _ = remove_capability_from_bounding_set(capability);
    }
    // before this process becomes unreadable: then only root may. A /proc that is read-only or not there forbids it
    let _ = fs::write("/proc/self/oom_score_adj", OOM_SCORE_ADJUSTMENT);
    // after that, actions under the same user cannot look into this process
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Leaves the action's pipes to the action alone: their end is seen when it and its children have ended.
pub(super) fn let_go_of_standard_streams() -> io::Result<()> {
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    Ok(dup2_stderr(&null)?)
}
