//! The commands, one file each.

mod actions;
mod artifacts;
mod dev;
mod executions;
mod logs;
mod pack;
mod requirements;
mod run;
mod runtimes;
mod workers;

use attune_common::telemetry::{self, LogFormat};

use crate::{
    arguments::{Arguments, Command, Global},
    client::Client,
    endpoint::Sources,
    exit::ExitClass,
    following::Interrupts,
    output::Output,
};

/// Does what the command line says.
pub(crate) async fn run(arguments: Arguments, output: &mut Output) -> anyhow::Result<ExitClass> {
    let Arguments { global, command } = arguments;
    if !matches!(command, Command::Dev(_)) {
        telemetry::init(LogFormat::Text, "warn");
    }
    match command {
        Command::Dev(arguments) => return dev::run(arguments, global, output).await,
        Command::Run(arguments) => {
            let (client, mut interrupts) = (connect(global)?, Interrupts::listen()?);
            return run::run(&client, output, &mut interrupts, &arguments.into()).await;
        }
        Command::Logs(arguments) => logs::run(&connect(global)?, output, &arguments).await?,
        Command::Executions(command) => executions::run(&connect(global)?, output, command).await?,
        Command::Artifacts(command) => artifacts::run(&connect(global)?, output, command).await?,
        Command::Pack(command) => pack::run(&connect(global)?, output, command).await?,
        Command::Actions(command) => actions::run(&connect(global)?, output, command).await?,
        Command::Workers { command } => workers::run(&connect(global)?, output, command).await?,
        Command::Runtimes => runtimes::run(&connect(global)?, output).await?,
        Command::Requirements => requirements::run(&connect(global)?, output).await?,
    }
    Ok(ExitClass::Succeeded)
}

fn connect(global: Global) -> anyhow::Result<Client> {
    let endpoint = Sources::process(global.api_url, global.state_dir, global.insecure_http).find()?;
    Ok(Client::new(endpoint)?)
}
