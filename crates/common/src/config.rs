//! Configuration: defaults ← YAML file ← environment ← flags.
//!
//! [`Config`] is what programs use, [`keys::KEYS`] is the one list of what people may set (with a line of help each), and
//! [`layers`] puts the layers together. Flags are applied by the programs themselves, on the result.

pub mod keys;
pub mod layers;
mod values;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

pub use layers::{ConfigError, Sources};
use secrecy::SecretString;
use serde::Deserialize;

use crate::{requirement::Taint, store::Client, telemetry::LogFormat};

/// Everything that can be configured, checked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the truth is kept.
    pub database: Database,
    /// What wakes workers instead of the database.
    pub message_queue: MessageQueue,
    /// The HTTP control plane.
    pub api: Api,
    /// The worker service.
    pub worker: Worker,
    /// Where the files that actions leave are kept.
    pub artifacts: Artifacts,
    /// Logging.
    pub log: Log,
    /// The files from which secrets were read, such as passwords. Whoever can read them has these, too.
    #[serde(skip)]
    pub secret_files: Vec<PathBuf>,
}

/// Where the truth is kept.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// `sqlite:///path/to/file` or `postgres://user:password@host/database`. May hold a password, hence secret.
    pub url: Option<SecretString>,
    /// Most connections to PostgreSQL; how many by default depends on the program.
    #[serde(deserialize_with = "values::connections")]
    pub max_connections: Option<u32>,
    /// On SQLite, how often to look for what other processes wrote.
    #[serde(deserialize_with = "values::duration")]
    pub poll_interval: Duration,
    /// On PostgreSQL, how often to look for work of which no ring told.
    #[serde(deserialize_with = "values::duration")]
    pub sweep_interval: Duration,
}

impl Database {
    /// How a program connects that needs `usual` connections when nothing is configured.
    #[must_use]
    pub fn client(&self, name: &'static str, usual: u32) -> Client {
        Client { name, max_connections: self.max_connections.unwrap_or(usual) }
    }
}

/// What wakes workers instead of the database.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MessageQueue {
    /// `amqp://user:password@host/vhost` or `amqps://…`; without one, the database wakes workers. May hold a password, hence secret.
    pub url: Option<SecretString>,
    /// PEM file with certificate authorities to trust besides the public ones.
    pub ca_file: Option<PathBuf>,
}

/// The HTTP control plane.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Api {
    /// Address to listen on.
    pub listen: String,
    /// Bearer token that clients must present.
    pub token: Option<SecretString>,
}

/// The worker service.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Worker {
    /// Name that people see; the host's by default.
    pub name: Option<String>,
    /// How many executions run at once; the number of processors by default.
    pub slots: Option<u32>,
    /// Labels that requirements may ask for.
    pub labels: BTreeMap<String, String>,
    /// Taints: the worker takes only what tolerates all of them.
    pub taints: BTreeSet<Taint>,
    /// How often the worker tells that it lives and renews its leases.
    #[serde(deserialize_with = "values::duration")]
    pub heartbeat_interval: Duration,
    /// How long a lease lasts without renewal; as long as it takes to be lost by default ([`Worker::lease`]).
    #[serde(deserialize_with = "values::duration_or_default")]
    pub lease: Option<Duration>,
    /// How long a stopping worker lets its executions finish.
    #[serde(deserialize_with = "values::duration")]
    pub shutdown_timeout: Duration,
    /// Address on which probes are answered; none by default.
    pub health_addr: Option<String>,
    /// How many executions the worker takes before it stops; no limit by default.
    pub max_executions: Option<u32>,
    /// How long a worker that has nothing to do goes on; for ever by default.
    #[serde(deserialize_with = "values::optional_duration")]
    pub exit_when_idle: Option<Duration>,
    /// Limit of an attempt whose action sets none.
    #[serde(deserialize_with = "values::duration")]
    pub default_timeout: Duration,
    /// Time between the polite and the final signal.
    #[serde(deserialize_with = "values::duration")]
    pub kill_grace: Duration,
    /// Where packs are unpacked and language caches live.
    pub cache_dir: PathBuf,
    /// How long unpacked packs and environments stay after their last use.
    #[serde(deserialize_with = "values::duration")]
    pub environment_max_age: Duration,
    /// What environments may take on the disk, in bytes.
    pub environment_max_bytes: u64,
    /// Largest stored log of an attempt, in bytes.
    pub max_log_bytes: u64,
    /// Largest standard output from which a result is read, in bytes.
    pub max_result_bytes: u64,
    /// Most artifacts of an attempt.
    pub max_artifacts: u32,
    /// Largest artifacts of an attempt, all together, in bytes.
    pub max_artifact_bytes: u64,
    /// How long storing the artifacts of an attempt may take.
    #[serde(deserialize_with = "values::duration")]
    pub artifact_timeout: Duration,
    /// Names of environment variables that actions and installers inherit.
    pub pass_environment: Vec<String>,
    /// User that actions run as, by number: `uid` or `uid:gid`.
    pub run_as: Option<String>,
    /// Files that a process of an action may have open.
    pub limit_open_files: Option<u64>,
    /// Processes and threads that the user of actions may have.
    pub limit_processes: Option<u64>,
    /// Address space of a process of an action, in bytes.
    pub limit_address_space: Option<u64>,
    /// Runtimes of `attune-worker`: name and interpreter path.
    pub runtimes: BTreeMap<String, PathBuf>,
}

/// Where the files that actions leave are kept; the same place for the API and every worker.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Artifacts {
    /// `file:///path/to/folder` or `s3://bucket/prefix`.
    pub url: String,
    /// URL of a server that speaks S3's protocol; Amazon's own when not set.
    pub s3_endpoint: Option<String>,
    /// PEM file with certificate authorities to trust besides the public ones.
    pub s3_ca_file: Option<PathBuf>,
    /// Region of the bucket.
    pub s3_region: Option<String>,
    /// Id of the access key; with none, credentials are found as Amazon's tools find them.
    pub s3_access_key_id: Option<String>,
    /// The access key itself.
    pub s3_secret_access_key: Option<SecretString>,
}

/// Logging.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// Form of the log lines.
    pub format: LogFormat,
}

impl Worker {
    /// How long a lease lasts without renewal: unless it is configured, for three heartbeats, after which the worker is lost.
    #[must_use]
    pub fn lease(&self) -> Duration {
        self.lease.unwrap_or(self.heartbeat_interval * 3)
    }
}

impl Config {
    /// The database's URL.
    ///
    /// # Errors
    /// [`ConfigError::Missing`] when it is not set.
    pub fn database_url(&self) -> Result<&SecretString, ConfigError> {
        self.database.url.as_ref().ok_or(ConfigError::Missing {
            key: "database.url",
            variable: "ATTUNE__DATABASE__URL",
            example: "sqlite:///var/lib/attune/attune.db",
        })
    }
}

/// The known word that a misspelt one probably means.
#[must_use]
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // a third of the letters may differ: enough for slips of the hand, too little for another word altogether
    let slips = |candidate: &str| strsim::damerau_levenshtein(word, candidate);
    known
        .map(|candidate| (slips(candidate), candidate))
        .filter(|(slips, candidate)| slips * 3 <= candidate.chars().count().max(word.chars().count()))
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, candidate)| candidate)
}
