//! A store, packs written on the spot, and worker services in this process.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use attune_common::{
    artifact_store::ArtifactStore,
    config::Sources,
    doorbell::{Doorbell, LocalDoorbell, Ring},
    model::{Execution, ExecutionId, ExecutionStatus, Parameters, WorkerKind},
    pack,
    store::{NewExecution, NewPack, SqliteStore, Store},
};
use attune_worker::{
    health::Health,
    process::Supervisors,
    runtime_detect::{self, Detection},
    service::WorkerService,
    settings::WorkerSettings,
    stop::{StopHandle, StopSignal},
    supervisor::SupervisorProgram,
};
use sqlx::{Connection, SqliteConnection};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::{binaries, waiting};

/// One machine: a store and a doorbell, on which workers can be started.
pub struct Machine {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The doorbell.
    pub doorbell: Arc<dyn Doorbell>,
    folder: TempDir,
}

/// A running worker.
pub struct RunningWorker {
    /// Stops it.
    pub stop: StopHandle,
    /// Its health.
    pub health: Health,
    task: JoinHandle<anyhow::Result<()>>,
}

impl RunningWorker {
    /// Tells it to stop when what runs has ended, and waits for that.
    pub async fn drain(self) {
        self.stop.drain();
        self.stopped().await;
    }

    /// Waits until it has stopped in order.
    pub async fn stopped(self) {
        self.ended().await.expect("it stopped in order");
    }

    /// Waits until it has stopped.
    pub async fn ended(self) -> anyhow::Result<()> {
        self.task.await.expect("it did not panic")
    }
}

