//! Puts the routes together, and serves them.

use std::{io, time::Duration};

use anyhow::Context;
use attune_common::reaper;
use axum::{
    Json, Router,
    http::{Method, Uri},
    middleware,
    routing::get,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower_http::trace::TraceLayer;
use utoipa::openapi::{
    ComponentsBuilder, InfoBuilder, OpenApi, OpenApiBuilder,
    security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
};
use utoipa_axum::router::OpenApiRouter;

use crate::{
    auth, lost_rings,
    problem::{Kind, Problem},
    routes,
    state::ApiState,
    views::{AttemptEvent, StatusEvent},
};

/// Where the resources live.
const PREFIX: &str = "/api/v1";

/// How long open connections may go on once the server is to stop.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// It is not an address.
    #[error(
        "cannot listen on '{0}': HOST:PORT is expected, such as 127.0.0.1:8650; choose one with --listen"
    )]
    Address(String),
    /// Somebody else listens there.
    #[error("cannot listen on {0}: address in use; stop what listens there or choose another with --listen")]
    InUse(String),
    /// The system refuses.
    #[error("cannot listen on {address}: {source}; choose another address with --listen")]
    Refused {
        /// The address.
        address: String,
        /// Why.
        source: io::Error,
    },
}

/// Listens on `HOST:PORT`. Port 0 is any free one.
pub async fn bind(address: &str) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|source| match source.kind() {
        io::ErrorKind::InvalidInput => BindError::Address(address.to_owned()),
        io::ErrorKind::AddrInUse => BindError::InUse(address.to_owned()),
        _ => BindError::Refused { address: address.to_owned(), source },
    })
}

/// The whole API over a state.
pub fn router(state: ApiState) -> Router {
    let (protected, _) = OpenApiRouter::new().nest(PREFIX, routes::protected()).split_for_parts();
    let (open, _) = routes::open().split_for_parts();
    let document = openapi();
    let protected = protected
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(state.clone(), auth::require_token));
    let open = open
        .route("/openapi.json", get(async move || Json(document)))
        .method_not_allowed_fallback(wrong_method);
    protected.merge(open).layer(TraceLayer::new_for_http()).with_state(state)
}

/// The API's description, made from its handlers.
#[must_use]
pub fn openapi() -> OpenApi {
    let (_, described) =
        OpenApiRouter::new().nest(PREFIX, routes::protected()).merge(routes::open()).split_for_parts();
    let info = InfoBuilder::new()
        .title("Attune")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("Submit executions of actions, and see what becomes of them."));
    // events are no answer of an operation, so the handlers do not bring them along
    let mut components = ComponentsBuilder::from(described.components.unwrap_or_default())
        .schema_from::<AttemptEvent>()
        .schema_from::<StatusEvent>()
        .build();
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("the token that api.token is set to"))
        .build();
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    let mut paths = described.paths;
    // '{*path}' is the router's way to say that a parameter may be several segments
    paths.paths = paths.paths.into_iter().map(|(path, item)| (path.replace("{*", "{"), item)).collect();
    OpenApiBuilder::new().info(info).paths(paths).components(Some(components)).build()
}

/// Serves the API, takes executions away from silent workers, and rings again where rings were lost, until `shutdown` is cancelled.
///
/// Then event streams end, requests may go on for ten seconds, and what is still open after that is dropped.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    mut state: ApiState,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    state.stopping = shutdown.child_token();
    // also when this future is dropped
    let _stop = state.stopping.clone().drop_guard();
    let stopping = state.stopping.clone();
    let reaping = reaper::run(state.store.clone(), state.doorbell.clone(), state.reap_interval());
    let reaper = tokio::spawn(stopping.clone().run_until_cancelled_owned(reaping));
    let ringing = lost_rings::run(state.store.clone(), state.doorbell.clone(), state.reap_interval());
    let ringer = tokio::spawn(stopping.clone().run_until_cancelled_owned(ringing));
    let serving =
        axum::serve(listener, router(state)).with_graceful_shutdown(stopping.clone().cancelled_owned());
    let deadline = async {
        stopping.cancelled().await;
        tokio::time::sleep(SHUTDOWN_GRACE).await;
    };
    let served = tokio::select! {
        result = serving => result.context("cannot serve the API"),
        () = deadline => {
            tracing::warn!("some requests did not end in time and are dropped");
            Ok(())
        }
    };
    stopping.cancel();
    reaper.await.context("the reaper ended early")?;
    ringer.await.context("looking for lost rings ended early")?;
    served
}

async fn unknown_path(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(200).collect();
    Problem::new(Kind::NotFound, format!("there is no '{path}'; /openapi.json describes what there is"))
}

async fn wrong_method(method: Method) -> Problem {
    let detail = format!("this path does not take {method}; /openapi.json describes what it takes");
    Problem::new(Kind::MethodNotAllowed, detail)
}
