//! Who may come in: those who present the bearer token (RFC 6750).

use axum::{
    extract::{Request, State},
    http::{HeaderMap, header},
    middleware::Next,
    response::Response,
};

use crate::{problem::Problem, state::ApiState};

/// Lets only requests with the right token through.
pub(crate) async fn require_token(
    State(state): State<ApiState>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    match presented(request.headers()) {
        None => Err(Problem::unauthorized(
            "send the API token in the header 'authorization: Bearer TOKEN'",
            r#"Bearer realm="attune""#,
        )),
        Some(token) if state.token.matches(token) => Ok(next.run(request).await),
        Some(_) => Err(Problem::unauthorized(
            "the token is not the server's; use the one that api.token is set to",
            r#"Bearer realm="attune", error="invalid_token""#,
        )),
    }
}

fn presented(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    // a server with an empty token must not let anybody in
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}
