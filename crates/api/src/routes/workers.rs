//! Workers.

use axum::{Json, extract::State};

use crate::{
    problem::{CommonProblems, Problem},
    state::ApiState,
    views::{WorkerList, WorkerView},
};

/// Lists every registered worker, by name.
#[utoipa::path(
    get,
    path = "/workers",
    tag = "workers",
    responses((status = 200, description = "the workers", body = WorkerList), CommonProblems),
    security(("bearer" = [])),
)]
pub(super) async fn list_workers(State(state): State<ApiState>) -> Result<Json<WorkerList>, Problem> {
    let workers = state.workers().await?.into_iter().map(WorkerView::from).collect();
    Ok(Json(WorkerList { workers }))
}
