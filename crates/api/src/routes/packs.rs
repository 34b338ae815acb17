//! Packs.

use attune_common::{
    config::nearest,
    pack::{self, MAX_ARCHIVE_BYTES},
    store::NewPack,
};
use axum::{
    Json,
    extract::{DefaultBodyLimit, State},
    http::StatusCode,
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    extract::{ArchiveBody, Segment},
    problem::{CommonProblems, Kind, Problem, ProblemDocument},
    state::ApiState,
    views::{ActionSummary, PackDetail, PackList, PackView, PushedPack},
};

pub(super) fn router() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(push_pack))
        .layer(DefaultBodyLimit::max(MAX_ARCHIVE_BYTES))
        .routes(routes!(list_packs))
        .routes(routes!(get_pack))
}

/// Stores a pack and makes its actions the current ones.
#[utoipa::path(
    post,
    path = "/packs",
    tag = "packs",
    request_body(
        content = Vec<u8>,
        content_type = "application/zstd",
        description = "the pack's folder as a tar archive, compressed with zstd"
    ),
    responses(
        (status = 200, description = "this very archive is the current version already", body = PushedPack),
        (status = 201, description = "the pack has been stored", body = PushedPack),
        (
            status = 413,
            description = "the archive is too large",
            body = ProblemDocument,
            content_type = "application/problem+json"
        ),
        (
            status = 415,
            description = "the body is not declared to be application/zstd",
            body = ProblemDocument,
            content_type = "application/problem+json"
        ),
        (
            status = 422,
            description = "the archive is not a valid pack",
            body = ProblemDocument,
            content_type = "application/problem+json"
        ),
        CommonProblems,
    ),
    security(("bearer" = [])),
)]
async fn push_pack(
    State(state): State<ApiState>,
    ArchiveBody(archive): ArchiveBody,
) -> Result<(StatusCode, Json<PushedPack>), Problem> {
    let archive = Vec::from(archive);
    // unpacking takes a processor for a while
    let read = tokio::task::spawn_blocking(move || (pack::read_archive(&archive), archive)).await;
    let (loaded, archive) = read.map_err(|error| {
        tracing::error!(%error, "reading an archive ended early");
        Problem::new(Kind::Internal, "reading the archive failed; the server's log tells why")
    })?;
    let loaded = loaded.map_err(|error| Problem::new(Kind::InvalidPack, error.to_string()))?;
    let known = state.store.packs().await?.iter().any(|known| known.digest == loaded.digest);
    let stored = state
        .store
        .push_pack(NewPack {
            r#ref: loaded.r#ref,
            version: loaded.version,
            label: loaded.label,
            description: loaded.description,
            digest: loaded.digest,
            archive,
            actions: loaded.actions,
        })
        .await?;
    tracing::info!(pack = stored.r#ref, version = stored.version, digest = stored.digest, "pack pushed");
    let status = if known { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(PushedPack { pack: stored.into(), warnings: loaded.warnings })))
}

/// Lists the current version of every pack, by name.
#[utoipa::path(
    get,
    path = "/packs",
    tag = "packs",
    responses((status = 200, description = "the packs", body = PackList), CommonProblems),
    security(("bearer" = [])),
)]
async fn list_packs(State(state): State<ApiState>) -> Result<Json<PackList>, Problem> {
    let packs = state.store.packs().await?.into_iter().map(PackView::from).collect();
    Ok(Json(PackList { packs }))
}

/// Shows a pack with its actions.
#[utoipa::path(
    get,
    path = "/packs/{ref}",
    tag = "packs",
    params(("ref" = String, Path, description = "name of the pack", example = "examples")),
    responses(
        (status = 200, description = "the pack", body = PackDetail),
        (
            status = 404,
            description = "there is no such pack",
            body = ProblemDocument,
            content_type = "application/problem+json"
        ),
        CommonProblems,
    ),
    security(("bearer" = [])),
)]
async fn get_pack(
    State(state): State<ApiState>,
    Segment(name): Segment<String>,
) -> Result<Json<PackDetail>, Problem> {
    let packs = state.store.packs().await?;
    let near = nearest(&name, packs.iter().map(|pack| pack.r#ref.as_str()));
    let hint = match near {
        Some(near) => format!("is '{near}' meant?"),
        None => "the list of packs shows those there are".to_owned(),
    };
    let Some(pack) = packs.into_iter().find(|pack| pack.r#ref == name) else {
        return Err(Problem::new(Kind::NotFound, format!("there is no pack '{name}'; {hint}")));
    };
    let actions = state.store.actions(Some(&pack.r#ref)).await?;
    Ok(Json(PackDetail { pack: pack.into(), actions: actions.iter().map(ActionSummary::from).collect() }))
}
