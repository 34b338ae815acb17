//! The HTTP client of a bucket: hyper with rustls.
//!
//! Not the one that `object_store` brings, reqwest: it asks the system for the certificates to trust, and the containers
//! that an agent is put into often have none. These are built in. It also leaves out HTTP/2, which S3 does not speak, and
//! half a megabyte of the static agent.

use std::{path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use http_body_util::BodyExt;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, Error, connect},
    rt::{TokioExecutor, TokioTimer},
};
use object_store::{
    ClientOptions,
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse,
        HttpResponseBody, HttpService,
    },
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

use crate::tls;

/// Limit of building up a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// Longest wait for an answer once a request is sent, the time for sending it included.
const ANSWER_LIMIT: Duration = Duration::from_mins(2);

/// After how long a silent connection is asked for a sign of life.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Makes clients that trust the public certificate authorities, and perhaps others.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    tls: Arc<ClientConfig>,
}

impl Connector {
    /// `authorities` is a PEM file with certificates to trust besides the public ones.
    pub(super) fn new(authorities: Option<&Path>) -> Result<Self, String> {
        let mut roots: RootCertStore = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
        if let Some(file) = authorities {
            let mut add = || -> Result<(), Box<dyn std::error::Error>> {
                for certificate in CertificateDer::pem_file_iter(file)? {
                    roots.add(certificate?)?;
                }
                Ok(())
            };
            add().map_err(|error| format!("artifacts.s3_ca_file {}: {error}", file.display()))?;
        }
        tls::install_provider();
        let tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Ok(Self { tls: Arc::new(tls) })
    }
}

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let mut tcp = connect::HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(CONNECT_LIMIT));
        tcp.set_keepalive(Some(KEEP_ALIVE));
        let https = HttpsConnectorBuilder::new()
            .with_tls_config((*self.tls).clone())
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(https);
        Ok(HttpClient::new(Service(client)))
    }
}

#[derive(Debug)]
struct Service(Client<HttpsConnector<connect::HttpConnector>, HttpRequestBody>);

#[async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let answer = tokio::time::timeout(ANSWER_LIMIT, self.0.request(request)).await;
        let response =
            answer.map_err(|error| HttpError::new(HttpErrorKind::Timeout, error))?.map_err(failed)?;
        let interrupted = |error| HttpError::new(HttpErrorKind::Interrupted, error);
        Ok(response.map(|body| HttpResponseBody::new(body.map_err(interrupted))))
    }
}

fn failed(error: Error) -> HttpError {
    let kind = if error.is_connect() { HttpErrorKind::Connect } else { HttpErrorKind::Request };
    HttpError::new(kind, error)
}
