//! The process group of an action.

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Child;

/// A process group, named by the process that leads it.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProcessGroup(Option<Pid>);

impl ProcessGroup {
    /// The group of a process that was started as its leader.
    pub(super) fn led_by(child: &Child) -> Self {
        Self(child.id().and_then(|id| Pid::from_raw(id.cast_signed())))
    }

    /// Sends a signal to every process of the group. A group that is empty is what is wanted.
    pub(super) fn signal(self, signal: Signal) {
        if let Some(leader) = self.0 {
            let _ = kill_process_group(leader, signal);
        }
    }
}
