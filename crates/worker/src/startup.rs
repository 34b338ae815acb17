//! What `attune-agent` and `attune-worker` have in common once the runtimes are known: phases two and three.

use std::{path::PathBuf, sync::Arc};

use anyhow::{Context, ensure};
use attune_common::{config, doorbell::LocalDoorbell, model::WorkerKind, store};

use crate::{runtime_detect::Detection, service::WorkerService, settings::WorkerSettings, stop::StopSignal};

/// What is logged when `RUST_LOG` does not say it.
pub const LOG_FILTER: &str = "warn,attune_worker=info";

/// Loads the configuration: defaults, file, environment, and the name given by a flag.
///
/// # Errors
/// When a file cannot be read, a key is unknown, or a value is wrong.
pub fn load_configuration(file: Option<PathBuf>, name: Option<String>) -> anyhow::Result<config::Config> {
    let mut configuration = config::Sources::process(file).load()?;
    if let Some(name) = name {
        configuration.worker.name = Some(name);
    }
    Ok(configuration)
}

/// Runs the worker service until it is told to stop by SIGTERM or SIGINT.
///
/// # Errors
/// When no runtime is usable, or the store cannot be opened.
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
            tracing::info!(runtime = runtime.name, path = %interpreter.path.display(), version, "usable");
        }
    }
    make_unreadable()?;
    let stop = StopSignal::on_signals()?;
    let settings = WorkerSettings::from_config(&configuration.worker, kind)?;
    let store = store::open(configuration.database_url()?).await?;
    let doorbell = Arc::new(LocalDoorbell::new(configuration.database.poll_interval));
    WorkerService::new(store, doorbell, settings, detection).run(stop).await
}

/// Keeps actions, which may run under the same user, out of this process's memory and environment, where credentials are
/// (`prctl(2)`, `PR_SET_DUMPABLE`). It leaves no core file either.
///
/// # Errors
/// When the kernel refuses.
pub fn make_unreadable() -> anyhow::Result<()> {
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
        .context("cannot make this process unreadable to the actions that it runs")
}

/// Prints an error as one line on standard error.
pub fn report_error(program: &str, error: &anyhow::Error) {
    use std::io::Write;
    // nothing sensible is left to do when standard error is closed
    let _ = writeln!(std::io::stderr(), "{program}: {error:#}");
}
