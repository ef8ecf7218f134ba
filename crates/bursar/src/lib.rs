//! Bursar hands out permits to call a rate-limited upstream. This is its one binary: the service, and the tools around it.

mod cli;
mod commands;
mod config;
mod exit;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod identity;
mod logging;
mod output;
mod store;

use std::process::ExitCode;

use clap::Parser as _;

/// What the binary does: reads the command line, and runs what it asks for.
pub fn run() -> ExitCode {
    bursar_ledger::redis::install_crypto();
    commands::run(cli::Cli::parse())
}
