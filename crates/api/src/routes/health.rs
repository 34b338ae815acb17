//! Whether the server can do its work.

use axum::{Json, extract::State};

use crate::{
    problem::{Kind, Problem, ProblemDocument},
    state::ApiState,
    views::Health,
};

/// Tells whether the server and its store answer.
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "health",
    responses(
        (status = 200, description = "the server can do its work", body = Health),
        (
            status = 503,
            description = "the store does not answer",
            body = ProblemDocument,
            content_type = "application/problem+json"
        ),
    ),
)]
pub(super) async fn get_health(State(state): State<ApiState>) -> Result<Json<Health>, Problem> {
    state.store.workers().await.map_err(|error| {
        tracing::error!(%error, "the store does not answer");
        Problem::new(Kind::Unavailable, "the store does not answer; the server's log tells why")
    })?;
    Ok(Json(Health { status: "ok".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() }))
}
