//! `bursar completions`.

use std::io::Write as _;

use clap::CommandFactory as _;

use crate::{
    cli::Cli,
    exit::{Failure, Outcome},
};

/// Print what a shell needs to complete this command line.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bursar completions bash > /etc/bash_completion.d/bursar
  bursar completions zsh > \"${fpath[1]}/_bursar\"
  bursar completions fish > ~/.config/fish/completions/bursar.fish")]
pub(crate) struct Args {
    /// Which shell.
    shell: clap_complete::Shell,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "bursar", &mut script);
    match std::io::stdout().lock().write_all(&script) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::doing("writing to standard output", error))
        }
        _ => Ok(()),
    }
}
