//! A server of its own for every test.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use attune_api::{ApiState, problem::ProblemDocument};
use attune_common::{
    artifact_store::ArtifactStore,
    config::Sources,
    doorbell::{Doorbell, LocalDoorbell},
    model::{
        Capabilities, Execution, ExecutionId, ExecutionStatus, LogStream, Outcome, WorkerId, WorkerKind,
        worker::{InterpreterCapability, RuntimeCapability},
    },
    pack::archive,
    store::{Fence, NewLogChunk, NewWorker, SqliteStore, Store},
};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) const TOKEN: &str = "a-token-only-for-tests";

/// Longer than any test takes.
pub(crate) const LONG: Duration = Duration::from_mins(10);

pub(crate) struct Server {
    pub(crate) base: String,
    pub(crate) client: reqwest::Client,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) doorbell: Arc<LocalDoorbell>,
    pub(crate) artifacts: ArtifactStore,
    pub(crate) shutdown: CancellationToken,
    pub(crate) served: JoinHandle<anyhow::Result<()>>,
    dir: tempfile::TempDir,
}

impl Server {
    /// A server without packs whose workers are never lost.
    pub(crate) async fn empty() -> Self {
        Self::with_lease(LONG).await
    }

    /// A server that has the pack `demo`.
    pub(crate) async fn start() -> Self {
        let server = Self::empty().await;
        let answer = server.push(demo_files("1.0.0")).await;
        assert_eq!(answer.status(), StatusCode::CREATED);
        server
    }

