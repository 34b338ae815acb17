//! Runtimes: what workers have brought.

use axum::{Json, extract::State};

use crate::{
    problem::{CommonProblems, Problem},
    state::ApiState,
    views::{OfferedRuntimeView, RuntimeList},
};

/// Lists every runtime that some worker has offered, with who offers it now.
#[utoipa::path(
    get,
    path = "/runtimes",
    tag = "workers",
    responses((status = 200, description = "the runtimes", body = RuntimeList), CommonProblems),
    security(("bearer" = [])),
)]
pub(super) async fn list_runtimes(State(state): State<ApiState>) -> Result<Json<RuntimeList>, Problem> {
    let workers = state.store.workers().await?;
    let runtimes = state.store.runtimes().await?.into_iter();
    let runtimes = runtimes.map(|runtime| OfferedRuntimeView::from_model(runtime, &workers)).collect();
    Ok(Json(RuntimeList { runtimes }))
}
