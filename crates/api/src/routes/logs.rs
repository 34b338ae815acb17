//! Logs of executions: by the page, and as they grow.

use attune_common::model::{Execution, ExecutionId, ExecutionStatus};
use axum::{Json, extract::State, http::HeaderMap, response::IntoResponse};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::executions;
use crate::{
    events::{self, Position},
    extract::{QueryOf, Segment, whole_number},
    problem::{CommonProblems, Kind, NoSuchAttempt, Problem},
    state::ApiState,
    views::LogPage,
};

/// Largest page, and its size when nothing is asked for, in bytes of log.
const PAGE_BYTES: (u64, u64) = (4 * 1024 * 1024, 1024 * 1024);

/// Name of the header with which a client resumes a stream of events.
const LAST_EVENT_ID: &str = "last-event-id";

pub(super) fn router() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(read_log)).routes(routes!(follow_log))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PageQuery {
    /// Number of the attempt; the current or last one when absent.
    #[param(minimum = 1)]
    #[serde(default, deserialize_with = "whole_number")]
    attempt: Option<u32>,
    /// Byte of the attempt's log to start at; 0 when absent.
    #[serde(default, deserialize_with = "whole_number")]
    from: Option<u64>,
    /// About how many bytes of log to answer with: 1 to 4194304, 1048576 when absent.
    #[param(minimum = 1, maximum = 4_194_304)]
    #[serde(default, deserialize_with = "whole_number")]
    limit: Option<u64>,
}

/// Reads a part of an attempt's log.
#[utoipa::path(
    get,
    path = "/executions/{id}/logs",
    tag = "logs",
    params(("id" = String, Path, description = "id of the execution", format = Uuid), PageQuery),
    responses(
        (status = 200, description = "a part of the log", body = LogPage),
        NoSuchAttempt,
        CommonProblems,
    ),
    security(("bearer" = [])),
)]
async fn read_log(
    State(state): State<ApiState>,
    Segment(id): Segment<ExecutionId>,
    QueryOf(query): QueryOf<PageQuery>,
) -> Result<Json<LogPage>, Problem> {
    let (most, default) = PAGE_BYTES;
    let limit = query.limit.unwrap_or(default);
    if !(1..=most).contains(&limit) {
        let detail = format!("query parameters: limit {limit} is out of range; 1 to {most} is expected");
        return Err(Problem::new(Kind::MalformedRequest, detail));
    }
    let from = checked_offset(query.from.unwrap_or(0))?;
    // read before its log: an attempt seen to be over has its whole log in the store
    let execution = executions::find(&state, id).await?;
    let attempt = checked_attempt(&execution, query.attempt)?;
    let chunks = state.store.read_log(id, attempt, from, limit).await?;
    let next = chunks.last().map_or(from, attune_common::model::LogChunk::end);
    let over = attempt < execution.attempt
        || execution.status.is_final()
        || (attempt > 0 && execution.status == ExecutionStatus::Queued);
    let complete = over && state.store.read_log(id, attempt, next, 1).await?.is_empty();
    Ok(Json(LogPage { attempt, chunks: chunks.into_iter().map(Into::into).collect(), next, complete }))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct FollowQuery {
    /// Number of the attempt to start with; the current or last one when absent.
    #[param(minimum = 1)]
    #[serde(default, deserialize_with = "whole_number")]
    attempt: Option<u32>,
    /// Byte of that attempt's log to start at; 0 when absent.
    #[serde(default, deserialize_with = "whole_number")]
    from: Option<u64>,
}

/// Follows an execution until it ends, as server-sent events.
///
/// Events are `attempt` (`AttemptEvent`: a new attempt has started), `status` (`StatusEvent`), `log` (`LogChunkView`),
/// `end` (`ExecutionView`: nothing follows) and `problem` (`ProblemDocument`: the server cannot go on now). The stream
/// goes on into newer attempts. A stream that closes without `end` is resumed with the header `Last-Event-ID`.
#[utoipa::path(
    get,
    path = "/executions/{id}/logs/follow",
    tag = "logs",
    params(
        ("id" = String, Path, description = "id of the execution", format = Uuid),
        FollowQuery,
        (
            "Last-Event-ID" = Option<String>,
            Header,
            description = "id of the last event that was received: goes on behind it, whatever the query says"
        ),
    ),
    responses(
        (status = 200, description = "the events", body = String, content_type = "text/event-stream"),
        NoSuchAttempt,
        CommonProblems,
    ),
    security(("bearer" = [])),
)]
async fn follow_log(
    State(state): State<ApiState>,
    Segment(id): Segment<ExecutionId>,
    QueryOf(query): QueryOf<FollowQuery>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    let execution = executions::find(&state, id).await?;
    let resumed = headers
        .get(LAST_EVENT_ID)
        .map(|value| value.to_str().unwrap_or_default().parse::<Position>())
        .transpose()?;
    let (attempt, offset) = match resumed {
        Some(position) => (Some(position.attempt).filter(|attempt| *attempt > 0), position.offset),
        None => (query.attempt, query.from.unwrap_or(0)),
    };
    let from = Position { attempt: checked_attempt(&execution, attempt)?, offset: checked_offset(offset)? };
    // nginx would hold back what it has not got enough of
    Ok(([("x-accel-buffering", "no")], events::follow(state, id, from, resumed.is_none())))
}

fn checked_attempt(execution: &Execution, asked: Option<u32>) -> Result<u32, Problem> {
    match asked {
        None => Ok(execution.attempt),
        Some(0) => Err(Problem::new(Kind::MalformedRequest, "attempts are counted from 1")),
        Some(attempt) if attempt <= execution.attempt => Ok(attempt),
        Some(attempt) => Err(Problem::new(
            Kind::NotFound,
            format!(
                "execution {} has had {} attempts, no attempt {attempt}",
                execution.id, execution.attempt
            ),
        )),
    }
}

/// Stores keep positions as signed numbers.
fn checked_offset(offset: u64) -> Result<u64, Problem> {
    if i64::try_from(offset).is_ok() {
        return Ok(offset);
    }
    Err(Problem::new(Kind::MalformedRequest, format!("byte {offset} is behind the end of any log")))
}
