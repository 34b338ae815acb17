//! Executions: submit, look, cancel.

use attune_common::{
    config::nearest,
    doorbell::Ring,
    model::{Action, ActionRef, Execution, ExecutionId, ExecutionStatus, parameters},
    store::{ExecutionFilter, NewExecution},
};
use axum::{
    Json,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{actions, list_limit};
use crate::{
    extract::{JsonBody, QueryOf, Segment, whole_number},
    problem::{CommonProblems, Kind, NoSuchExecution, Problem, ProblemDocument},
    state::ApiState,
    views::{ExecutionList, ExecutionSummary, ExecutionView, SubmitExecution},
};

/// Name of the header that makes repeated submissions one (draft-ietf-httpapi-idempotency-key-header).
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Longest idempotency key.
const MAX_KEY_LENGTH: usize = 255;

/// Most parameters beyond those that the action takes whose names are told one by one.
const MAX_UNKNOWN_PARAMETERS: usize = 100;

/// Largest submission: the parameters and some room for the rest.
const MAX_SUBMIT_BYTES: usize = parameters::MAX_BYTES + 64 * 1024;

pub(super) fn router() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(submit_execution))
        .layer(DefaultBodyLimit::max(MAX_SUBMIT_BYTES))
        .routes(routes!(list_executions))
        .routes(routes!(get_execution))
        .routes(routes!(cancel_execution))
}

/// Queues an execution of an action.
#[utoipa::path(
    post,
    path = "/executions",
    tag = "executions",
    params((
        "Idempotency-Key" = Option<String>,
        Header,
        description = "makes repeated submissions one; the same as idempotency_key in the body"
    )),
    request_body = SubmitExecution,
    responses(
        (status = 201, description = "the execution has been queued", body = ExecutionView),
        (status = 200, description = "the key was used before: the execution of then", body = ExecutionView),
        (
            status = 404,
            description = "there is no such action",
            body = ProblemDocument,
            content_type = "application/problem+json"
        ),
        (
            status = 409,
            description = "the action is disabled",
            body = ProblemDocument,
            content_type = "application/problem+json"
        ),
        (
            status = 413,
            description = "the body is too large",
            body = ProblemDocument,
            content_type = "application/problem+json"
        ),
        (
            status = 415,
            description = "the body is not declared to be application/json",
            body = ProblemDocument,
            content_type = "application/problem+json"
        ),
        (
            status = 422,
            description = "the body does not fit, the parameters are refused, or the action is a group",
            body = ProblemDocument,
            content_type = "application/problem+json"
        ),
        CommonProblems,
    ),
    security(("bearer" = [])),
)]
async fn submit_execution(
    State(state): State<ApiState>,
    headers: HeaderMap,
    JsonBody(request): JsonBody<SubmitExecution>,
) -> Result<Response, Problem> {
    let idempotency_key = idempotency_key(&headers, request.idempotency_key)?;
    let action = actions::find(&state, &request.action).await?;
    check_submittable(&action)?;
    check_count(&action, request.parameters.len())?;
    let parameters = action
        .parameters
        .resolve(request.parameters)
        .map_err(|faults| Problem::parameters(&request.action, &faults))?;
    let submission =
        state.store.submit(NewExecution { action: action.r#ref, parameters, idempotency_key }).await?;
    let execution = submission.execution;
    if submission.created {
        tracing::info!(execution = %execution.id, action = %execution.action.r#ref, "execution queued");
        let ring = Ring::Queued { execution: execution.id, requirement: execution.requirement.clone() };
        state.ring(&ring).await;
    }
    let location = [(header::LOCATION, format!("/api/v1/executions/{}", execution.id))];
    let status = if submission.created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, location, Json(state.view(&execution).await?)).into_response())
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ExecutionQuery {
    /// Only executions of this action.
    action: Option<String>,
    /// Only executions in one of these states, separated by commas.
    #[param(example = "queued,running")]
    status: Option<String>,
    /// At most this many: 1 to 500, 50 when absent.
    #[param(minimum = 1, maximum = 500)]
    #[serde(default, deserialize_with = "whole_number")]
    limit: Option<u32>,
    /// Only executions submitted before this one: `next` of the page before.
    #[param(format = Uuid)]
    before: Option<String>,
}

/// Lists executions, the newest first.
#[utoipa::path(
    get,
    path = "/executions",
    tag = "executions",
    params(ExecutionQuery),
    responses((status = 200, description = "a page of executions", body = ExecutionList), CommonProblems),
    security(("bearer" = [])),
)]
async fn list_executions(
    State(state): State<ApiState>,
    QueryOf(query): QueryOf<ExecutionQuery>,
) -> Result<Json<ExecutionList>, Problem> {
    let (limit, mut filter) = filter(&query)?;
    // one more tells whether there is a next page
    filter.limit = limit + 1;
    let mut executions = state.store.executions(&filter).await?;
    let more = executions.len() > limit as usize;
    executions.truncate(limit as usize);
    let workers = if executions.iter().any(|execution| execution.status == ExecutionStatus::Queued) {
        state.store.workers().await?
    } else {
        Vec::new()
    };
    let next = executions.last().filter(|_| more).map(|last| last.id);
    let executions =
        executions.iter().map(|execution| ExecutionSummary::from_model(execution, &workers)).collect();
    Ok(Json(ExecutionList { executions, next }))
}

