//! libFuzzer on one target.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{CRATE, outcome::Outcome};
use crate::{
    command::{Run, Trouble},
    console::{Console, Stopwatch},
    workspace::Workspace,
};

/// The longest input that is made, in bytes.
const LONGEST: usize = 4096;

/// The longest that one input may take, in seconds.
const PATIENCE: u32 = 10;

/// The most memory, in MiB.
const MEMORY: u32 = 2048;

/// The built targets, and where their files are.
#[derive(Debug)]
pub(super) struct Engine {
    console: Console,
    program: PathBuf,
    /// The crate's folder.
    sources: PathBuf,
    scratch: PathBuf,
}

/// Folders of one target.
pub(super) struct Place {
    /// Kept inputs.
    pub(super) corpus: PathBuf,
    /// Inputs made from what is recorded elsewhere.
    pub(super) seeds: PathBuf,
    /// What the last run found to reach new code.
    pub(super) new: PathBuf,
    folder: PathBuf,
}

/// An empty folder.
pub(super) fn empty(folder: &Path) -> Result<(), Trouble> {
    let made = match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => fs::create_dir_all(folder),
    };
    made.map_err(|error| Trouble::Failed(format!("emptying {}: {error}", folder.display())))
}

impl Engine {
    pub(super) fn new(workspace: &Workspace, console: &Console, program: PathBuf) -> Result<Self, Trouble> {
        let scratch = workspace.scratch("fuzz")?;
        Ok(Self { console: *console, program, sources: workspace.path(CRATE), scratch })
    }

    pub(super) fn place(&self, target: &str) -> Place {
        let folder = self.scratch.join(target);
        Place {
            corpus: self.sources.join("corpus").join(target),
            seeds: folder.join("seeds"),
            new: folder.join("new"),
            folder,
        }
    }

    /// The program, set up for a target.
    pub(super) fn program(&self, target: &str) -> Run {
        Run::new(&self.console, &self.program).env("BURSAR_FUZZ_TARGET", target).args([
            format!("-max_len={LONGEST}"),
            format!("-timeout={PATIENCE}"),
            format!("-rss_limit_mb={MEMORY}"),
        ])
    }

    /// Runs a target from its kept inputs and its seeds on.
    pub(super) fn run(
        &self,
        target: &str,
        span: Duration,
        inputs: Option<u64>,
        seed: u32,
    ) -> Result<Outcome, Trouble> {
        let place = self.place(target);
        empty(&place.folder)?;
        empty(&place.seeds)?;
        empty(&place.new)?;
        let log = place.folder.join("log");
        let watch = Stopwatch::start();
        let mut run = self.program(target).env("BURSAR_FUZZ_SEEDS", &place.seeds).args([
            format!("-seed={seed}"),
            format!("-max_total_time={}", span.as_secs()),
            format!("-artifact_prefix={}/", place.folder.display()),
            "-print_final_stats=1".to_owned(),
        ]);
        if let Some(most) = inputs {
            run = run.arg(format!("-runs={most}"));
        }
        let words = self.sources.join("dictionaries").join(format!("{target}.dict"));
        if words.exists() {
            run = run.arg(format!("-dict={}", words.display()));
        }
        let status = run.args([&place.new, &place.seeds, &place.corpus]).into_log(&log)?;
        let said = fs::read(&log).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let mut outcome = Outcome::read(target, &said, status.success(), watch.read());
        outcome.new = fs::read_dir(&place.new).map_or(0, Iterator::count);
        outcome.kept = fs::read_dir(&place.corpus).map_or(0, Iterator::count);
        if !outcome.held() {
            outcome.why.push_str(&format!(" (all of it: {})", log.display()));
        }
        Ok(outcome)
    }

    /// Runs a target on one input.
    pub(super) fn replay(&self, target: &str, input: &Path) -> Result<(), Trouble> {
        if !input.is_file() {
            return Err(Trouble::Failed(format!("{} is no file", input.display())));
        }
        self.program(target).env("RUST_BACKTRACE", "1").arg(input).stream()
    }
}
