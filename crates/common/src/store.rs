//! The store: the truth about packs, executions, logs and workers.
//!
//! Every state change is one conditional statement, and every write of an attempt is fenced: it carries the
//! ([`Fence`]) execution, attempt and worker, and does nothing when they are no longer current. Times are the
//! database's, never a client's. One trait a subject; [`Store`] is all of them, and [`open`] picks the adapter by URL.

mod error;
pub mod postgres;
pub mod sqlite;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
pub use error::StoreError;
use jiff::Timestamp;
pub use postgres::PostgresStore;
use secrecy::{ExposeSecret, SecretString};
pub use sqlite::SqliteStore;

use crate::{
    model::{
        Action, ActionRef, Capabilities, EarlierAttempt, Execution, ExecutionId, ExecutionStatus, LogChunk,
        LogStream, Outcome, Pack, Parameters, Runtime, Worker, WorkerId, WorkerKind,
    },
    requirement::Requirement,
};

/// Result of every store operation.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// Most attempts that [`ExecutionStore::earlier_attempts`] tells: one that is given back again and again may have any number.
pub const MAX_EARLIER_ATTEMPTS: u32 = 100;

/// The whole store.
pub trait Store: PackStore + ExecutionStore + LeaseStore + LogStore + WorkerStore {}

impl<T: PackStore + ExecutionStore + LeaseStore + LogStore + WorkerStore> Store for T {}

/// Packs and their actions.
#[async_trait]
pub trait PackStore: Send + Sync + 'static {
    /// Stores a pack and makes its actions the current ones. Pushing the same archive again changes nothing.
    async fn push_pack(&self, pack: NewPack) -> Result<Pack>;
    /// Current version of every pack, by name.
    async fn packs(&self) -> Result<Vec<Pack>>;
    /// The archive of a digest. Archives stay as long as an execution may need them.
    async fn pack_archive(&self, digest: &str) -> Result<Option<Vec<u8>>>;
    /// Every current action, by name; those of one pack when it is given.
    async fn actions(&self, pack: Option<&str>) -> Result<Vec<Action>>;
    /// The current action of a name.
    async fn action(&self, action: &ActionRef) -> Result<Option<Action>>;
}

/// Executions as those who submit them see them.
#[async_trait]
pub trait ExecutionStore: Send + Sync + 'static {
    /// Queues an execution. With a key that was used before, the first execution is returned instead.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the action is gone.
    async fn submit(&self, new: NewExecution) -> Result<Submission>;
    /// The execution of an id.
    async fn execution(&self, id: ExecutionId) -> Result<Option<Execution>>;
    /// The attempts after which an execution went back to the queue, the newest first and at most [`MAX_EARLIER_ATTEMPTS`].
    async fn earlier_attempts(&self, id: ExecutionId) -> Result<Vec<EarlierAttempt>>;
    /// Executions, the newest first.
    async fn executions(&self, filter: &ExecutionFilter) -> Result<Vec<Execution>>;
    /// Asks for the end of an execution: a queued one is cancelled at once, a running one by its worker.
    /// One that has ended stays as it is. Returns the execution as it is now, or `None` when there is none.
    async fn request_cancel(&self, id: ExecutionId) -> Result<Option<Execution>>;
    /// The oldest of the executions that have been queued for longer than this, by requirement, and at most `each` of every one.
    /// One that went back to the queue counts from its submission.
    async fn oldest_waiting(&self, than: Duration, each: u32)
    -> Result<Vec<(Requirement, Vec<ExecutionId>)>>;
    /// Every requirement with how many executions wait for it and how many run, by text.
    async fn requirements(&self) -> Result<Vec<RequirementLoad>>;
}