/// Shows an execution.
#[utoipa::path(
    get,
    path = "/executions/{id}",
    tag = "executions",
    params(("id" = String, Path, description = "id of the execution", format = Uuid)),
    responses(
        (status = 200, description = "the execution", body = ExecutionView),
        NoSuchExecution,
        CommonProblems,
    ),
    security(("bearer" = [])),
)]
async fn get_execution(
    State(state): State<ApiState>,
    Segment(id): Segment<ExecutionId>,
) -> Result<Json<ExecutionView>, Problem> {
    let execution = find(&state, id).await?;
    Ok(Json(state.view(&execution).await?))
}

/// Asks for the end of an execution. One that has ended stays as it is.
///
/// A queued execution is cancelled at once; a running one is ended by its worker, which may take a moment.
#[utoipa::path(
    post,
    path = "/executions/{id}/cancel",
    tag = "executions",
    params(("id" = String, Path, description = "id of the execution", format = Uuid)),
    responses(
        (status = 200, description = "the execution as it is now", body = ExecutionView),
        NoSuchExecution,
        CommonProblems,
    ),
    security(("bearer" = [])),
)]
async fn cancel_execution(
    State(state): State<ApiState>,
    Segment(id): Segment<ExecutionId>,
) -> Result<Json<ExecutionView>, Problem> {
    let execution = state.store.request_cancel(id).await?.ok_or_else(|| unknown(id))?;
    if execution.status == ExecutionStatus::Running {
        state.ring(&Ring::CancelRequested { execution: id }).await;
    }
    Ok(Json(state.view(&execution).await?))
}

/// The execution of an id.
pub(super) async fn find(state: &ApiState, id: ExecutionId) -> Result<Execution, Problem> {
    state.store.execution(id).await?.ok_or_else(|| unknown(id))
}

fn unknown(id: ExecutionId) -> Problem {
    Problem::new(
        Kind::NotFound,
        format!("there is no execution {id}; the list of executions shows those there are"),
    )
}

fn check_submittable(action: &Action) -> Result<(), Problem> {
    let name = &action.r#ref;
    if !action.enabled {
        return Err(Problem::new(
            Kind::ActionDisabled,
            format!("action '{name}' is disabled; set 'enabled: true' in its manifest and push the pack"),
        ));
    }
    if action.is_group() {
        let members: Vec<String> = action.members.iter().map(|member| member.action.to_string()).collect();
        let members = members.join(", ");
        return Err(Problem::new(
            Kind::ActionIsGroup,
            format!("action '{name}' only names other actions; submit its members instead: {members}"),
        ));
    }
    Ok(())
}

/// Every parameter that is not known is a fault with a text of its own, so there must not be millions of them.
fn check_count(action: &Action, given: usize) -> Result<(), Problem> {
    let taken = action.parameters.iter().count();
    if given <= taken + MAX_UNKNOWN_PARAMETERS {
        return Ok(());
    }
    let detail = format!("action '{}' takes {taken} parameters, {given} were given", action.r#ref);
    Err(Problem::new(Kind::InvalidParameters, detail))
}

fn idempotency_key(headers: &HeaderMap, in_body: Option<String>) -> Result<Option<String>, Problem> {
    let unfit = || {
        Problem::new(
            Kind::MalformedRequest,
            format!("the idempotency key must have 1 to {MAX_KEY_LENGTH} printable ASCII characters"),
        )
    };
    let in_header =
        headers.get(IDEMPOTENCY_KEY).map(|value| value.to_str().map_err(|_| unfit())).transpose()?;
    let key = match (in_header, in_body) {
        (Some(header), Some(body)) if header != body => {
            return Err(Problem::new(
                Kind::MalformedRequest,
                "the header 'idempotency-key' and the body's 'idempotency_key' differ; send one of them",
            ));
        }
        (Some(header), _) => Some(header.to_owned()),
        (None, body) => body,
    };
    let plain = |key: &str| {
        (1..=MAX_KEY_LENGTH).contains(&key.len()) && key.bytes().all(|byte| (b' '..=b'~').contains(&byte))
    };
    if key.as_deref().is_some_and(|key| !plain(key)) { Err(unfit()) } else { Ok(key) }
}

fn filter(query: &ExecutionQuery) -> Result<(u32, ExecutionFilter), Problem> {
    let bad = |message: String| Problem::new(Kind::MalformedRequest, format!("query parameters: {message}"));
    let limit = list_limit(query.limit)?;
    let action = query.action.as_deref().map(str::parse::<ActionRef>).transpose();
    let before = query.before.as_deref().map(str::parse::<ExecutionId>).transpose();
    let statuses = query.status.iter().flat_map(|list| list.split(',')).map(|name| {
        ExecutionStatus::from_name(name).ok_or_else(|| {
            let known = ExecutionStatus::ALL.map(ExecutionStatus::as_str);
            let hint = match nearest(name, known.into_iter()) {
                Some(near) => format!("is '{near}' meant?"),
                None => format!("one of {} is expected", known.join(", ")),
            };
            bad(format!("status '{name}' is not known; {hint}"))
        })
    });
    let filter = ExecutionFilter {
        action: action.map_err(|error| bad(error.to_string()))?,
        statuses: statuses.collect::<Result<_, _>>()?,
        before: before.map_err(|error| bad(error.to_string()))?,
        limit,
    };
    Ok((limit, filter))
}
