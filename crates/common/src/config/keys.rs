//! Every key that people may set, with its kind, its default and a line of help.

/// How the text of an environment variable becomes a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Taken as it is.
    Text,
    /// Taken as it is, and never shown.
    Secret,
    /// A whole number.
    Number,
    /// A time such as `10s` or `1h 30m`.
    Duration,
    /// Words separated by commas.
    List,
    /// `name=value` pairs separated by commas.
    Map,
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Section and name, such as `database.url`.
    pub path: &'static str,
    /// How its text is read.
    pub kind: Kind,
    /// Its default as YAML; empty where there is none.
    pub default: &'static str,
    /// What it means.
    pub about: &'static str,
}

const fn key(path: &'static str, kind: Kind, default: &'static str, about: &'static str) -> Key {
    Key { path, kind, default, about }
}

/// Every key, by section.
pub const KEYS: &[Key] = &[
    key(
        "database.url",
        Kind::Secret,
        "",
        "where the truth is kept: postgres://user:password@host/database or sqlite:///path/to/file",
    ),
    key(
        "database.max_connections",
        Kind::Number,
        "",
        "most connections to PostgreSQL, at least 2; by default 10 of the API and 3 of a worker",
    ),
    key(
        "database.poll_interval",
        Kind::Duration,
        "200ms",
        "on SQLite, how often to look for what other processes wrote",
    ),
    key(
        "database.sweep_interval",
        Kind::Duration,
        "30s",
        "on PostgreSQL, how often to look for work of which no ring told",
    ),
    key(
        "message_queue.url",
        Kind::Secret,
        "",
        "RabbitMQ, to wake workers instead of the database: amqp://user:password@host/vhost or amqps://...",
    ),
    key(
        "message_queue.ca_file",
        Kind::Text,
        "",
        "PEM file with certificate authorities that RabbitMQ may use besides the public ones",
    ),
    key("api.listen", Kind::Text, "127.0.0.1:8650", "address that the API listens on"),
    key("api.token", Kind::Secret, "", "bearer token that API clients must present"),
    key("worker.name", Kind::Text, "", "name that people see; the host's name by default"),
    key("worker.slots", Kind::Number, "", "executions run at once; the number of processors by default"),
    key("worker.labels", Kind::Map, "{}", "labels that requirements may ask for, such as gpu=nvidia"),
    key(
        "worker.taints",
        Kind::List,
        "[]",
        "take only actions that tolerate all of these, each a key or key=value, such as dedicated=ml",
    ),
    key(
        "worker.heartbeat_interval",
        Kind::Duration,
        "10s",
        "how often the worker says that it lives; after three times that in silence it is lost",
    ),
    key(
        "worker.lease",
        Kind::Duration,
        "",
        "how long an execution stays with a worker that is silent; three heartbeats by default",
    ),
    key("worker.shutdown_timeout", Kind::Duration, "5m", "how long a stopping worker lets executions finish"),
    key(
        "worker.health_addr",
        Kind::Text,
        "",
        "address that answers /livez, /readyz and /metrics, such as 127.0.0.1:8651; none by default",
    ),
    key("worker.max_executions", Kind::Number, "", "stop after taking this many executions"),
    key("worker.exit_when_idle", Kind::Duration, "", "stop after this time without anything to run"),
    key("worker.default_timeout", Kind::Duration, "10m", "limit of an attempt whose action sets none"),
    key("worker.kill_grace", Kind::Duration, "10s", "time between SIGTERM and SIGKILL"),
    key(
        "worker.cache_dir",
        Kind::Text,
        "/var/cache/attune",
        "where packs are unpacked; language caches live there too",
    ),
    key(
        "worker.environment_max_age",
        Kind::Duration,
        "30days",
        "how long unpacked packs and environments stay after their last use",
    ),
    key(
        "worker.environment_max_bytes",
        Kind::Number,
        "10737418240",
        "what environments may take on the disk, in bytes; the least recently used go first",
    ),
    key("worker.max_log_bytes", Kind::Number, "16777216", "largest stored log of an attempt, in bytes"),
    key(
        "worker.max_result_bytes",
        Kind::Number,
        "1048576",
        "largest output from which a result is read, in bytes",
    ),
    key("worker.max_artifacts", Kind::Number, "1000", "most artifacts of an attempt"),
    key(
        "worker.max_artifact_bytes",
        Kind::Number,
        "1073741824",
        "largest artifacts of an attempt, all together, in bytes",
    ),
    key(
        "worker.artifact_timeout",
        Kind::Duration,
        "10m",
        "how long storing the artifacts of an attempt may take",
    ),
    key(
        "worker.pass_environment",
        Kind::List,
        "[]",
        "environment variables that actions and installers inherit",
    ),
    key("worker.run_as", Kind::Text, "", "user that actions run as, uid or uid:gid, when started as root"),
    key("worker.limit_open_files", Kind::Number, "", "files that a process of an action may have open"),
    key(
        "worker.limit_processes",
        Kind::Number,
        "",
        "processes and threads that the user of actions may have; root has no limit",
    ),
    key("worker.limit_address_space", Kind::Number, "", "address space of a process of an action, in bytes"),
    key("worker.runtimes", Kind::Map, "{}", "runtimes of attune-worker: python=/usr/bin/python3"),
    key(
        "artifacts.url",
        Kind::Text,
        "file:///var/lib/attune/artifacts",
        "where artifacts are kept, the same for API and workers: file:///folder or s3://bucket/prefix",
    ),
    key("artifacts.s3_endpoint", Kind::Text, "", "URL of an S3-compatible server; Amazon's own by default"),
    key(
        "artifacts.s3_ca_file",
        Kind::Text,
        "",
        "PEM file with certificate authorities that the server may use besides the public ones",
    ),
    key("artifacts.s3_region", Kind::Text, "", "region of the bucket; us-east-1 by default"),
    key(
        "artifacts.s3_access_key_id",
        Kind::Text,
        "",
        "id of the access key; by default credentials are found as Amazon's tools find them",
    ),
    key("artifacts.s3_secret_access_key", Kind::Secret, "", "secret of the access key"),
    key("log.format", Kind::Text, "text", "form of the log lines: text or json"),
];

/// The key of a path.
#[must_use]
pub fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// The variable that sets a key: `database.url` is `ATTUNE__DATABASE__URL`.
#[must_use]
pub fn variable(path: &str) -> String {
    format!("ATTUNE__{}", path.to_uppercase().replace('.', "__"))
}

/// Every key for `--help`, in the form in which it shows flags.
#[must_use]
pub fn help() -> String {
    let entry = |key: &Key| {
        let default = match key.default {
            "" | "{}" | "[]" => String::new(),
            default => format!(" [default: {default}]"),
        };
        format!("  {}\n          {}{default}\n", variable(key.path), key.about)
    };
    KEYS.iter().map(entry).collect()
}
