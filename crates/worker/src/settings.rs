//! What the worker service needs to know, with every default filled in.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, ensure};
use attune_common::{config, model::WorkerKind, requirement::Taint};

use crate::{
    confinement::{Confinement, ResourceLimits, RunAs},
    environment::variables,
    process::Supervisors,
    supervisor::SupervisorProgram,
};

/// Settings of a worker.
#[derive(Clone, Debug)]
pub struct WorkerSettings {
    /// Name that people see.
    pub name: String,
    /// Which program this is.
    pub kind: WorkerKind,
    /// How many executions run at once.
    pub slots: u32,
    /// Labels that requirements may ask for.
    pub labels: BTreeMap<String, String>,
    /// Taints: only what tolerates all of them is taken.
    pub taints: BTreeSet<Taint>,
    /// How often the worker tells that it lives.
    pub heartbeat_interval: Duration,
    /// How long a lease lasts without renewal.
    pub lease: Duration,
    /// How long a draining worker lets executions finish.
    pub shutdown_timeout: Duration,
    /// When the worker stops by itself.
    pub limits: ServiceLimits,
    /// Limits and places of executions.
    pub execution: ExecutionSettings,
}

/// When a worker stops by itself; never, where nothing is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServiceLimits {
    /// How many executions it takes.
    pub max_executions: Option<u32>,
    /// How long nothing runs and nothing can be taken.
    pub exit_when_idle: Option<Duration>,
}

/// What holds for every execution of a worker.
#[derive(Clone, Debug)]
pub struct ExecutionSettings {
    /// Limit of an attempt whose action sets none.
    pub default_timeout: Duration,
    /// Time between the polite and the final signal.
    pub kill_grace: Duration,
    /// Where packs are unpacked, executions have their folders, and language caches live.
    pub cache_dir: PathBuf,
    /// How long unpacked packs and environments stay after their last use.
    pub environment_max_age: Duration,
    /// What environments may take on the disk, in bytes.
    pub environment_max_bytes: u64,
    /// Where programs are looked for: the container's tools are on the worker's own search path.
    pub search_path: OsString,
    /// Largest stored log of an attempt, in bytes.
    pub max_log_bytes: u64,
    /// Largest standard output from which a result is read, in bytes.
    pub max_result_bytes: usize,
    /// Limits of the files that an attempt may leave.
    pub artifacts: ArtifactLimits,
    /// Names of environment variables that actions and installers inherit.
    pub pass_environment: Vec<String>,
    /// User and limits of actions.
    pub confinement: Confinement,
    /// Where what answers for their processes comes from.
    pub supervisors: Supervisors,
}

/// Limits of the files that an attempt may leave.
#[derive(Clone, Copy, Debug)]
pub struct ArtifactLimits {
    /// Most files.
    pub count: usize,
    /// Most bytes of all files together.
    pub bytes: u64,
    /// Most time for storing them.
    pub time: Duration,
}

impl WorkerSettings {
    /// Checks the configuration and fills in what depends on the machine.
    ///
    /// # Errors
    /// When values do not fit together.
    pub fn from_config(config: &config::Worker, kind: WorkerKind) -> anyhow::Result<Self> {
        let slots = match config.slots {
            Some(slots) => slots,
            None => std::thread::available_parallelism().map_or(1, |n| n.get() as u32),
        };
        ensure!(
            (1..=1024).contains(&slots),
            "worker.slots is {slots}: a number between 1 and 1024 is expected"
        );
        let lease = config.lease();
        ensure!(
            lease >= config.heartbeat_interval * 2,
            "worker.lease ({:?}) must be at least twice worker.heartbeat_interval ({:?}), or a single late heartbeat loses work",
            lease,
            config.heartbeat_interval
        );
        ensure!(
            config.max_executions != Some(0),
            "worker.max_executions is 0: a number from 1 on is expected, or none for a worker that goes on"
        );
        let cache_dir = std::path::absolute(&config.cache_dir)
            .with_context(|| format!("worker.cache_dir {} is not a path", config.cache_dir.display()))?;
        Ok(Self {
            name: config.name.clone().unwrap_or_else(host_name),
            kind,
            slots,
            labels: config.labels.clone(),
            taints: config.taints.clone(),
            heartbeat_interval: config.heartbeat_interval,
            lease,
            shutdown_timeout: config.shutdown_timeout,
            limits: ServiceLimits {
                max_executions: config.max_executions,
                exit_when_idle: config.exit_when_idle,
            },
            execution: ExecutionSettings {
                default_timeout: config.default_timeout,
                kill_grace: config.kill_grace,
                cache_dir,
                environment_max_age: config.environment_max_age,
                environment_max_bytes: config.environment_max_bytes,
                search_path: variables::inherited_path(),
                max_log_bytes: config.max_log_bytes,
                max_result_bytes: usize::try_from(config.max_result_bytes).unwrap_or(usize::MAX),
                artifacts: ArtifactLimits {
                    count: config.max_artifacts as usize,
                    bytes: config.max_artifact_bytes,
                    time: config.artifact_timeout,
                },
                pass_environment: config.pass_environment.clone(),
                confinement: confinement(config)?,
                supervisors: Supervisors::new(SupervisorProgram::this_program()),
            },
        })
    }
}

fn confinement(config: &config::Worker) -> anyhow::Result<Confinement> {
    let run_as = config.run_as.as_deref().map(str::parse::<RunAs>).transpose().context("worker.run_as")?;
    ensure!(
        run_as.is_none() || rustix::process::geteuid().is_root(),
        "worker.run_as is set, but only root can run actions as somebody else: start the worker as root, or unset it"
    );
    let limits = ResourceLimits {
        open_files: config.limit_open_files,
        processes: config.limit_processes,
        address_space: config.limit_address_space,
    };
    Ok(Confinement { run_as, limits })
}

/// The host's name, which in a container is the container's.
fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() { "worker".to_owned() } else { name }
}