impl Machine {
    /// A machine with nothing on it.
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = SqliteStore::open(&url(folder.path())).await.expect("a store");
        let doorbell = Arc::new(LocalDoorbell::new(Duration::from_millis(50)));
        Self { store: Arc::new(store), doorbell, folder }
    }

    /// URL of the store, for other processes and connections.
    #[must_use]
    pub fn url(&self) -> String {
        url(self.folder.path())
    }

    /// Pushes a pack `test` of these actions: each a name, the rest of its manifest, and a script.
    pub async fn push(&self, actions: &[(&str, &str, &str)]) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        write_pack(folder.path(), actions);
        self.push_folder(folder.path()).await;
    }

    /// Pushes a pack that lies in a folder.
    pub async fn push_folder(&self, folder: &Path) {
        let (archive, loaded) = pack::read_folder(folder).expect("a good pack");
        let new = NewPack {
            r#ref: loaded.r#ref,
            version: loaded.version,
            label: loaded.label,
            description: loaded.description,
            digest: archive.digest,
            archive: archive.bytes,
            actions: loaded.actions,
        };
        self.store.push_pack(new).await.expect("it is stored");
    }

    /// Submits `test.NAME` and rings.
    pub async fn submit(&self, name: &str, parameters: serde_json::Value) -> ExecutionId {
        self.submit_action(&format!("test.{name}"), parameters).await
    }

    /// Submits an action by its whole name and rings.
    pub async fn submit_action(&self, action: &str, parameters: serde_json::Value) -> ExecutionId {
        let execution = self.submit_silently(action, parameters).await;
        let ring = Ring::Queued { execution: execution.id, requirement: execution.requirement };
        self.doorbell.ring(&ring).await.expect("it rings");
        execution.id
    }

    /// Submits an action by its whole name, and is gone before it has rung.
    pub async fn submit_silently(&self, action: &str, parameters: serde_json::Value) -> Execution {
        let action = action.parse().expect("a ref");
        let known = self.store.action(&action).await.expect("it answers").expect("it was pushed");
        let given: serde_json::Map<_, _> = serde_json::from_value(parameters).expect("an object");
        let parameters: Parameters = known.parameters.resolve(given).expect("good parameters");
        let new = NewExecution { action, parameters, idempotency_key: None };
        self.store.submit(new).await.expect("it is queued").execution
    }

    /// Asks for the end of an execution and rings.
    pub async fn cancel(&self, id: ExecutionId) {
        self.store.request_cancel(id).await.expect("it answers");
        self.doorbell.ring(&Ring::CancelRequested { execution: id }).await.expect("it rings");
    }

    /// Settings with short times, and a cache in the machine's folder.
    #[must_use]
    pub fn settings(&self) -> WorkerSettings {
        let mut config = Sources::default().load().expect("the defaults are good").worker;
        config.cache_dir = self.folder.path().join("cache");
        config.slots = Some(2);
        config.heartbeat_interval = Duration::from_millis(100);
        // on a busy machine three of these heartbeats may be late
        config.lease = Some(Duration::from_secs(30));
        // on a busy machine an action takes its time to hear that it is to end
        config.kill_grace = Duration::from_secs(5);
        let mut settings =
            WorkerSettings::from_config(&config, WorkerKind::Agent).expect("they fit together");
        // this process is a test, which does not know how to supervise
        settings.execution.supervisors =
            Supervisors::new(SupervisorProgram::at(binaries::path("attune-agent")));
        settings
    }

    /// Where its artifacts are.
    #[must_use]
    pub fn artifacts(&self) -> ArtifactStore {
        let mut config = Sources::default().load().expect("the defaults are good").artifacts;
        config.url = format!("file://{}", self.artifacts_folder().display());
        ArtifactStore::open(&config).expect("a good URL")
    }

    /// The folder of its artifacts.
    #[must_use]
    pub fn artifacts_folder(&self) -> PathBuf {
        self.folder.path().join("artifacts")
    }

    /// Starts a worker that has `/bin/sh` and nothing else.
    pub async fn start(&self, settings: WorkerSettings) -> RunningWorker {
        self.start_with(settings, shell().await)
    }

    /// Starts a worker that has these runtimes.
    #[must_use]
    pub fn start_with(&self, settings: WorkerSettings, detection: Detection) -> RunningWorker {
        self.start_all(settings, detection, self.artifacts())
    }

    /// Starts a worker that has a shell and keeps artifacts elsewhere.
    pub async fn start_keeping(&self, settings: WorkerSettings, artifacts: ArtifactStore) -> RunningWorker {
        self.start_all(settings, shell().await, artifacts)
    }

    fn start_all(
        &self,
        settings: WorkerSettings,
        detection: Detection,
        artifacts: ArtifactStore,
    ) -> RunningWorker {
        let (stop, signal) = StopSignal::manual();
        let (store, doorbell, health) = (self.store.clone(), self.doorbell.clone(), Health::default());
        let service = WorkerService::new(store, doorbell, artifacts, settings, detection, health.clone());
        RunningWorker { stop, health, task: tokio::spawn(service.run(signal)) }
    }

    /// Waits until an execution is as it should be.
    pub async fn wait(&self, id: ExecutionId, what: &str, holds: impl Fn(&Execution) -> bool) -> Execution {
        let look = async || {
            let execution = self.store.execution(id).await.expect("it answers").expect("it exists");
            holds(&execution).then_some(execution)
        };
        waiting::found(&format!("{what} of {id}"), look).await
    }

    /// Waits until an execution has ended.
    pub async fn ended(&self, id: ExecutionId) -> Execution {
        self.wait(id, "its end", |execution| execution.status.is_final()).await
    }

    /// Submits `test.NAME` so many times, and tells how long it took until all have ended.
    pub async fn run_all(&self, name: &str, count: usize) -> Duration {
        let start = Instant::now();
        let mut ids = Vec::with_capacity(count);
        for _ in 0..count {
            ids.push(self.submit(name, serde_json::json!({})).await);
        }
        for id in ids {
            self.ended(id).await;
        }
        start.elapsed()
    }

    /// Waits until the log of an attempt contains a text.
    pub async fn logged(&self, id: ExecutionId, attempt: u32, text: &str) {
        let look = async || self.log(id, attempt).await.contains(text).then_some(());
        waiting::found(&format!("'{text}' in the log of {id}"), look).await;
    }

    /// The whole log of an attempt, as text.
    pub async fn log(&self, id: ExecutionId, attempt: u32) -> String {
        String::from_utf8_lossy(&self.log_bytes(id, attempt).await).into_owned()
    }

    /// The whole log of an attempt.
    pub async fn log_bytes(&self, id: ExecutionId, attempt: u32) -> Vec<u8> {
        let chunks = self.store.read_log(id, attempt, 0, u64::MAX).await.expect("it answers");
        chunks.into_iter().flat_map(|chunk| chunk.data).collect()
    }

    /// Runs `test.NAME`, which must succeed, and returns its result.
    pub async fn result(&self, name: &str) -> serde_json::Value {
        let ended = self.ended(self.submit(name, serde_json::json!({})).await).await;
        let log = self.log(ended.id, 1).await;
        assert_eq!(ended.status, ExecutionStatus::Succeeded, "{:?}\n{log}", ended.outcome);
        ended.outcome.expect("it has ended").result.expect("it has a result")
    }

    /// Holds the one lock that every write to the store needs, as a backup or a stuck process does, until it is closed.
    pub async fn lock_store(&self) -> SqliteConnection {
        let mut connection = SqliteConnection::connect(&self.url()).await.expect("it can be opened");
        sqlx::query("BEGIN EXCLUSIVE").execute(&mut connection).await.expect("nobody else has it");
        connection
    }

    /// Every byte of the store's files.
    #[must_use]
    pub fn stored_bytes(&self) -> Vec<u8> {
        let files = ["attune.db", "attune.db-wal"].map(|name| self.folder.path().join(name));
        // the log is gone when it has just been written back
        files.iter().flat_map(|file| std::fs::read(file).unwrap_or_default()).collect()
    }

    /// The folder in which everything of the machine lies.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What workers keep of a kind, `packs` or `environments`: the names in their cache that are visible to them.
    #[must_use]
    pub fn kept(&self, kind: &str) -> Vec<String> {
        let folder = self.folder.path().join("cache").join(kind);
        let names = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.retain(|name| !name.contains('.'));
        names.sort();
        names
    }

    /// Folders of attempts that are still there.
    #[must_use]
    pub fn leftover_workspaces(&self) -> usize {
        std::fs::read_dir(self.folder.path().join("cache/executions")).map_or(0, Iterator::count)
    }
}

