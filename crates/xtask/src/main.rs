//! The project's own chores: one command that checks everything, and what it needs to do so.
//!
//! Nothing here is part of Bursar. It builds with clap and the standard library alone, so that `cargo xtask` answers at
//! once on a new machine.

mod cli;
mod command;
mod console;
mod coverage;
mod docker;
mod fuzz;
mod image;
mod json;
mod mutants;
mod report;
mod scripts;
mod server;
mod steps;
mod suite;
mod tally;
mod tools;
mod workspace;

use std::process::ExitCode;

use clap::Parser as _;

use crate::{
    cli::{Cli, Command},
    command::Trouble,
    console::Console,
    workspace::Workspace,
};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let workspace = Workspace::here();
    let console = Console::new(cli.command.wants_json());
    let done = match cli.command {
        Command::Test(args) => return steps::run_all(workspace, console, &args),
        Command::Fuzz(args) => fuzz::run(&workspace, &console, &args),
        Command::Server(args) => server::print(&workspace, &console, args.from),
        Command::Image(args) => image::run(&workspace, &console, &args),
        Command::Mutants(args) => mutants::run(&workspace, &console, &args),
        Command::Coverage(args) => coverage::run(&workspace, &console, &args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Trouble::Failed(why) | Trouble::Missing(why)) => {
            console.note(&format!("error: {why}"));
            ExitCode::FAILURE
        }
    }
}
