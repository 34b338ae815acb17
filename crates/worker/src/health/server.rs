//! The HTTP server of the probes: `/livez`, `/readyz`, `/metrics`.
//!
//! Actions of the same machine can reach it, so nothing that a client does can occupy it: a connection serves one request, has
//! a few seconds for it, and when there are too many the oldest is dropped, never the newest refused.

use std::{collections::VecDeque, convert::Infallible, net::SocketAddr, time::Duration, time::Instant};

use anyhow::Context;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

use super::{Health, metrics};

/// Connections that are open at once.
const MAX_CONNECTIONS: usize = 16;

/// How long a client may take to send its request.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);

/// How long a connection may last.
const CONNECTION_LIMIT: Duration = Duration::from_secs(10);

/// Bytes of a request that are read at most.
const MAX_REQUEST_BYTES: usize = 8192;

/// Pause after an error of the system, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// A bound listener that does not answer yet.
#[derive(Debug)]
pub struct HealthServer {
    listener: TcpListener,
    address: SocketAddr,
}

impl HealthServer {
    /// Listens on `HOST:PORT`. Port 0 is any free one.
    ///
    /// # Errors
    /// When the address is none, is taken, or is refused.
    pub async fn bind(address: &str) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address).await.with_context(|| {
            format!("cannot listen for probes on '{address}' (HOST:PORT, such as 127.0.0.1:8651)")
        })?;
        let address = listener.local_addr().context("cannot tell the address of the probes")?;
        Ok(Self { listener, address })
    }

    /// The real address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until it is dropped.
    pub async fn serve(self, health: Health) {
        let mut connections: VecDeque<AbortOnDropHandle<()>> = VecDeque::with_capacity(MAX_CONNECTIONS);
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    connections.retain(|connection| !connection.is_finished());
                    if connections.len() >= MAX_CONNECTIONS {
                        connections.pop_front();
                    }
                    let connection = tokio::spawn(answer(stream, health.clone()));
                    connections.push_back(AbortOnDropHandle::new(connection));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a probe");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn answer(stream: TcpStream, health: Health) {
    let service = service_fn(|request: Request<Incoming>| {
        let response = respond(&request, &health);
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_LIMIT)
        .keep_alive(false)
        .max_buf_size(MAX_REQUEST_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(CONNECTION_LIMIT, connection).await {
        Ok(Ok(())) | Err(_) => {}
        // clients that go away or speak something else are no concern of the worker's operator
        Ok(Err(error)) => tracing::debug!(%error, "a probe ended early"),
    }
}

fn respond(request: &Request<Incoming>, health: &Health) -> Response<Full<Bytes>> {
    const TEXT: &str = "text/plain; charset=utf-8";
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refused = plain(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD are answered\n");
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    let probe = |good: &str, asked: Result<(), String>, reservations: Option<String>| match asked {
        Ok(()) => {
            let but = reservations.map_or_else(String::new, |what| format!(", but {what}"));
            plain(StatusCode::OK, TEXT, format!("{good}{but}\n"))
        }
        Err(why) => plain(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("not {good}: {why}\n")),
    };
    match request.uri().path() {
        "/livez" => probe("live", health.live(Instant::now()), None),
        "/readyz" => probe("ready", health.ready(Instant::now()), health.reservations()),
        "/metrics" => match health.metrics_text() {
            Ok(text) => plain(StatusCode::OK, metrics::MEDIA_TYPE, text),
            Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{error}\n")),
        },
        _ => plain(StatusCode::NOT_FOUND, TEXT, "there are /livez, /readyz and /metrics\n"),
    }
}

fn plain(status: StatusCode, media_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
