//! The command line.

use clap::{Parser, Subcommand};

use crate::commands::{
    acquire, bench, budgets, check, completions, demo, fleet, health, serve, settle, simulate, upstream,
};

/// Many workers, one API token, one quota: Bursar hands out the permits.
///
/// A worker asks for a permit, makes its call, and settles the permit with what the upstream answered. What one worker
/// learns governs the next grant to every worker, on every replica.
#[derive(Debug, Parser)]
#[command(name = "bursar", version, propagate_version = true, after_help = EXAMPLES)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  bursar demo                                   see the main job done, in half a minute
  bursar simulate --scenario chaos              see every promise held against the truth
  bursar serve                                  serve on 127.0.0.1:7411, budgets autotask and salestim
  bursar check bursar.toml                      find what is wrong with a configuration
  bursar acquire autotask -- curl -f https://…  run a command under a permit
  bursar bench all                              measure what a permit costs, beside a floor
  bursar budgets get autotask                   see how a budget stands

Exit codes: 0 done (or granted), 1 an error, 2 wrong usage, 3 refused.";

/// What to do; each says itself what it is.
#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "one is made, once")]
#[allow(missing_docs, reason = "help shows the documentation of what each holds")]
pub(crate) enum Command {
    Serve(serve::Args),
    Check(check::Args),
    Acquire(acquire::Args),
    Settle(settle::Args),
    Budgets(budgets::Args),
    Demo(demo::Args),
    Simulate(simulate::Args),
    Upstream(upstream::Args),
    Fleet(fleet::Args),
    Bench(bench::Args),
    Health(health::Args),
    Completions(completions::Args),
}
