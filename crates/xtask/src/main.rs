//! The project's own chores: one command that checks everything, and what it needs to do so.
//!
//! Nothing here is part of Bursar. It builds with clap and the standard library alone, so that `cargo xtask` answers at
//! once on a new machine.

mod cli;
mod command;
mod console;
mod docker;
mod image;
mod json;
mod report;
mod server;
mod steps;
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
    let console = Console::new(matches!(&cli.command, Command::Test(args) if args.json));
    let done = match cli.command {
        Command::Test(args) => return steps::run_all(workspace, console, &args),
        Command::Server(args) => server::print(&workspace, &console, args.from),
        Command::Image(args) => image::run(&workspace, &console, &args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Trouble::Failed(why) | Trouble::Missing(why)) => {
            console.note(&format!("error: {why}"));
            ExitCode::FAILURE
        }
    }
}
