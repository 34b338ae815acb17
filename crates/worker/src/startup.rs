//! What `attune-agent` and `attune-worker` have in common once the runtimes are known: phases two and three.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, ensure};
use attune_common::{artifact_store::ArtifactStore, config, doorbell, model::WorkerKind, store};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    exposed_files,
    health::{Health, server::HealthServer},
    runtime_detect::Detection,
    service::WorkerService,
    settings::WorkerSettings,
    stop::StopSignal,
};

/// Connections of a worker to PostgreSQL, unless configured: one listens, two are for heartbeats, claims and logs.
const MAX_CONNECTIONS: u32 = 3;

/// What is logged when `RUST_LOG` does not say it.
pub const LOG_FILTER: &str = "warn,attune_worker=info";

/// Flags of both programs; they win over the configuration.
#[derive(Debug, clap::Args)]
pub struct ServiceFlags {
    /// Configuration file (YAML)
    #[arg(short, long, value_name = "FILE", env = "ATTUNE_CONFIG")]
    config: Option<PathBuf>,

    /// Name to register under; the host's name when not given
    #[arg(short, long, value_name = "NAME", env = "ATTUNE_WORKER_NAME")]
    name: Option<String>,

    /// Answer /livez, /readyz and /metrics on this address, such as 127.0.0.1:8651
    ///
    /// Port 0 is any free one; the log tells which. Without it, nothing listens.
    #[arg(long, value_name = "ADDR")]
    health_addr: Option<String>,

    /// Wait for one execution, run it, and exit: --max-executions 1
    #[arg(long, conflicts_with = "max_executions")]
    once: bool,

    /// Take this many executions, let them end, and exit with status 0, however they ended
    ///
    /// The status is 1 when an interpreter turned out not to run scripts: what was taken for it went back to the queue.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_executions: Option<u32>,

    /// Exit with status 0 when nothing ran and nothing could be taken for this time, such as 5m
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    exit_when_idle: Option<Duration>,
}

/// Loads the configuration: defaults, file, environment, flags.
///
/// # Errors
/// When a file cannot be read, a key is unknown, or a value is wrong.
pub fn load_configuration(flags: ServiceFlags) -> anyhow::Result<config::Config> {
    let mut configuration = config::Sources::process(flags.config).load()?;
    let worker = &mut configuration.worker;
    let once = flags.once.then_some(1);
    worker.name = flags.name.or(worker.name.take());
    worker.health_addr = flags.health_addr.or(worker.health_addr.take());
    worker.max_executions = once.or(flags.max_executions).or(worker.max_executions);
    worker.exit_when_idle = flags.exit_when_idle.or(worker.exit_when_idle);
    Ok(configuration)
}

/// Runs the worker service until it is told to stop by SIGTERM, SIGINT or SIGHUP, or has done what it was started for.
///
/// # Errors
/// When no runtime is usable, the store cannot be opened, or the service cannot go on.
pub async fn serve(
    configuration: &config::Config,
    kind: WorkerKind,
    detection: Detection,
) -> anyhow::Result<()> {
    ensure!(
        !detection.runtimes.is_empty(),
        "no runtime is usable here, so there is nothing this worker could run: 'attune-agent --detect-only' says why"
    );
    for runtime in &detection.runtimes {
        for interpreter in &runtime.interpreters {
            let version = interpreter.version.as_ref().map(tracing::field::display);
            tracing::info!(runtime = runtime.name, path = %interpreter.path.display(), version, "found");
        }
    }
    adopt_orphans()?;
    let stop = StopSignal::on_signals()?;
    let settings = WorkerSettings::from_config(&configuration.worker, kind)?;
    exposed_files::warn(&configuration.secret_files, settings.execution.confinement.run_as);
    let artifacts = ArtifactStore::open(&configuration.artifacts)?;
    let health = Health::default();
    // first of all, so that probes see a worker that waits for its database; aborted when this function returns
    let _probes = match &configuration.worker.health_addr {
        Some(address) => {
            let server = HealthServer::bind(address).await?;
            tracing::info!(address = %server.address(), "answering probes");
            Some(AbortOnDropHandle::new(tokio::spawn(server.serve(health.clone()))))
        }
        None => None,
    };
    let client = configuration.database.client(kind.program(), MAX_CONNECTIONS);
    let backend = store::open(configuration.database_url()?, &client).await?;
    let doorbell = doorbell::open(&backend, configuration)?;
    WorkerService::new(backend.store(), doorbell, artifacts, settings, detection, health).run(stop).await
}

/// Makes this process the parent of what a supervisor that was killed leaves behind, so that it can be found
/// (`PR_SET_CHILD_SUBREAPER`).
///
/// # Errors
/// When the kernel refuses.
pub fn adopt_orphans() -> anyhow::Result<()> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .context("cannot become the parent of what actions leave behind")
}

/// Keeps actions, which may run under the same user, out of this process's memory and environment, where credentials are
/// (`prctl(2)`, `PR_SET_DUMPABLE`). It leaves no core file either.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn make_unreadable() -> anyhow::Result<()> {
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
        .context("cannot make this process unreadable to the actions that it runs")
}

/// Prints an error as one line on standard error.
pub fn report_error(program: &str, error: &anyhow::Error) {
    use std::io::Write;
    // nothing sensible is left to do when standard error is closed
    let _ = writeln!(std::io::stderr(), "{program}: {error:#}");
}
