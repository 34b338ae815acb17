//! The colours of statuses, the same wherever they are shown.

use attune_common::model::{ExecutionStatus, WorkerStatus};

use super::{Cell, Tone};

/// The tone of an execution's status.
fn tone(status: ExecutionStatus) -> Tone {
    match status {
        ExecutionStatus::Queued => Tone::Dim,
        ExecutionStatus::Running => Tone::Active,
        ExecutionStatus::Succeeded => Tone::Good,
        ExecutionStatus::Failed | ExecutionStatus::Lost => Tone::Bad,
        ExecutionStatus::TimedOut | ExecutionStatus::Cancelled => Tone::Notice,
    }
}

/// The status of an execution.
pub(crate) fn execution_status(status: ExecutionStatus) -> (Tone, &'static str) {
    (tone(status), status.as_str())
}

/// The status of a worker.
pub(crate) fn worker_status(status: WorkerStatus) -> Cell {
    match status {
        WorkerStatus::Online => Cell::toned(Tone::Good, "online"),
        WorkerStatus::Cordoned => Cell::toned(Tone::Notice, "cordoned"),
        WorkerStatus::Draining => Cell::toned(Tone::Notice, "draining"),
        WorkerStatus::Lost => Cell::toned(Tone::Bad, "lost"),
    }
}
