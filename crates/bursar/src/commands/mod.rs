//! The commands, a file each.

pub(crate) mod acquire;
pub(crate) mod bench;
pub(crate) mod budgets;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod connect;
pub(crate) mod demo;
pub(crate) mod fleet;
pub(crate) mod health;
pub(crate) mod serve;
pub(crate) mod settle;
pub(crate) mod simulate;
pub(crate) mod upstream;

use std::{future::Future, process::ExitCode};

use crate::{
    cli::{Cli, Command},
    exit::{Failure, Outcome},
    output,
};

/// Runs a command and says how it ended.
pub(crate) fn run(cli: Cli) -> ExitCode {
    let outcome = match cli.command {
        Command::Serve(args) => asynchronous(serve::run(args)),
        Command::Check(args) => check::run(&args),
        Command::Acquire(args) => asynchronous(acquire::run(args)),
        Command::Settle(args) => asynchronous(settle::run(args)),
        Command::Bench(args) => asynchronous(bench::run(args)),
        Command::Budgets(args) => asynchronous(budgets::run(args)),
        Command::Demo(args) => asynchronous(demo::run(args)),
        Command::Fleet(args) => asynchronous(fleet::run(args)),
        Command::Health(args) => health::run(&args),
        Command::Simulate(args) => simulate::run(&args),
        Command::Upstream(args) => asynchronous(upstream::run(args)),
        Command::Completions(args) => completions::run(&args),
    };
    let Err(failure) = outcome else { return ExitCode::SUCCESS };
    if let Failure::Failed(text) | Failure::Usage(text) = &failure {
        output::note(&format!("error: {text}"));
    }
    failure.code()
}

/// Runs a command on a runtime of its own.
fn asynchronous(command: impl Future<Output = Outcome>) -> Outcome {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::doing("starting", error))?
        .block_on(Box::pin(command))
}