/// Leases: how workers take executions, keep them and give them up.
#[async_trait]
pub trait LeaseStore: Send + Sync + 'static {
    /// Takes one given execution, if it is still queued. A worker that is cordoned, or not registered (any more), takes nothing.
    async fn claim(&self, worker: WorkerId, id: ExecutionId, lease: Duration) -> Result<Option<Execution>>;
    /// Whether a worker is given work at all: it is registered, and nobody cordoned its name. For whoever claimed and got nothing.
    async fn may_claim(&self, worker: WorkerId) -> Result<bool>;
    /// Every requirement that some execution has or had: what a worker holds against its capabilities.
    async fn known_requirements(&self) -> Result<Vec<Requirement>>;
    /// Takes the oldest queued execution with one of these requirements, as [`LeaseStore::claim`] does.
    async fn claim_next(
        &self,
        worker: WorkerId,
        of: &[Requirement],
        lease: Duration,
    ) -> Result<Option<Execution>>;
    /// Says that the worker lives and renews all its leases.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the worker is not registered (any more).
    async fn heartbeat(&self, worker: WorkerId, lease: Duration) -> Result<Heartbeat>;
    /// What the worker holds, without renewing.
    async fn held(&self, worker: WorkerId) -> Result<Vec<HeldLease>>;
    /// Records the one outcome of an execution together with the last of its log. The same outcome again changes nothing:
    /// whoever did not get the answer may ask again.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when the attempt is no longer current: nothing was written.
    async fn finish(
        &self,
        fence: Fence,
        status: ExecutionStatus,
        outcome: Outcome,
        log: Vec<NewLogChunk>,
    ) -> Result<()>;
    /// Gives a running execution back to the queue, as if this attempt had not counted, and records how the attempt ended together
    /// with the last of its log. One whose end was asked for is cancelled.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when the attempt is no longer current: nothing was written.
    async fn release(&self, fence: Fence, outcome: Outcome, log: Vec<NewLogChunk>) -> Result<()>;
    /// Takes executions away from workers whose lease has expired: back to the queue, or lost. Any number may do it at once;
    /// each execution is told to one of them.
    async fn reap(&self) -> Result<Vec<Reaped>>;
}

/// Logs of attempts.
#[async_trait]
pub trait LogStore: Send + Sync + 'static {
    /// Adds to the log of a running attempt. A position that has been written already stays as it is: whoever did not get
    /// the answer may ask again.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when the attempt is no longer current: nothing was written.
    async fn append_log(&self, fence: Fence, chunks: Vec<NewLogChunk>) -> Result<()>;
    /// The log of an attempt from a byte on, at least one chunk if there is one, else at most about `max_bytes`.
    /// The first chunk starts at exactly `from`.
    async fn read_log(
        &self,
        id: ExecutionId,
        attempt: u32,
        from: u64,
        max_bytes: u64,
    ) -> Result<Vec<LogChunk>>;
}

/// Registered workers, and the runtimes that they brought. One not heard of for three of its own heartbeats is lost.
#[async_trait]
pub trait WorkerStore: Send + Sync + 'static {
    /// Registers a worker, or again with what it offers now, and its runtimes that nobody has offered before. Lost workers of the
    /// same name are forgotten, and those of every name that have been silent for 8,640 of their heartbeats; live ones stay: their
    /// ids tell them apart.
    async fn register_worker(&self, worker: NewWorker) -> Result<()>;
    /// Says that the worker takes nothing new.
    async fn drain_worker(&self, id: WorkerId) -> Result<()>;
    /// Removes a worker that has stopped.
    async fn deregister_worker(&self, id: WorkerId) -> Result<()>;
    /// Every registered worker, by name.
    async fn workers(&self) -> Result<Vec<Worker>>;
    /// Keeps work from whoever has this name, until that is undone. A cordon that is there gets a new reason.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when no worker has the name.
    async fn cordon_worker(&self, name: &str, reason: &str) -> Result<()>;
    /// Undoes a cordon; a name without one stays as it is.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when no worker has the name, and no cordon is around it.
    async fn uncordon_worker(&self, name: &str) -> Result<()>;
    /// Every runtime that some worker has offered, by name.
    async fn runtimes(&self) -> Result<Vec<Runtime>>;
}

/// A pack to be stored.
#[derive(Clone, Debug)]
pub struct NewPack {
    /// Name.
    pub r#ref: String,
    /// Version.
    pub version: String,
    /// One line for people.
    pub label: String,
    /// A longer text for people.
    pub description: String,
    /// SHA-256 of the archive in hexadecimal digits.
    pub digest: String,
    /// The archive.
    pub archive: Vec<u8>,
    /// Its actions.
    pub actions: Vec<Action>,
}

/// An execution to be queued. Parameters have been resolved against the action's schema.
#[derive(Clone, Debug)]
pub struct NewExecution {
    /// What to run.
    pub action: ActionRef,
    /// Its parameters, defaults filled in.
    pub parameters: Parameters,
    /// Key that makes repeated submissions one.
    pub idempotency_key: Option<String>,
}

/// What submitting led to.
#[derive(Clone, Debug)]
pub struct Submission {
    /// The execution, new or found by its key.
    pub execution: Execution,
    /// Whether it is new.
    pub created: bool,
}

