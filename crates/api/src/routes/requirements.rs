//! Requirements: what waits, and for whom.

use axum::{Json, extract::State};

use crate::{
    problem::{CommonProblems, Problem},
    state::ApiState,
    views::{RequirementList, RequirementView},
};

/// Lists every requirement with what waits for it and who satisfies it.
#[utoipa::path(
    get,
    path = "/requirements",
    tag = "requirements",
    responses((status = 200, description = "the requirements", body = RequirementList), CommonProblems),
    security(("bearer" = [])),
)]
pub(super) async fn list_requirements(
    State(state): State<ApiState>,
) -> Result<Json<RequirementList>, Problem> {
    let workers = state.store.workers().await?;
    let loads = state.store.requirements().await?;
    let requirements = loads.into_iter().map(|load| RequirementView::from_model(load, &workers)).collect();
    Ok(Json(RequirementList { requirements }))
}
