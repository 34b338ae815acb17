//! Logs: structured events on standard error, so that standard output carries data only.

use std::io::IsTerminal;

use tracing::{Level, Metadata, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{FilterExt, filter_fn},
    fmt,
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One readable line an event.
    #[default]
    Text,
    /// One JSON object an event, for log collectors.
    Json,
}

/// Starts logging to standard error. `RUST_LOG` decides what is logged; without it `default_filter` does. What libraries
/// say of secrets is never logged.
///
/// Colour is used only on a terminal and when `NO_COLOR` (<https://no-color.org>) is unset.
/// A second call in one process does nothing.
pub fn init(format: LogFormat, default_filter: &str) {
    let asked_for = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default_filter));
    let filter = asked_for.and(filter_fn(may_be_shown).with_max_level_hint(LevelFilter::TRACE));
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let layer = fmt::layer().with_writer(std::io::stderr).with_ansi(colour);
    let layer = match format {
        LogFormat::Text => layer.with_target(false).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    // an error means that a subscriber is installed already (a test in the same process)
    let _ = tracing_subscriber::registry().with(layer.with_filter(filter)).try_init();
}

/// Not what shows secrets: lapin traces every frame that it sends, also the one with the password.
fn may_be_shown(metadata: &Metadata<'_>) -> bool {
    !(metadata.target().starts_with("lapin") && *metadata.level() == Level::TRACE)
}
