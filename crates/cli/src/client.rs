//! The API's HTTP client: one function a request, and errors that say what to do.

mod error;
mod follow;

use std::time::Duration;

use attune_api::views::{
    ActionList, ActionView, ArtifactList, CordonWorker, ExecutionList, ExecutionView, LogPage, PackDetail,
    PackList, PushedPack, RequirementList, RuntimeList, SubmitExecution, WorkerList,
};
use attune_common::model::{ExecutionId, ExecutionStatus};
use reqwest::{RequestBuilder, Response, Url, header, redirect};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;

pub(crate) use error::ClientError;
pub(crate) use follow::Follow;

use crate::endpoint::{self, Endpoint};

/// Result of every request.
pub(crate) type Result<T> = std::result::Result<T, ClientError>;

/// Where the API's resources live.
const PREFIX: [&str; 2] = ["api", "v1"];

/// Limit of building up a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest silence while an answer is awaited. Event streams carry a comment every 15 seconds.
const READ_TIMEOUT: Duration = Duration::from_mins(1);

/// Talks to one API.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: Url,
    token: SecretString,
    hint: String,
}

/// Which executions to list.
#[derive(Debug, Default)]
pub(crate) struct ExecutionQuery<'a> {
    /// Only those of this action.
    pub(crate) action: Option<&'a str>,
    /// Only those in one of these states; all when empty.
    pub(crate) statuses: &'a [ExecutionStatus],
    /// At most this many.
    pub(crate) limit: u32,
}

