//! Workers: who is there, and keeping work from them.

use attune_common::store::StoreError;
use axum::{Json, extract::State};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    extract::{JsonBody, Segment},
    problem::{CommonProblems, Kind, NoSuchWorker, Problem, ProblemDocument},
    state::ApiState,
    views::{CordonWorker, WorkerList, WorkerView},
};

/// Longest reason of a cordon, in bytes.
const MAX_REASON_BYTES: usize = 500;

pub(super) fn router() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list_workers))
        .routes(routes!(cordon_worker))
        .routes(routes!(uncordon_worker))
}

/// Lists every registered worker, by name.
#[utoipa::path(
    get,
    path = "/workers",
    tag = "workers",
    responses((status = 200, description = "the workers", body = WorkerList), CommonProblems),
    security(("bearer" = [])),
)]
async fn list_workers(State(state): State<ApiState>) -> Result<Json<WorkerList>, Problem> {
    let workers = state.store.workers().await?.into_iter().map(WorkerView::from).collect();
    Ok(Json(WorkerList { workers }))
}

/// Keeps new work from every worker of a name, until that is undone. What they run goes on.
///
/// The cordon is around the name: it outlives restarts. Doing it again changes the reason.
#[utoipa::path(
    post,
    path = "/workers/{name}/cordon",
    tag = "workers",
    params(("name" = String, Path, description = "name of the workers")),
    request_body = CordonWorker,
    responses(
        (status = 200, description = "the workers of this name", body = WorkerList),
        NoSuchWorker,
        (
            status = 413,
            description = "the body is too large",
            body = ProblemDocument,
            content_type = "application/problem+json"
        ),
        (
            status = 415,
            description = "the body is not JSON",
            body = ProblemDocument,
            content_type = "application/problem+json"
        ),
        (
            status = 422,
            description = "the body does not fit",
            body = ProblemDocument,
            content_type = "application/problem+json"
        ),
        CommonProblems,
    ),
    security(("bearer" = [])),
)]
async fn cordon_worker(
    State(state): State<ApiState>,
    Segment(name): Segment<String>,
    JsonBody(cordon): JsonBody<CordonWorker>,
) -> Result<Json<WorkerList>, Problem> {
    if cordon.reason.len() > MAX_REASON_BYTES || cordon.reason.contains('\0') {
        let detail = format!("request body: reason has at most {MAX_REASON_BYTES} bytes, none of them 0");
        return Err(Problem::new(Kind::InvalidBody, detail));
    }
    check_name(&name)?;
    state.store.cordon_worker(&name, &cordon.reason).await.map_err(|error| refused(&name, error))?;
    named(&state, &name).await
}

/// Undoes a cordon: the workers of this name take work again, with their next heartbeat.
#[utoipa::path(
    post,
    path = "/workers/{name}/uncordon",
    tag = "workers",
    params(("name" = String, Path, description = "name of the workers")),
    responses(
        (status = 200, description = "the workers of this name", body = WorkerList),
        NoSuchWorker,
        CommonProblems,
    ),
    security(("bearer" = [])),
)]
async fn uncordon_worker(
    State(state): State<ApiState>,
    Segment(name): Segment<String>,
) -> Result<Json<WorkerList>, Problem> {
    check_name(&name)?;
    state.store.uncordon_worker(&name).await.map_err(|error| refused(&name, error))?;
    named(&state, &name).await
}

async fn named(state: &ApiState, name: &str) -> Result<Json<WorkerList>, Problem> {
    let workers = state.store.workers().await?.into_iter().filter(|worker| worker.name == name);
    Ok(Json(WorkerList { workers: workers.map(WorkerView::from).collect() }))
}

/// No worker has a name that PostgreSQL cannot even be asked for.
fn check_name(name: &str) -> Result<(), Problem> {
    if name.contains('\0') { Err(unknown(name)) } else { Ok(()) }
}

fn refused(name: &str, error: StoreError) -> Problem {
    match error {
        StoreError::NotFound(_) => unknown(name),
        error => error.into(),
    }
}

fn unknown(name: &str) -> Problem {
    let name: String = name.chars().take(200).collect();
    Problem::new(
        Kind::NotFound,
        format!("there is no worker '{name}'; the list of workers shows those there are"),
    )
}
