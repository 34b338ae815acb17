//! Executions on the wire.

use attune_common::{
    model::{ActionRef, EarlierAttempt, Execution, ExecutionId, ExecutionStatus, Worker},
    requirement::Requirement,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{ToSchema, openapi::schema::Object};

use super::{ArtifactView, worker::satisfying};

/// A request to run an action.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SubmitExecution {
    /// Name of the action, such as `examples.tour`.
    #[schema(example = "examples.checksum_files")]
    pub action: String,
    /// Parameters by name; those that the action declares.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub parameters: Map<String, Value>,
    /// Makes repeated submissions one: with a key that was used before, the first execution is the answer.
    /// At most 255 printable ASCII characters. May be given as the `Idempotency-Key` header instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 255)]
    pub idempotency_key: Option<String>,
}

/// An execution in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ExecutionSummary {
    /// Its id; ids sort by time of submission.
    #[schema(value_type = String, format = Uuid)]
    pub id: ExecutionId,
    /// Name of the action.
    #[schema(value_type = String)]
    pub action: ActionRef,
    /// What a worker must have.
    #[schema(value_type = String, example = "python >=3.11; gpu=nvidia")]
    pub requirement: Requirement,
    /// Where it stands.
    #[schema(schema_with = status_schema)]
    pub status: ExecutionStatus,
    /// Number of the current or last attempt; 0 before the first.
    pub attempt: u32,
    /// How often it may be started at most.
    pub max_attempts: u32,
    /// Whether somebody asked for its end.
    pub cancel_requested: bool,
    /// Name of the worker of the current or last attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// When it was submitted.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When the current or last attempt started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
    /// When it reached its final status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<Timestamp>,
    /// How long the last attempt took, or how long the current one has been running, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_seconds: Option<f64>,
    /// What went wrong, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Why it stays queued: no online worker satisfies its requirement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<String>,
}

/// An execution with everything that may be shown of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ExecutionView {
    /// What lists show too.
    #[serde(flatten)]
    pub summary: ExecutionSummary,
    /// Name of the pack.
    pub pack: String,
    /// Version of the pack when the execution was submitted.
    pub pack_version: String,
    /// SHA-256 of the archive that it runs from, in hexadecimal digits.
    pub pack_digest: String,
    /// Parameters, defaults filled in; values of secret parameters are masked.
    #[schema(value_type = Object)]
    pub parameters: Map<String, Value>,
    /// Exit status of the process, when it exited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Number of the signal that ended the process, when one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// What the action answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// The interpreter that ran it: its path and, where known, its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interpreter: Option<String>,
    /// Bytes of output that the log's limit kept out.
    pub log_bytes_dropped: u64,
    /// Whether something that the process had started outlived it, and was ended.
    #[serde(default)]
    pub leaked: bool,
    /// Whether the kernel ended the process because memory ran out.
    #[serde(default)]
    pub oom_killed: bool,
    /// Largest resident memory of one of its processes, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_memory_bytes: Option<u64>,
    /// Processor time of all of its processes, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_seconds: Option<f64>,
    /// The files that it left, by path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<ArtifactView>,
    /// The attempts after which it went back to the queue, the newest first and at most 100: their workers were lost, or gave it
    /// back. What is above tells of the last attempt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier_attempts: Vec<EarlierAttemptView>,
}

/// An attempt after which the execution went back to the queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EarlierAttemptView {
    /// Its number.
    pub attempt: u32,
    /// Name of its worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// When it started.
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Timestamp,
    /// When it was given back, or its worker was found to be lost.
    #[schema(value_type = String, format = DateTime)]
    pub ended_at: Timestamp,
    /// Why it did not come to its end, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Exit status of the process, when it exited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Number of the signal that ended the process, when one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Largest resident memory of one of its processes, in bytes; not known of a worker that was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_memory_bytes: Option<u64>,
    /// Processor time of all of its processes, in seconds; not known of a worker that was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_seconds: Option<f64>,
}

impl From<EarlierAttempt> for EarlierAttemptView {
    fn from(earlier: EarlierAttempt) -> Self {
        Self {
            attempt: earlier.attempt,
            worker: earlier.worker_name,
            started_at: earlier.started_at,
            ended_at: earlier.ended_at,
            error: earlier.outcome.error,
            exit_code: earlier.outcome.exit_code,
            signal: earlier.outcome.signal,
            peak_memory_bytes: earlier.outcome.peak_memory_bytes,
            cpu_seconds: earlier.outcome.cpu_seconds,
        }
    }
}

/// A page of executions, the newest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ExecutionList {
    /// The page.
    pub executions: Vec<ExecutionSummary>,
    /// What to give as `before` for the next page; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Uuid)]
    pub next: Option<ExecutionId>,
}

/// Schema of an execution's status.
pub(super) fn status_schema() -> Object {
    super::names(ExecutionStatus::ALL.map(ExecutionStatus::as_str))
}

impl ExecutionSummary {
    /// The summary of an execution. `workers` are all registered ones; they matter for queued executions only.
    #[must_use]
    pub fn from_model(execution: &Execution, workers: &[Worker]) -> Self {
        let unsatisfied = execution.status == ExecutionStatus::Queued
            && satisfying(&execution.requirement, workers).next().is_none();
        Self {
            id: execution.id,
            action: execution.action.r#ref.clone(),
            requirement: execution.requirement.clone(),
            status: execution.status,
            attempt: execution.attempt,
            max_attempts: execution.action.max_attempts,
            cancel_requested: execution.cancel_requested,
            worker: execution.worker_name.clone(),
            created_at: execution.created_at,
            started_at: execution.started_at,
            finished_at: execution.finished_at,
            duration_seconds: duration_seconds(execution),
            error: execution.outcome.as_ref().and_then(|outcome| outcome.error.clone()),
            waiting_for: unsatisfied.then(|| format!("no worker satisfies '{}'", execution.requirement)),
        }
    }
}

impl ExecutionView {
    /// Everything that may be shown of an execution and its earlier attempts. `workers` as for [`ExecutionSummary::from_model`].
    #[must_use]
    pub fn from_model(
        execution: &Execution,
        earlier_attempts: Vec<EarlierAttempt>,
        workers: &[Worker],
    ) -> Self {
        let outcome = execution.outcome.clone().unwrap_or_default();
        Self {
            summary: ExecutionSummary::from_model(execution, workers),
            pack: execution.action.r#ref.pack().to_owned(),
            pack_version: execution.pack_version.clone(),
            pack_digest: execution.pack_digest.clone(),
            parameters: execution.parameters.masked(&execution.action.parameters),
            exit_code: outcome.exit_code,
            signal: outcome.signal,
            result: outcome.result,
            interpreter: outcome.interpreter,
            log_bytes_dropped: outcome.log_bytes_dropped,
            leaked: outcome.leaked,
            oom_killed: outcome.oom_killed,
            peak_memory_bytes: outcome.peak_memory_bytes,
            cpu_seconds: outcome.cpu_seconds,
            artifacts: outcome.artifacts.into_iter().map(Into::into).collect(),
            earlier_attempts: earlier_attempts.into_iter().map(Into::into).collect(),
        }
    }
}

fn duration_seconds(execution: &Execution) -> Option<f64> {
    let started = execution.started_at?;
    let end = match execution.finished_at {
        Some(finished) => finished,
        None if execution.status == ExecutionStatus::Running => execution.read_at,
        // given back to the queue: that attempt's end is not known
        None => return None,
    };
    // a clock may be set back
    Some(end.duration_since(started).as_secs_f64().max(0.0))
}
