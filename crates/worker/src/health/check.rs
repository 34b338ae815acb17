//! Asks a running worker for its health: the probe of containers that have neither a shell nor curl.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, anyhow, bail, ensure};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{
    Request, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
    header::HOST,
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

/// Bytes of an answer that are read at most.
const MAX_ANSWER_BYTES: usize = 16 * 1024;

/// Which question is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Whether the worker lives.
    Live,
    /// Whether it is ready.
    Ready,
}

impl Probe {
    fn path(self) -> &'static str {
        match self {
            Self::Live => "/livez",
            Self::Ready => "/readyz",
        }
    }
}

/// Asks the worker that answers probes on `address`, and returns what it said when all is well.
///
/// # Errors
/// When it says that all is not well, says something else, or does not answer within `limit`.
pub async fn check(address: &str, probe: Probe, limit: Duration) -> anyhow::Result<String> {
    let asked = async {
        let address = reachable(address).await?;
        ask(address, probe).await
    };
    let asked = tokio::time::timeout(limit, asked).await;
    let (status, text) = asked.map_err(|_| anyhow!("{address} has not answered within {limit:?}"))??;
    let text = text.lines().next().unwrap_or_default().to_owned();
    match status {
        StatusCode::OK => Ok(text),
        StatusCode::SERVICE_UNAVAILABLE => bail!("{text}"),
        other => bail!("{address} answered {other} to {}: it is not a worker's health address", probe.path()),
    }
}

/// Where a client of this machine finds who listens on an address.
async fn reachable(address: &str) -> anyhow::Result<SocketAddr> {
    let found = tokio::net::lookup_host(address).await.ok().and_then(|mut found| found.next());
    let mut found = found.with_context(|| {
        format!("'{address}' is no address: HOST:PORT is expected, such as 127.0.0.1:8651")
    })?;
    ensure!(
        found.port() != 0,
        "'{address}' stands for any free port: give the one that the worker logged with --addr"
    );
    // who listens everywhere listens here, too
    match found.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => found.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => found.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    Ok(found)
}

async fn ask(address: SocketAddr, probe: Probe) -> anyhow::Result<(StatusCode, String)> {
    let stream = TcpStream::connect(address).await.map_err(|error| {
        anyhow!("cannot reach {address}: {error}; does the agent run, with this as its --health-addr?")
    })?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
    let request = Request::get(probe.path()).header(HOST, address.to_string()).body(Empty::<Bytes>::new())?;
    let answered = async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        anyhow::Ok((head.status, text(body).await?))
    };
    answered.await.map_err(|error: anyhow::Error| {
        // what hyper says of somebody else's protocol helps nobody, and depends on who speaks first
        tracing::debug!(%error, "no HTTP");
        anyhow!("{address} does not answer as a worker does: it is not a worker's health address")
    })
}

async fn text(body: Incoming) -> anyhow::Result<String> {
    let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await.map_err(|error| anyhow!(error))?;
    Ok(String::from_utf8_lossy(&body.to_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_listens_everywhere_is_asked_here() {
        for (listens, asked) in [
            ("127.0.0.1:8651", "127.0.0.1:8651"),
            ("0.0.0.0:8651", "127.0.0.1:8651"),
            ("[::]:8651", "[::1]:8651"),
            ("192.0.2.7:1", "192.0.2.7:1"),
        ] {
            assert_eq!(reachable(listens).await.unwrap().to_string(), asked);
        }
    }
}
