//! Events of a followed execution: named server-sent events with JSON data.

use attune_common::model::ExecutionStatus;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{ExecutionView, LogChunkView, execution::status_schema};
use crate::problem::ProblemDocument;

/// A new attempt has started; the log events behind this one are its.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AttemptEvent {
    /// Number of the attempt.
    pub attempt: u32,
}

/// The status has changed; the first such event tells where the execution stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StatusEvent {
    /// The status.
    #[schema(schema_with = status_schema)]
    pub status: ExecutionStatus,
    /// Number of the current or last attempt; 0 before the first.
    pub attempt: u32,
    /// Name of the worker of that attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// Why it stays queued: no online worker satisfies its requirement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<String>,
}

/// One event of a followed execution.
#[derive(Clone, Debug, PartialEq)]
pub enum FollowEvent {
    /// `attempt`: a new attempt has started.
    Attempt(AttemptEvent),
    /// `status`: the status has changed.
    Status(StatusEvent),
    /// `log`: a piece of the attempt's log.
    Log(LogChunkView),
    /// `end`: the execution as it ended. Nothing follows.
    End(Box<ExecutionView>),
    /// `problem`: the server cannot go on. The stream closes; it may be resumed with `Last-Event-ID`.
    Problem(ProblemDocument),
}

/// Why the data of an event cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the data of a '{name}' event: {source}")]
pub struct EventError {
    name: String,
    source: serde_json::Error,
}

impl FollowEvent {
    /// The event's name in the stream.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Attempt(_) => "attempt",
            Self::Status(_) => "status",
            Self::Log(_) => "log",
            Self::End(_) => "end",
            Self::Problem(_) => "problem",
        }
    }

    /// Reads an event. Names that this version does not know are `None`.
    pub fn parse(name: &str, data: &str) -> Result<Option<Self>, EventError> {
        let event = match name {
            "attempt" => serde_json::from_str(data).map(Self::Attempt),
            "status" => serde_json::from_str(data).map(Self::Status),
            "log" => serde_json::from_str(data).map(Self::Log),
            "end" => serde_json::from_str(data).map(Self::End),
            "problem" => serde_json::from_str(data).map(Self::Problem),
            _ => return Ok(None),
        };
        event.map(Some).map_err(|source| EventError { name: name.to_owned(), source })
    }

    /// The event's data.
    pub(crate) fn data(&self) -> Result<String, serde_json::Error> {
        match self {
            Self::Attempt(event) => serde_json::to_string(event),
            Self::Status(event) => serde_json::to_string(event),
            Self::Log(chunk) => serde_json::to_string(chunk),
            Self::End(execution) => serde_json::to_string(execution),
            Self::Problem(problem) => serde_json::to_string(problem),
        }
    }
}
