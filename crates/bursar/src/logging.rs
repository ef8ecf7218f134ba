//! Structured logs on standard error.

use tracing_subscriber::{Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::{
    config::{Log, LogFormat, log_targets},
    exit::Failure,
};

/// What is logged unless the configuration says otherwise.
const LEVEL: &str = "info";

/// Starts logging for the rest of the process.
pub(crate) fn start(log: &Log) -> Result<(), Failure> {
    let level = log.level.as_deref().unwrap_or(LEVEL);
    // A configuration was checked; a flag of a tool was not.
    let targets = log_targets(level)
        .map_err(|problem| Failure::Usage(format!("flag --log-level: log.level: {problem}")))?;
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let layer = match log.format {
        LogFormat::Text => lines.with_ansi(crate::output::watched()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(layer.with_filter(targets))
        .try_init()
        .map_err(|error| Failure::doing("starting the log", error))
}
