//! `attune`: what people type. It talks to the Attune API, and `attune dev` is that API with a worker on one machine.

mod arguments;
mod client;
mod commands;
mod dev;
mod endpoint;
mod exit;
mod following;
mod output;
mod parameters;
mod progress;

use std::process::ExitCode;

use crate::{
    arguments::Unparsed,
    exit::ExitClass,
    output::{Format, Output},
};

fn main() -> ExitCode {
    // 'attune dev' runs actions, too
    attune_worker::role::special("attune").unwrap_or_else(work)
}

fn work() -> ExitCode {
    attune_common::tls::install_provider();
    let arguments = match arguments::parse(std::env::args_os()) {
        Ok(arguments) => arguments,
        Err(Unparsed::Help(help)) => help.exit(),
        Err(Unparsed::Fault(fault)) => {
            Output::process(Format::Text).note(&format!("attune: {fault}"));
            return ExitCode::from(ExitClass::BadInput.status());
        }
    };
    let mut output = Output::process(arguments.global.output);
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| {
            let outcome = runtime.block_on(commands::run(arguments, &mut output));
            // a thread that still reads standard input must not keep the program alive
            runtime.shutdown_background();
            outcome
        });
    let class = outcome.unwrap_or_else(|error| {
        let class = ExitClass::of(&error);
        if class != ExitClass::ReaderGone {
            output.note(&format!("attune: {}", exit::message(&error)));
        }
        class
    });
    ExitCode::from(class.status())
}