/// Which executions to list.
#[derive(Clone, Debug)]
pub struct ExecutionFilter {
    /// Only those of this action.
    pub action: Option<ActionRef>,
    /// Only those in one of these states; all when empty.
    pub statuses: Vec<ExecutionStatus>,
    /// Only those submitted before this one: the last of the page before.
    pub before: Option<ExecutionId>,
    /// At most this many.
    pub limit: u32,
}

impl Default for ExecutionFilter {
    fn default() -> Self {
        Self { action: None, statuses: Vec::new(), before: None, limit: 50 }
    }
}

/// How much is waiting for a requirement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequirementLoad {
    /// The requirement.
    pub requirement: Requirement,
    /// Executions queued for it.
    pub waiting: u64,
    /// Executions that run.
    pub running: u64,
    /// When the oldest waiting execution was submitted.
    pub oldest_waiting: Option<Timestamp>,
}

/// Names one attempt by one worker; writes that carry a stale fence do nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The execution.
    pub execution: ExecutionId,
    /// The attempt.
    pub attempt: u32,
    /// The worker that claimed it.
    pub worker: WorkerId,
}

/// A lease that a worker holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldLease {
    /// The execution.
    pub execution: ExecutionId,
    /// The attempt.
    pub attempt: u32,
    /// Whether somebody asked for its end.
    pub cancel_requested: bool,
}

/// What the store answers a worker that says that it lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// What the worker still holds.
    pub leases: Vec<HeldLease>,
    /// Whether its name is cordoned: it need not look for work.
    pub cordoned: bool,
}

/// A piece of log to be stored; offsets follow from the order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewLogChunk {
    /// Position of the first byte in the attempt's whole log.
    pub offset: u64,
    /// Where the bytes come from.
    pub stream: LogStream,
    /// The bytes.
    pub data: Vec<u8>,
}

/// What became of an execution whose lease expired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reaped {
    /// The execution.
    pub execution: ExecutionId,
    /// What it needs, to ring for it.
    pub requirement: Requirement,
    /// `queued`, `lost`, or `cancelled` when its end had been asked for.
    pub status: ExecutionStatus,
}

/// A worker to be registered.
#[derive(Clone, Debug)]
pub struct NewWorker {
    /// Id of this start.
    pub id: WorkerId,
    /// Name.
    pub name: String,
    /// Which program it is.
    pub kind: WorkerKind,
    /// Version of the program.
    pub version: String,
    /// What it can do.
    pub capabilities: Capabilities,
    /// How many executions it runs at once.
    pub slots: u32,
    /// How often it says that it lives.
    pub heartbeat_interval: Duration,
}

/// Who opens a store.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    /// Name of the program; PostgreSQL shows it in `pg_stat_activity`.
    pub name: &'static str,
    /// Most connections to PostgreSQL, the one that listens included. SQLite, which has no server, ignores it.
    pub max_connections: u32,
}

/// An opened store, before it is only a store: the doorbell depends on which one it is.
#[derive(Clone, Debug)]
pub enum Backend {
    /// One file.
    Sqlite(SqliteStore),
    /// A database server.
    Postgres(PostgresStore),
}

impl Backend {
    /// The store.
    #[must_use]
    pub fn store(&self) -> Arc<dyn Store> {
        match self {
            Self::Sqlite(store) => Arc::new(store.clone()),
            Self::Postgres(store) => Arc::new(store.clone()),
        }
    }
}

/// Opens the store of a URL, creating and migrating it as needed.
///
/// # Errors
/// [`StoreError::Url`] when the URL is not one of a known store, otherwise what opening it led to.
pub async fn open(url: &SecretString, client: &Client) -> Result<Backend> {
    const EXPECTED: &str = "sqlite:///path/to/file or postgres://user:password@host/database is expected";
    match url.expose_secret().split_once(':') {
        Some(("sqlite", _)) => Ok(Backend::Sqlite(SqliteStore::open(url.expose_secret()).await?)),
        Some(("postgres" | "postgresql", _)) => {
            Ok(Backend::Postgres(PostgresStore::open(url.expose_secret(), client).await?))
        }
        Some((scheme, _)) => Err(StoreError::Url(format!("scheme '{scheme}' is not known; {EXPECTED}"))),
        None => Err(StoreError::Url(format!("it has no scheme; {EXPECTED}"))),
    }
}
