//! `attune-api`: the control plane as a service.

use std::{fmt::Display, io::Write, path::PathBuf, process::ExitCode};

use anyhow::Context;
use attune_api::{ApiState, BindError, token};
use attune_common::{
    artifact_store::ArtifactStore,
    config::{Config, Sources, keys},
    doorbell,
    store::{self, StoreError},
    telemetry, tls,
};
use clap::{Parser, Subcommand};
use secrecy::SecretString;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How to make a token, for people who have none.
const TOKEN_HELP: &str = "make one with '(umask 077; head -c 32 /dev/urandom | base64 > token)' and set ATTUNE__API__TOKEN_FILE=token";

/// Connections of the API to PostgreSQL, unless configured.
const MAX_CONNECTIONS: u32 = 10;

/// The Attune control plane: takes executions, shows what became of them, and looks after leases.
#[derive(Parser)]
#[command(version, after_help = after_help())]
struct Arguments {
    /// YAML file with configuration
    #[arg(short, long, env = "ATTUNE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,

    /// Address to listen on, instead of the configured one
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Print the SQL that makes the two roles in PostgreSQL; its first lines say how to use it
    DatabaseRoles,
}

fn after_help() -> String {
    format!(
        "\
First start:
  (umask 077; head -c 32 /dev/urandom | base64 > token)
  ATTUNE__API__TOKEN_FILE=token ATTUNE__DATABASE__URL=sqlite://attune.db attune-api
  # or, for workers on several machines, ATTUNE__DATABASE__URL=postgres://attune_api:...@db.example.net/attune
  curl -H \"Authorization: Bearer $(cat token)\" http://127.0.0.1:8650/api/v1/workers

The API describes itself at /openapi.json. SIGTERM and SIGINT stop it in an orderly way.
RUST_LOG sets what is logged (default: info). Logs go to standard error.

Configuration is read from the file, then from these variables (NAME_FILE reads the value from a file):
{}",
        keys::help()
    )
}

/// What ends the program, by whose turn it is.
enum Failure {
    /// The caller must change flags or configuration.
    Usage(String),
    /// Something else went wrong.
    Other(String),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(format!("{error:#}"))
    }
}

// library errors tell their cause themselves, so their chain would say it twice
fn usage(error: impl Display) -> Failure {
    Failure::Usage(error.to_string())
}

fn other(error: impl Display) -> Failure {
    Failure::Other(error.to_string())
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(Command::DatabaseRoles) = arguments.command {
        return print(store::postgres::ROLES);
    }
    let (message, status) = match run(arguments) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Usage(message)) => (message, 2),
        Err(Failure::Other(message)) => (message, 1),
    };
    #[expect(clippy::print_stderr, reason = "logging may not have started, and this is for people")]
    {
        eprintln!("attune-api: {message}");
    }
    ExitCode::from(status)
}

fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        // whoever read it has read enough
        Err(_) => ExitCode::FAILURE,
    }
}

fn run(arguments: Arguments) -> Result<(), Failure> {
    let mut config = Sources::process(arguments.config).load().map_err(usage)?;
    if let Some(listen) = arguments.listen {
        config.api.listen = listen;
    }
    telemetry::init(config.log.format, "info");
    tls::install_provider();
    let runtime = tokio::runtime::Runtime::new().context("cannot start the async runtime")?;
    runtime.block_on(serve(&config))
}

async fn serve(config: &Config) -> Result<(), Failure> {
    let token = token(config)?;
    let url = config.database_url().map_err(usage)?;
    let client = config.database.client("attune-api", MAX_CONNECTIONS);
    let backend = store::open(url, &client).await.map_err(|error| match error {
        StoreError::Url(_) => usage(error),
        error => other(error),
    })?;
    let artifacts = ArtifactStore::open(&config.artifacts).map_err(usage)?;
    let listener = attune_api::bind(&config.api.listen).await.map_err(|error| match error {
        BindError::Address(_) => usage(error),
        error => other(error),
    })?;
    let address = listener.local_addr().context("cannot tell the address listened on")?;
    let doorbell = doorbell::open(&backend, config).map_err(usage)?;
    let state = ApiState::new(backend.store(), doorbell, artifacts, token, config.worker.lease());
    let shutdown = CancellationToken::new();
    tokio::spawn(cancel_on_signal(shutdown.clone())?);
    tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "listening");
    attune_api::serve(listener, state, shutdown).await?;
    tracing::info!("stopped");
    Ok(())
}

fn token(config: &Config) -> Result<&SecretString, Failure> {
    let key = "configuration key 'api.token'";
    let token = config.api.token.as_ref().ok_or_else(|| usage(format!("{key} is not set; {TOKEN_HELP}")))?;
    token::check_token(token).map_err(|error| usage(format!("{key} will not do: {error}; {TOKEN_HELP}")))?;
    Ok(token)
}

/// Starts to listen for signals, and gives the future that waits for one.
fn cancel_on_signal(shutdown: CancellationToken) -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    Ok(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!(signal = name, "stopping");
        shutdown.cancel();
    })
}
