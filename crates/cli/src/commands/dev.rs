//! `attune dev`: everything on one machine.

use std::path::PathBuf;

use attune_common::{
    pack::Archive,
    telemetry::{self, LogFormat},
};

use super::run::{self, Request};
use crate::{
    arguments::{DevArguments, Global},
    client::Client,
    dev::{Banner, Choices, LoadedPack, Services, StateDir, example_pack, next_steps},
    endpoint::STATE_DIR,
    exit::{BadInput, ExitClass},
    following::Interrupts,
    output::Output,
};

/// Address of the API when none is asked for: one to remember when serving, any free one for a single run.
const LISTEN: (&str, &str) = ("127.0.0.1:8650", "127.0.0.1:0");

/// Serves until Ctrl-C, or runs one action.
pub(super) async fn run(
    arguments: DevArguments,
    global: Global,
    output: &mut Output,
) -> anyhow::Result<ExitClass> {
    if arguments.run.is_none() && !arguments.parameters.is_empty() {
        return Err(BadInput("parameters need an action: --run REF".to_owned()).into());
    }
    let once = arguments.run.is_some();
    if once || std::env::var_os("RUST_LOG").is_some() {
        telemetry::init(LogFormat::Text, "warn");
    }
    // before anything is started, since these may be wrong
    let packs = read_packs(&arguments.packs)?;
    let mut interrupts = Interrupts::listen()?;
    let folder = global.state_dir.unwrap_or_else(|| PathBuf::from(STATE_DIR));
    let state = StateDir::take(&folder)?;
    let listen = arguments.listen.as_deref().unwrap_or(if once { LISTEN.1 } else { LISTEN.0 });
    let mut services = Services::start(&state, &Choices { listen, slots: arguments.slots }).await?;
    let outcome = live(&arguments, packs, &state, &mut services, &mut interrupts, output).await;
    if outcome.is_err() {
        services.cancel();
        // what went wrong first is what matters
        let _ = services.worker_stopped().await;
        let _ = services.stop_api().await;
    } else {
        services.stop_api().await?;
    }
    outcome
}

/// From the start of the services to the stop of the worker.
async fn live(
    arguments: &DevArguments,
    packs: Vec<(String, Archive)>,
    state: &StateDir,
    services: &mut Services,
    interrupts: &mut Interrupts,
    output: &mut Output,
) -> anyhow::Result<ExitClass> {
    let client = services.client()?;
    services.ready(&client).await?;
    let packs = push_packs(&client, packs, output).await?;
    let _announcement = state.announce(&services.endpoint_file())?;
    introduce(state, services, packs, arguments.run.is_some(), output)?;
    match &arguments.run {
        None => {
            // what the start has to say is in the introduction
            telemetry::init(LogFormat::Text, "warn,attune=info,attune_api=info,attune_worker=info");
            serve(services, interrupts, output).await
        }
        Some(action) => {
            let request = Request {
                action: action.clone(),
                parameters: arguments.parameters.clone(),
                detach: false,
                idempotency_key: None,
            };
            let class = tokio::select! {
                class = run::run(&client, output, interrupts, &request) => class?,
                error = services.ended_early() => return Err(error),
            };
            // what is left alone has no worker any more in a moment
            services.cancel();
            services.worker_stopped().await?;
            Ok(class)
        }
    }
}

/// Waits for Ctrl-C; then what runs may finish, unless it comes again.
async fn serve(
    services: &mut Services,
    interrupts: &mut Interrupts,
    output: &mut Output,
) -> anyhow::Result<ExitClass> {
    tokio::select! {
        error = services.ended_early() => return Err(error),
        () = interrupts.next() => services.drain(),
    }
    output.note("stopping: what runs may finish; Ctrl-C again cancels it");
    tokio::select! {
        stopped = services.worker_stopped() => return stopped.map(|()| ExitClass::Succeeded),
        () = interrupts.next() => services.cancel(),
    }
    output.note("cancelling what runs");
    services.worker_stopped().await?;
    Ok(ExitClass::Succeeded)
}

/// The packs to push, each with where it comes from.
fn read_packs(folders: &[PathBuf]) -> anyhow::Result<Vec<(String, Archive)>> {
    let mut packs = vec![("built in".to_owned(), example_pack()?)];
    for folder in folders {
        packs.push((folder.display().to_string(), super::pack::read(folder)?));
    }
    Ok(packs)
}

async fn push_packs(
    client: &Client,
    packs: Vec<(String, Archive)>,
    output: &mut Output,
) -> anyhow::Result<Vec<LoadedPack>> {
    let mut loaded = Vec::new();
    for (origin, archive) in packs {
        let pushed = client.push_pack(archive.bytes).await?;
        for warning in &pushed.warnings {
            output.warn(&format!("{origin}: {warning}"));
        }
        loaded.push(LoadedPack::new(pushed, origin));
    }
    Ok(loaded)
}

/// Says what is there: to people on standard error, and, where nothing else will be said, to programs.
fn introduce(
    state: &StateDir,
    services: &Services,
    packs: Vec<LoadedPack>,
    once: bool,
    output: &mut Output,
) -> anyhow::Result<()> {
    let state_dir = state.shown.display().to_string();
    let banner = Banner {
        version: env!("CARGO_PKG_VERSION"),
        state_dir: state_dir.clone(),
        api_url: services.url.as_str(),
        worker: &services.worker_name,
        slots: services.slots,
        detection: &services.detection,
        packs,
    };
    let paint = output.note_paint();
    output.note(&format!("{}\n\n", banner.render(paint)));
    if once {
        return Ok(());
    }
    // with 'cargo run', attune itself is not on the search path
    let program = std::env::args().next().unwrap_or_else(|| "attune".to_owned());
    let own_folder = Some(state_dir.as_str()).filter(|folder| *folder != STATE_DIR);
    output.note(&next_steps(&program, own_folder, paint));
    if output.is_json() { output.json(&banner) } else { Ok(()) }
}
