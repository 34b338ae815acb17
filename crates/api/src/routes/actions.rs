//! Actions.

use attune_common::{
    config::nearest,
    model::{Action, ActionRef},
};
use axum::{Json, extract::State};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    extract::{QueryOf, Segment},
    problem::{CommonProblems, Kind, Problem, ProblemDocument},
    state::ApiState,
    views::{ActionList, ActionSummary, ActionView},
};

/// Longest name for which a similar one is looked for.
const MAX_COMPARED: usize = 200;

pub(super) fn router() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(list_actions)).routes(routes!(get_action))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ActionQuery {
    /// Only the actions of this pack.
    pack: Option<String>,
}

/// Lists the current actions, by name.
#[utoipa::path(
    get,
    path = "/actions",
    tag = "actions",
    params(ActionQuery),
    responses((status = 200, description = "the actions", body = ActionList), CommonProblems),
    security(("bearer" = [])),
)]
async fn list_actions(
    State(state): State<ApiState>,
    QueryOf(query): QueryOf<ActionQuery>,
) -> Result<Json<ActionList>, Problem> {
    let actions = state.store.actions(query.pack.as_deref()).await?;
    Ok(Json(ActionList { actions: actions.iter().map(ActionSummary::from).collect() }))
}

/// Shows an action, who can run it, and how many executions wait for those workers.
#[utoipa::path(
    get,
    path = "/actions/{ref}",
    tag = "actions",
    params(("ref" = String, Path, description = "name of the action", example = "examples.tour")),
    responses(
        (status = 200, description = "the action", body = ActionView),
        (
            status = 404,
            description = "there is no such action",
            body = ProblemDocument,
            content_type = "application/problem+json"
        ),
        CommonProblems,
    ),
    security(("bearer" = [])),
)]
async fn get_action(
    State(state): State<ApiState>,
    Segment(name): Segment<String>,
) -> Result<Json<ActionView>, Problem> {
    let action = find(&state, &name).await?;
    let workers = state.store.workers().await?;
    let loads = state.store.requirements().await?;
    Ok(Json(ActionView::from_model(action, &loads, &workers)))
}

/// The current action of a name, or a problem that says which one could be meant.
pub(super) async fn find(state: &ApiState, name: &str) -> Result<Action, Problem> {
    let parsed = name.parse::<ActionRef>();
    if let Ok(parsed) = &parsed
        && let Some(action) = state.store.action(parsed).await?
    {
        return Ok(action);
    }
    let known = state.store.actions(None).await?;
    let reason = match parsed {
        Ok(_) => format!("there is no action '{name}'"),
        Err(error) => error.to_string(),
    };
    Err(Problem::new(Kind::NotFound, format!("{reason}; {}", suggestion(name, &known))))
}

fn suggestion(name: &str, known: &[Action]) -> String {
    // comparing takes time that grows with the length, and no name is this long
    let name = if name.len() <= MAX_COMPARED { name } else { "" };
    let names: Vec<String> = known.iter().map(|action| action.r#ref.to_string()).collect();
    // forgetting the pack is the likeliest slip
    let in_some_pack =
        known.iter().find(|action| action.r#ref.name() == name).map(|action| action.r#ref.to_string());
    let near =
        in_some_pack.or_else(|| nearest(name, names.iter().map(String::as_str)).map(ToOwned::to_owned));
    match near {
        Some(near) => format!("is '{near}' meant?"),
        None if names.is_empty() => "no pack has been pushed yet".to_owned(),
        None => "the list of actions shows those there are".to_owned(),
    }
}
