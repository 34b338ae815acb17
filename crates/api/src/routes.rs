//! The resources, one file each.

mod actions;
mod artifacts;
mod executions;
mod health;
mod logs;
mod packs;
mod requirements;
mod runtimes;
mod workers;

use axum::extract::DefaultBodyLimit;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    problem::{Kind, Problem},
    state::ApiState,
};

/// Largest request body where a path says nothing else, in bytes.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// Longest list, and its length when nothing is asked for.
const LIST_LIMIT: (u32, u32) = (500, 50);

/// Everything that needs a token.
pub(crate) fn protected() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .merge(executions::router())
        .merge(logs::router())
        .merge(artifacts::router())
        .merge(packs::router())
        .merge(actions::router())
        .merge(workers::router())
        .routes(routes!(runtimes::list_runtimes))
        .routes(routes!(requirements::list_requirements))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
}

/// What anybody may ask.
pub(crate) fn open() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(health::get_health))
}

/// The length of a list that was asked for, checked.
fn list_limit(asked: Option<u32>) -> Result<u32, Problem> {
    let (most, default) = LIST_LIMIT;
    match asked.unwrap_or(default) {
        limit if (1..=most).contains(&limit) => Ok(limit),
        limit => Err(Problem::new(
            Kind::MalformedRequest,
            format!("query parameters: limit {limit} is out of range; 1 to {most} is expected"),
        )),
    }
}