fn url(folder: &Path) -> String {
    format!("sqlite://{}", folder.join("attune.db").display())
}

fn write_pack(folder: &Path, actions: &[(&str, &str, &str)]) {
    let write = |path: &str, text: &str| std::fs::write(folder.join(path), text).expect("it can be written");
    std::fs::create_dir(folder.join("actions")).expect("a folder");
    write("pack.yaml", "ref: test\nversion: 1.0.0\n");
    for (name, manifest, script) in actions {
        let runner = if manifest.contains("runner_type") { "" } else { "runner_type: shell\n" };
        write(
            &format!("actions/{name}.yaml"),
            &format!("ref: test.{name}\n{runner}entry_point: {name}.sh\n{manifest}"),
        );
        write(&format!("actions/{name}.sh"), script);
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(folder.join(format!("actions/{name}.sh")), mode).expect("it is ours");
    }
}

/// The installed interpreters of these runtimes.
pub async fn runtimes(names: &str) -> Detection {
    let only = runtime_detect::Selection::parse(names, "the test");
    let options = runtime_detect::Options { only, ..runtime_detect::Options::from_env() };
    runtime_detect::detect(&options).await.expect("they are installed: see tests/run")
}

/// One runtime with the interpreter at a path, as `attune-worker` is configured.
pub async fn configured(runtime: &str, path: impl Into<PathBuf>) -> Detection {
    let runtimes = BTreeMap::from([(runtime.to_owned(), path.into())]);
    let options = runtime_detect::Options::configured(&runtimes, "the test");
    runtime_detect::detect(&options).await.expect("it is an interpreter of that runtime")
}

async fn shell() -> Detection {
    configured("shell", "/bin/sh").await
}