impl Client {
    /// A client of an API that was found.
    pub(crate) fn new(endpoint: Endpoint) -> Result<Self> {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("attune/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            // the API redirects nothing, and nobody else shall be sent the token
            .redirect(redirect::Policy::none());
        if endpoint::is_this_machine(&endpoint.url) {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|source| ClientError::Setup(error::innermost(&source)))?;
        Ok(Self { http, base: endpoint.url, token: endpoint.token, hint: endpoint.hint })
    }

    /// Queues an execution.
    pub(crate) async fn submit(&self, request: &SubmitExecution) -> Result<ExecutionView> {
        self.json(self.http.post(self.url(&["executions"])).json(request)).await
    }

    /// Executions, the newest first.
    pub(crate) async fn executions(&self, query: &ExecutionQuery<'_>) -> Result<ExecutionList> {
        let mut url = self.url(&["executions"]);
        url.query_pairs_mut().append_pair("limit", &query.limit.to_string());
        if let Some(action) = query.action {
            url.query_pairs_mut().append_pair("action", action);
        }
        if !query.statuses.is_empty() {
            let names: Vec<&str> = query.statuses.iter().map(|status| status.as_str()).collect();
            url.query_pairs_mut().append_pair("status", &names.join(","));
        }
        self.json(self.http.get(url)).await
    }

    /// One execution.
    pub(crate) async fn execution(&self, id: ExecutionId) -> Result<ExecutionView> {
        self.json(self.http.get(self.url(&["executions", &id.to_string()]))).await
    }

    /// Asks for the end of an execution.
    pub(crate) async fn cancel(&self, id: ExecutionId) -> Result<ExecutionView> {
        self.json(self.http.post(self.url(&["executions", &id.to_string(), "cancel"]))).await
    }

    /// A part of an attempt's log, from a byte on.
    pub(crate) async fn log(&self, id: ExecutionId, attempt: Option<u32>, from: u64) -> Result<LogPage> {
        let mut url = self.url(&["executions", &id.to_string(), "logs"]);
        url.query_pairs_mut().append_pair("from", &from.to_string());
        if let Some(attempt) = attempt {
            url.query_pairs_mut().append_pair("attempt", &attempt.to_string());
        }
        self.json(self.http.get(url)).await
    }

    /// The events of an execution until it ends.
    pub(crate) fn follow(&self, id: ExecutionId) -> Follow {
        Follow::new(self.clone(), id)
    }

    /// The files that an execution left.
    pub(crate) async fn artifacts(&self, id: ExecutionId) -> Result<ArtifactList> {
        self.json(self.http.get(self.url(&["executions", &id.to_string(), "artifacts"]))).await
    }

    /// The content of one of them.
    pub(crate) async fn artifact(&self, id: ExecutionId, path: &str) -> Result<Download> {
        let id = id.to_string();
        let segments = ["executions", &id, "artifacts"].into_iter().chain(path.split('/'));
        let response = self.send(self.http.get(self.url(&segments.collect::<Vec<_>>()))).await?;
        Ok(Download { client: self.clone(), response })
    }

    /// Stores a pack.
    pub(crate) async fn push_pack(&self, archive: Vec<u8>) -> Result<PushedPack> {
        let request = self.http.post(self.url(&["packs"])).header(header::CONTENT_TYPE, "application/zstd");
        self.json(request.body(archive)).await
    }

    /// Every pack.
    pub(crate) async fn packs(&self) -> Result<PackList> {
        self.json(self.http.get(self.url(&["packs"]))).await
    }

    /// One pack with its actions.
    pub(crate) async fn pack(&self, name: &str) -> Result<PackDetail> {
        self.json(self.http.get(self.url(&["packs", name]))).await
    }

    /// Every action, or those of one pack.
    pub(crate) async fn actions(&self, pack: Option<&str>) -> Result<ActionList> {
        let mut url = self.url(&["actions"]);
        if let Some(pack) = pack {
            url.query_pairs_mut().append_pair("pack", pack);
        }
        self.json(self.http.get(url)).await
    }

    /// One action.
    pub(crate) async fn action(&self, name: &str) -> Result<ActionView> {
        self.json(self.http.get(self.url(&["actions", name]))).await
    }

    /// Every worker.
    pub(crate) async fn workers(&self) -> Result<WorkerList> {
        self.json(self.http.get(self.url(&["workers"]))).await
    }

    /// Keeps work from the workers of a name.
    pub(crate) async fn cordon(&self, name: &str, cordon: &CordonWorker) -> Result<WorkerList> {
        self.json(self.http.post(self.url(&["workers", name, "cordon"])).json(cordon)).await
    }

    /// Lets the workers of a name take work again.
    pub(crate) async fn uncordon(&self, name: &str) -> Result<WorkerList> {
        self.json(self.http.post(self.url(&["workers", name, "uncordon"]))).await
    }

    /// Every runtime.
    pub(crate) async fn runtimes(&self) -> Result<RuntimeList> {
        self.json(self.http.get(self.url(&["runtimes"]))).await
    }

    /// Every requirement.
    pub(crate) async fn requirements(&self) -> Result<RequirementList> {
        self.json(self.http.get(self.url(&["requirements"]))).await
    }

    fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.base.clone();
        // a base URL with a host always has path segments
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(PREFIX).extend(segments);
        }
        url
    }

    async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T> {
        let response = self.send(request).await?;
        let body = response.bytes().await.map_err(|source| self.unreachable(&source))?;
        serde_json::from_slice(&body).map_err(|source| self.unreadable(&source.to_string()))
    }

    /// Sends a request; every answer but success is an error.
    async fn send(&self, request: RequestBuilder) -> Result<Response> {
        let request = request.bearer_auth(self.token.expose_secret());
        let response = request.send().await.map_err(|source| self.unreachable(&source))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = response.bytes().await.map_err(|source| self.unreachable(&source))?;
        let Ok(problem) = serde_json::from_slice(&body) else {
            return Err(self.unreadable(&format!("it answers with status {status} and no problem document")));
        };
        Err(self.problem(problem))
    }

    fn problem(&self, problem: attune_api::problem::ProblemDocument) -> ClientError {
        match problem.status {
            401 | 403 => ClientError::Refused { url: self.base.to_string(), detail: problem.detail },
            _ => ClientError::Problem(Box::new(problem)),
        }
    }

    fn unreachable(&self, source: &reqwest::Error) -> ClientError {
        let reason = if source.is_timeout() {
            "it does not answer in time".to_owned()
        } else {
            error::innermost(source)
        };
        ClientError::Unreachable { url: self.base.to_string(), reason, hint: self.hint.clone() }
    }

    fn unreadable(&self, reason: &str) -> ClientError {
        ClientError::Unreadable { url: self.base.to_string(), reason: reason.to_owned() }
    }
}

/// A file on its way.
pub(crate) struct Download {
    client: Client,
    response: Response,
}

impl Download {
    /// The next bytes; none at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<impl AsRef<[u8]>>> {
        self.response.chunk().await.map_err(|source| self.client.unreachable(&source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(url: &str) -> Client {
        attune_common::tls::install_provider();
        let token = SecretString::from("0123456789abcdef");
        Client::new(Endpoint { url: url.parse().unwrap(), token, hint: String::new() }).unwrap()
    }

    #[test]
    fn paths_lie_below_the_base_and_names_are_escaped() {
        let url = |base: &str| client(base).url(&["actions", "a/../b?c"]).to_string();
        assert_eq!(url("http://127.0.0.1:8650"), "http://127.0.0.1:8650/api/v1/actions/a%2F..%2Fb%3Fc");
        assert_eq!(url("https://host/attune/"), "https://host/attune/api/v1/actions/a%2F..%2Fb%3Fc");
        assert_eq!(url("https://host/attune"), "https://host/attune/api/v1/actions/a%2F..%2Fb%3Fc");
    }

    #[tokio::test]
    async fn an_api_that_is_not_there_is_told_in_one_line() {
        let error = client("http://127.0.0.1:9").workers().await.unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("cannot reach the Attune API at http://127.0.0.1:9/: connection refused"),
            "{error}"
        );
    }
}
