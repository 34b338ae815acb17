//! Artifacts: the files that executions left.

use attune_common::{
    artifact_store::ArtifactKey,
    model::{Artifact, ExecutionId},
};
use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::executions;
use crate::{
    extract::{Segment, Segments},
    problem::{CommonProblems, Kind, NoSuchExecution, Problem, ProblemDocument},
    state::ApiState,
    views::ArtifactList,
};

pub(super) fn router() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(list_artifacts)).routes(routes!(download_artifact))
}

/// Lists the files that an execution left. There are none before it has ended.
#[utoipa::path(
    get,
    path = "/executions/{id}/artifacts",
    tag = "artifacts",
    params(("id" = String, Path, description = "id of the execution", format = Uuid)),
    responses(
        (status = 200, description = "the files", body = ArtifactList),
        NoSuchExecution,
        CommonProblems,
    ),
    security(("bearer" = [])),
)]
async fn list_artifacts(
    State(state): State<ApiState>,
    Segment(id): Segment<ExecutionId>,
) -> Result<Json<ArtifactList>, Problem> {
    let outcome = executions::find(&state, id).await?.outcome.unwrap_or_default();
    Ok(Json(ArtifactList { artifacts: outcome.artifacts.into_iter().map(Into::into).collect() }))
}

/// Downloads a file that an execution left.
///
/// Its media type is a guess about what a stranger wrote: browsers are told to save it, and not to guess again.
#[utoipa::path(
    get,
    path = "/executions/{id}/artifacts/{*path}",
    tag = "artifacts",
    params(
        ("id" = String, Path, description = "id of the execution", format = Uuid),
        ("path" = String, Path, description = "path of the file; its slashes may stay as they are"),
        ("If-None-Match" = Option<String>, Header, description = "entity tag of a copy that is there already"),
    ),
    responses(
        (
            status = 200,
            description = "the file",
            body = [u8],
            content_type = "application/octet-stream",
            headers(
                ("ETag" = String, description = "SHA-256 of the file in hexadecimal digits, in quotes"),
                ("Content-Disposition" = String, description = "the file's name, to save it under"),
            )
        ),
        (status = 304, description = "the copy that is there already is the same"),
        (
            status = 404,
            description = "there is no such execution, or it left no such file",
            body = ProblemDocument,
            content_type = "application/problem+json"
        ),
        CommonProblems,
    ),
    security(("bearer" = [])),
)]
async fn download_artifact(
    State(state): State<ApiState>,
    Segments(id, path): Segments<ExecutionId, String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let execution = executions::find(&state, id).await?;
    let artifacts = execution.outcome.unwrap_or_default().artifacts;
    // only what is listed there is whole, and a path that is listed leads nowhere else
    let artifact = artifacts.into_iter().find(|artifact| artifact.path == path).ok_or_else(|| {
        let shown: String = path.chars().take(200).collect();
        let detail = format!(
            "execution {id} left no artifact '{shown}'; the list of its artifacts shows those there are"
        );
        Problem::new(Kind::NotFound, detail)
    })?;
    let tag = format!("\"{}\"", artifact.sha256);
    if is_known(&headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response());
    }
    let key = ArtifactKey { execution: id, attempt: execution.attempt, path: &artifact.path };
    let download = state.artifacts.download(key).await.map_err(|error| {
        tracing::error!(execution = %id, %error, "cannot read an artifact");
        missing(&artifact)
    })?;
    if download.size != artifact.size {
        tracing::error!(execution = %id, path = artifact.path, size = download.size, "an artifact has changed");
        return Err(missing(&artifact));
    }
    let headers = [
        (header::CONTENT_LENGTH, artifact.size.to_string()),
        (header::CONTENT_DISPOSITION, disposition(&artifact.path)),
        (header::CONTENT_TYPE, artifact.media_type),
        (header::ETAG, tag),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
    ];
    Ok((headers, Body::from_stream(download.content)).into_response())
}

/// Whether the client has it already (RFC 9110 section 13.1.2).
fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    known
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .any(|one| one == "*" || one.trim_start_matches("W/") == tag)
}

fn missing(artifact: &Artifact) -> Problem {
    let detail = format!(
        "artifact '{}' is recorded, but the API's artifact store does not give it; artifacts.url must name the same place for the API and every worker, and the server's log tells more",
        artifact.path
    );
    Problem::new(Kind::Internal, detail)
}

/// What need not be encoded in an extended value (RFC 8187 section 3.2.1, `attr-char`).
const EXTENDED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// Tells browsers to save a file under its name (RFC 6266), written here because the libraries for it are not kept.
fn disposition(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or_default();
    // for clients that do not know the other form; what has a meaning in quotes or in a path of some system is replaced
    let plain: String = name
        .chars()
        .map(|c| if matches!(c, ' '..='~') && !matches!(c, '"' | '\\' | '%') { c } else { '_' })
        .collect();
    format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{}", utf8_percent_encode(name, EXTENDED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_in_both_forms() {
        for (path, expected) in [
            ("a/summary.csv", "attachment; filename=\"summary.csv\"; filename*=UTF-8''summary.csv"),
            (
                "größe 1%.txt",
                "attachment; filename=\"gr__e 1_.txt\"; filename*=UTF-8''gr%C3%B6%C3%9Fe%201%25.txt",
            ),
            ("a\"b\\c;'d", "attachment; filename=\"a_b_c;'d\"; filename*=UTF-8''a%22b%5Cc%3B%27d"),
        ] {
            assert_eq!(disposition(path), expected);
        }
    }

    #[test]
    fn a_copy_is_known_by_its_tag() {
        let known = |value: &'static str| {
            let headers = [(header::IF_NONE_MATCH, header::HeaderValue::from_static(value))];
            is_known(&headers.into_iter().collect(), "\"ab\"")
        };
        for (value, expected) in
            [("\"ab\"", true), ("\"x\", W/\"ab\"", true), ("*", true), ("\"abc\"", false), ("ab", false)]
        {
            assert_eq!(known(value), expected, "{value}");
        }
    }
}