    pub(crate) async fn with_lease(lease: Duration) -> Self {
        attune_common::tls::install_provider();
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", dir.path().join("attune.db").display());
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&url).await.unwrap());
        let doorbell = Arc::new(LocalDoorbell::new(LONG));
        let bell: Arc<dyn Doorbell> = doorbell.clone();
        let mut config = Sources::default().load().unwrap().artifacts;
        config.url = format!("file://{}", dir.path().join("artifacts").display());
        let artifacts = ArtifactStore::open(&config).unwrap();
        let state = ApiState::new(store.clone(), bell, artifacts.clone(), &SecretString::from(TOKEN), lease);
        let listener = attune_api::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let served = tokio::spawn(attune_api::serve(listener, state, shutdown.clone()));
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_mins(1)).build().unwrap();
        Self { base, client, store, doorbell, artifacts, shutdown, served, dir }
    }

    /// A request below `/api/v1`, with the token.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}/api/v1{path}", self.base)).bearer_auth(TOKEN)
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let answer = self.request(Method::GET, path).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        answer.json().await.unwrap()
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Response {
        self.request(Method::POST, path).json(body).send().await.unwrap()
    }

    pub(crate) async fn push(&self, files: Vec<(&str, String)>) -> Response {
        let archive = archive_of(self.dir.path(), files);
        let request = self.request(Method::POST, "/packs").header("content-type", "application/zstd");
        request.body(archive).send().await.unwrap()
    }

    /// Submits `demo.greet` and gives its id.
    pub(crate) async fn submit(&self) -> ExecutionId {
        let answer =
            self.post("/executions", &json!({"action": "demo.greet", "parameters": {"name": "Ada"}})).await;
        assert_eq!(answer.status(), StatusCode::CREATED);
        let view: Value = answer.json().await.unwrap();
        view["id"].as_str().unwrap().parse().unwrap()
    }

    pub(crate) async fn register(&self, name: &str, runtime: &str, version: &str) -> WorkerId {
        let id = WorkerId::new();
        let interpreters = vec![InterpreterCapability {
            path: format!("/usr/bin/{runtime}"),
            version: Some(version.parse().unwrap()),
        }];
        let capabilities = Capabilities {
            runtimes: vec![RuntimeCapability { name: runtime.to_owned(), interpreters }],
            labels: BTreeMap::from([("zone".to_owned(), "b".to_owned())]),
            taints: BTreeSet::new(),
            auto_detected: true,
            architecture: "x86_64".to_owned(),
            operating_system: "linux".to_owned(),
            distribution: Some("Alpine Linux v3.20".to_owned()),
            libc: Some("musl".to_owned()),
            cpus: 8,
            memory_bytes: Some(1 << 30),
        };
        let worker = NewWorker {
            id,
            name: name.to_owned(),
            kind: WorkerKind::Agent,
            version: "0.1.0".to_owned(),
            capabilities,
            slots: 2,
            heartbeat_interval: LONG,
        };
        self.store.register_worker(worker).await.unwrap();
        id
    }

    /// Claims an execution as a worker would.
    pub(crate) async fn claim(&self, worker: WorkerId, id: ExecutionId) -> (Fence, Execution) {
        let execution = self.store.claim(worker, id, LONG).await.unwrap().unwrap();
        (Fence { execution: id, attempt: execution.attempt, worker }, execution)
    }

    pub(crate) async fn log(&self, fence: Fence, offset: u64, data: &[u8]) {
        let chunk = NewLogChunk { offset, stream: LogStream::Stdout, data: data.to_vec() };
        self.store.append_log(fence, vec![chunk]).await.unwrap();
    }

    pub(crate) async fn succeed(&self, fence: Fence) {
        let outcome = Outcome {
            exit_code: Some(0),
            result: Some(json!({"greeting": "hello Ada"})),
            interpreter: Some("/usr/bin/sh".to_owned()),
            ..Outcome::default()
        };
        self.store.finish(fence, ExecutionStatus::Succeeded, outcome, Vec::new()).await.unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

pub(crate) fn archive_of(dir: &std::path::Path, files: Vec<(&str, String)>) -> Vec<u8> {
    let folder = tempfile::tempdir_in(dir).unwrap();
    for (name, content) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    archive::build(folder.path()).unwrap().bytes
}

/// A pack with one action of every sort.
pub(crate) fn demo_files(version: &str) -> Vec<(&'static str, String)> {
    [
        ("pack.yaml", format!("ref: demo\nlabel: Demo\ndescription: For tests\nversion: {version}\n")),
        (
            "actions/greet.yaml",
            "
ref: demo.greet
label: Greet
description: Says hello
runner_type: shell
entry_point: greet.sh
output_format: json
timeout: 30
max_attempts: 2
tags: [hello]
parameters:
  name: {type: string, required: true, description: whom to greet}
  times: {type: integer, minimum: 1, default: 1}
  password: {type: string, secret: true, minLength: 8, default: correct-horse}
"
            .to_owned(),
        ),
        ("actions/greet.sh", "echo '{}'\n".to_owned()),
        (
            "actions/off.yaml",
            "{ref: demo.off, enabled: false, runner_type: shell, entry_point: greet.sh}".to_owned(),
        ),
        (
            "actions/both.yaml",
            "{ref: demo.both, runner_type: group, members: [{action: demo.greet, parameters: {name: Bob}}, {action: demo.needy}]}"
                .to_owned(),
        ),
        (
            "actions/needy.yaml",
            "{ref: demo.needy, runner_type: ruby, runtime_version: '>=3.1', entry_point: greet.sh}".to_owned(),
        ),
    ]
    .into()
}

/// Hides what differs from run to run.
pub(crate) fn settings() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.set_sort_maps(true);
    settings.add_filter(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "[id]");
    settings.add_filter(r"\b[0-9a-f]{64}\b", "[digest]");
    settings.add_filter(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "[time]");
    settings.add_filter(r#""duration_seconds": [0-9.e-]+"#, r#""duration_seconds": "[seconds]""#);
    settings
}

/// Status, media type and body, for snapshots.
pub(crate) async fn shown(answer: Response) -> String {
    let status = answer.status();
    let media_type = answer.headers()["content-type"].to_str().unwrap().to_owned();
    let body: ProblemDocument = answer.json().await.unwrap();
    format!("{status}\n{media_type}\n{}", serde_json::to_string_pretty(&body).unwrap())
}
