//! `attune-worker`: the worker service for hosts whose runtimes are configured by hand.
//!
//! The same service as `attune-agent`; instead of searching, it verifies the interpreters that `worker.runtimes` names, and
//! does not start when one of them does not work.

use std::process::ExitCode;

use anyhow::ensure;
use attune_common::{config::keys, model::WorkerKind, telemetry, tls};
use attune_worker::{
    role,
    runtime_detect::{Options, detect},
    startup,
};
use clap::{CommandFactory, FromArgMatches, Parser};

// musl's own allocator has one lock for all threads: measured, 20 times slower with one thread, 30 times with four
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Run Attune actions with the interpreters that the configuration names
///
/// The same service as attune-agent, for hosts on which nothing should be found by itself: every runtime of
/// worker.runtimes is verified at the start, and nothing else is offered.
#[derive(Debug, Parser)]
#[command(name = "attune-worker", version)]
struct Args {
    #[command(flatten)]
    service: startup::ServiceFlags,
}

const EXAMPLE: &str = "\
Example configuration:
  database:
    url: sqlite:///var/lib/attune/attune.db
  worker:
    slots: 4
    runtimes:
      shell: /bin/bash
      python: /opt/python3.12/bin/python3

Environment (ATTUNE__SECTION__KEY; with _FILE added, the value is read from that file):
";

fn main() -> ExitCode {
    role::special("attune-worker").unwrap_or_else(work)
}

#[tokio::main]
async fn work() -> ExitCode {
    let help = format!("{EXAMPLE}{}", keys::help());
    let matches = Args::command().after_long_help(help).get_matches();
    let args = Args::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    tls::install_provider();
    match run(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            startup::report_error("attune-worker", &error);
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> anyhow::Result<()> {
    let configuration = startup::load_configuration(args.service)?;
    telemetry::init(configuration.log.format, startup::LOG_FILTER);
    let runtimes = &configuration.worker.runtimes;
    ensure!(
        !runtimes.is_empty(),
        "worker.runtimes names no runtime: set it, for instance to {}=python=/usr/bin/python3, or use attune-agent, which finds them",
        keys::variable("worker.runtimes")
    );
    tracing::info!(runtimes = runtimes.len(), "asking the runtimes for their versions");
    let detection = detect(&Options::configured(runtimes, "worker.runtimes")).await?;
    startup::serve(&configuration, WorkerKind::Worker, detection).await
}
