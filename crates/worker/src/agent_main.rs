//! `attune-agent`: turns the container or host that it is dropped into into an Attune worker.
//!
//! Three phases: (1) detect the runtimes that are there, or respect the override; (2) load the configuration;
//! (3) run the worker service. `--detect-only` stops after the first and needs neither configuration nor network.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use attune_common::config::{Sources, keys};
use attune_common::model::WorkerKind;
use attune_common::telemetry::{self, LogFormat};
use attune_common::tls;
use attune_worker::health::check::{Probe, check};
use attune_worker::install::{Permitted, install, this_program};
use attune_worker::role;
use attune_worker::runtime_detect::{self, Format, Options, RUNTIMES_VARIABLE, Selection, detect, render};
use attune_worker::startup;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

// musl's own allocator has one lock for all threads: measured, 20 times slower with one thread, 30 times with four
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Turn this container or host into an Attune worker
///
/// The agent finds the interpreters that are here (shell, python, node, ruby, go, java, r, perl, and what a hints
/// file adds), registers what it can run, takes executions, and runs them as processes.
#[derive(Debug, Parser)]
#[command(
    name = "attune-agent",
    version,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true
)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,

    /// Print what was detected and what was not, and why, then exit; needs no configuration
    #[arg(long)]
    detect_only: bool,

    /// Form of the --detect-only report
    #[arg(long, value_enum, default_value_t, requires = "detect_only", value_name = "FORM")]
    format: Format,

    /// Read added or replaced runtimes from this file
    ///
    /// Without it, .attune-runtime.yaml is read from / or from /opt/attune, where one exists.
    #[arg(long, value_name = "FILE")]
    hints: Option<PathBuf>,

    /// Start even if a runtime that the override names is not here
    #[arg(long)]
    allow_missing_runtimes: bool,

    #[command(flatten)]
    service: startup::ServiceFlags,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Copy this program into a directory, from which other containers start it
    ///
    /// For init containers, also of an image without a shell: the copy appears whole or not at all, with mode 0555, and
    /// any number of them may do it at the same time. One that is there already is left alone.
    Install {
        /// Directory that gets the program attune-agent
        #[arg(value_name = "DIR")]
        directory: PathBuf,

        /// Create the directory if it is missing, with its parents
        ///
        /// In an init container a missing directory is a volume that is mounted elsewhere, therefore it is an error.
        #[arg(long)]
        create: bool,

        /// Replace a program of another processor, and accept a mount with noexec
        #[arg(long)]
        force: bool,
    },

    /// Ask the agent that runs here for its health: the probe of images without a shell or curl
    ///
    /// The exit status is 0 when it is ready, and 1 when it is not or does not answer; one line says why.
    Healthcheck {
        /// Address that the agent was given as --health-addr; that of the configuration when not given
        #[arg(long, value_name = "ADDR")]
        addr: Option<String>,

        /// Ask whether it lives, not whether it is ready
        #[arg(long)]
        live: bool,

        /// How long it may take to answer
        #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = humantime::parse_duration)]
        timeout: Duration,

        /// Configuration file (YAML), to find the address
        #[arg(short, long, value_name = "FILE", env = "ATTUNE_CONFIG")]
        config: Option<PathBuf>,
    },
}

const AFTER_HELP: &str = "\
Examples:
  attune-agent --detect-only                     see what this container can run
  attune-agent --detect-only --format json       the same, for programs
  eval \"$(attune-agent --detect-only --format env)\" && echo \"$ATTUNE_WORKER_RUNTIMES\"
  ATTUNE_WORKER_RUNTIMES=python,shell attune-agent -c /etc/attune/agent.yaml
  attune-agent install /opt/attune/agent         copy it to where other containers start it
  attune-agent --exit-when-idle 5m               work until nothing is left, then exit
  attune-agent healthcheck                       the probe of a container, without a shell

Environment:
  ATTUNE_WORKER_RUNTIMES  offer only these runtimes, as in python,shell (or aliases: py, bash)
  RUST_LOG                what to log to standard error; attune_worker=debug tells most

Hints file:
  runtimes:
    - name: lua                      # a new runtime, or a built-in one to replace
      interpreter: lua5.4            # an absolute path, or a name to look up
      version_command: lua5.4 -v     # or version: \"5.4.6\", which runs nothing
      file_extension: lua
      args: []                       # between interpreter and script

Exit status:
  0  done, also when told to stop; with --detect-only, at least one runtime is usable
  1  failed: a wrong hints file, an unknown runtime in ATTUNE_WORKER_RUNTIMES, not healthy, ...
  2  wrong usage
  3  with --detect-only: no runtime is usable";

fn main() -> ExitCode {
    role::special("attune-agent").unwrap_or_else(work)
}

#[tokio::main]
async fn work() -> ExitCode {
    let help = format!(
        "{AFTER_HELP}\n\nConfiguration (with _FILE added, the value is read from that file):\n{}",
        keys::help()
    );
    let matches = Args::command().after_long_help(help).get_matches();
    let args = Args::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    tls::install_provider();
    match run(args).await {
        Ok(code) => code,
        Err(error) => {
            startup::report_error("attune-agent", &error);
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Some(Command::Install { directory, create, force }) => {
            // before this process makes itself unreadable: after that, only root could read its program
            let permitted = Permitted { create, force };
            print(&format!("{}\n", install(&mut this_program()?, &directory, permitted)?))?;
            return Ok(ExitCode::SUCCESS);
        }
        Some(Command::Healthcheck { addr, live, timeout, config }) => {
            let address = match addr {
                Some(address) => address,
                None => health_address(config)?,
            };
            let probe = if live { Probe::Live } else { Probe::Ready };
            print(&format!("{}\n", check(&address, probe, timeout).await?))?;
            return Ok(ExitCode::SUCCESS);
        }
        None => {}
    }
    if args.detect_only {
        telemetry::init(LogFormat::Text, startup::LOG_FILTER);
    }
    let detection = detect(&detection_options(&args)?).await?;
    if args.detect_only {
        print(&render(&detection, args.format))?;
        return Ok(ExitCode::from(detection.exit_code()));
    }
    let configuration = startup::load_configuration(args.service)?;
    telemetry::init(configuration.log.format, startup::LOG_FILTER);
    startup::serve(&configuration, WorkerKind::Agent, detection).await?;
    Ok(ExitCode::SUCCESS)
}

fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .context("cannot write the report to standard output")
}

/// Where the agent of this configuration answers probes.
fn health_address(file: Option<PathBuf>) -> anyhow::Result<String> {
    let address = Sources::process(file).load()?.worker.health_addr;
    address.with_context(|| {
        format!(
            "worker.health_addr is not set, so nothing answers probes: set {}, for instance to 127.0.0.1:8651, \
             for the agent and here",
            keys::variable("worker.health_addr")
        )
    })
}

/// The search that flags and environment ask for.
fn detection_options(args: &Args) -> anyhow::Result<Options> {
    let only = match std::env::var(RUNTIMES_VARIABLE) {
        Ok(list) => Selection::parse(&list, RUNTIMES_VARIABLE),
        Err(std::env::VarError::NotPresent) => None,
        Err(error) => return Err(error).context(RUNTIMES_VARIABLE),
    };
    Ok(runtime_detect::Options {
        hints: args.hints.clone(),
        only,
        allow_missing: args.allow_missing_runtimes,
        ..Options::from_env()
    })
}
