//! Bursar hands out permits to call a rate-limited upstream. This is its one binary: the service, and the tools around it.

mod cli;
mod commands;
mod config;
mod exit;
mod identity;
mod logging;
mod output;
mod store;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    bursar_ledger::redis::install_crypto();
    commands::run(cli::Cli::parse())
}
