//! Executions: one requested run of an action, from submission to its one outcome.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Action, Artifact, ExecutionId, Parameters, WorkerId};
use crate::requirement::Requirement;

/// Where an execution stands.
///
/// `queued → running → succeeded | failed | timed_out | cancelled`; a running execution whose lease is lost goes
/// back to `queued` while attempts are left, else it is `lost`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExecutionStatus {
    /// Waits for a worker.
    Queued,
    /// A worker holds its lease.
    Running,
    /// The process ended with status 0 and the result could be read.
    Succeeded,
    /// The process ended otherwise, or could not be started.
    Failed,
    /// The time limit was reached and the process was ended.
    TimedOut,
    /// Somebody asked for its end.
    Cancelled,
    /// Its worker vanished and no attempt was left.
    Lost,
}

impl ExecutionStatus {
    /// Every status, in the order of life.
    pub const ALL: [Self; 7] = [
        Self::Queued,
        Self::Running,
        Self::Succeeded,
        Self::Failed,
        Self::TimedOut,
        Self::Cancelled,
        Self::Lost,
    ];

    /// The name under which the status is stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
            Self::Lost => "lost",
        }
    }

    /// The status of a stored name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }

    /// Whether nothing follows: a final status is never left.
    #[must_use]
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }

    /// Whether the life of an execution has a step from here to `next`.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        match self {
            // a queued execution that is cancelled never runs
            Self::Queued => matches!(next, Self::Running | Self::Cancelled),
            Self::Running => next != Self::Running,
            _ => false,
        }
    }
}

impl std::fmt::Display for ExecutionStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// How the last attempt ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Exit status of the process, when it exited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Signal that ended the process, when one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// What went wrong, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What the action answered, read by its output format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// The interpreter that ran it, as a path and, where known, its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interpreter: Option<String>,
    /// Bytes of output that the log's limit kept out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub log_bytes_dropped: u64,
    /// Whether something that the process had started outlived it, and was ended.
    #[serde(default, skip_serializing_if = "is_false")]
    pub leaked: bool,
    /// Whether the kernel ended the process because memory ran out.
    #[serde(default, skip_serializing_if = "is_false")]
    pub oom_killed: bool,
    /// Largest resident memory of one of its processes, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_memory_bytes: Option<u64>,
    /// Processor time of all of its processes, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_seconds: Option<f64>,
    /// The files that it left, by path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<Artifact>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde asks for")]
fn is_false(value: &bool) -> bool {
    !*value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde asks for")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// An execution as the store knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Execution {
    /// Its id; ids sort by time of submission.
    pub id: ExecutionId,
    /// The action as it was when the execution was submitted.
    pub action: Action,
    /// Version of the pack at that time.
    pub pack_version: String,
    /// Archive to run from.
    pub pack_digest: String,
    /// Parameters, defaults filled in.
    pub parameters: Parameters,
    /// What a worker must have.
    pub requirement: Requirement,
    /// Where it stands.
    pub status: ExecutionStatus,
    /// Number of the current or last attempt; 0 before the first.
    pub attempt: u32,
    /// How many more times it may be started.
    pub attempts_left: u32,
    /// Whether somebody asked for its end.
    pub cancel_requested: bool,
    /// The worker of the current or last attempt.
    pub worker: Option<WorkerId>,
    /// Name of that worker.
    pub worker_name: Option<String>,
    /// Until when the worker may keep it without renewing, by the database's clock.
    pub lease_expires_at: Option<Timestamp>,
    /// Key that makes repeated submissions one.
    pub idempotency_key: Option<String>,
    /// When it was submitted.
    pub created_at: Timestamp,
    /// When the current or last attempt started.
    pub started_at: Option<Timestamp>,
    /// When it reached its final status.
    pub finished_at: Option<Timestamp>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// When the store told this, by its clock: what still runs has been running until then.
    pub read_at: Timestamp,
}

/// An attempt after which the execution went back to the queue. The last one is told by the execution itself.
#[derive(Clone, Debug, PartialEq)]
pub struct EarlierAttempt {
    /// Its number.
    pub attempt: u32,
    /// Name of its worker.
    pub worker_name: Option<String>,
    /// When it started.
    pub started_at: Timestamp,
    /// When it was given back, or its worker was found to be lost.
    pub ended_at: Timestamp,
    /// How it ended; of a lost worker only the error is known.
    pub outcome: Outcome,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_final_status_is_never_left() {
        for from in ExecutionStatus::ALL {
            assert_eq!(ExecutionStatus::from_name(from.as_str()), Some(from));
            for to in ExecutionStatus::ALL {
                if from.is_final() {
                    assert!(!from.may_become(to), "{from} → {to}");
                }
            }
        }
        assert!(ExecutionStatus::Queued.may_become(ExecutionStatus::Running));
        assert!(ExecutionStatus::Running.may_become(ExecutionStatus::Queued));
        assert!(!ExecutionStatus::Queued.may_become(ExecutionStatus::Succeeded));
    }
}
