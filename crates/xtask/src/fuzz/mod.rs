//! `cargo xtask fuzz`: the targets of `crates/fuzz` under libFuzzer.

mod build;
mod engine;
mod keep;
mod outcome;

use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use crate::{
    cli::FuzzArgs,
    command::Trouble,
    console::{Console, Stopwatch},
    workspace::Workspace,
};
use engine::Engine;
pub(crate) use outcome::Outcome;

/// The crate with the targets.
const CRATE: &str = "crates/fuzz";

/// What is to be run.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    /// Names; empty: all.
    pub(crate) targets: &'a [String],
    /// For how long each.
    pub(crate) seconds: u64,
    /// How many inputs each of them tries at most; `None`: as many as there is time for.
    pub(crate) inputs: Option<u64>,
    /// Where chance begins.
    pub(crate) seed: u32,
    /// How many at once; `None`: one a core.
    pub(crate) jobs: Option<u64>,
    /// What Cargo is told on top, so that dependencies are those of other steps.
    pub(crate) features: &'a [&'a str],
}

/// Runs what the command line asks for.
pub(crate) fn run(workspace: &Workspace, console: &Console, args: &FuzzArgs) -> Result<(), Trouble> {
    let FuzzArgs { target, seconds, seed, jobs, input, keep, json } = args;
    let plan =
        Plan { targets: target, seconds: *seconds, inputs: None, seed: *seed, jobs: *jobs, features: &[] };
    let targets = chosen(workspace, target)?;
    let watch = Stopwatch::start();
    let engine = Engine::new(workspace, console, build::program(workspace, console, plan.features)?)?;
    if let Some(input) = input {
        let [target] = targets.as_slice() else {
            return Err(Trouble::Failed("an input is for one target: --target NAME".to_owned()));
        };
        return engine.replay(target, input);
    }
    let outcomes = all(&engine, console, &targets, &plan)?;
    if *keep {
        for target in &targets {
            keep::keep(&engine, console, target)?;
        }
    }
    if *json {
        console.result(&outcome::json(&outcomes, *seed, watch.read()));
    }
    outcome::judge(&outcomes).map(|found| console.note(&found))
}

/// Builds the targets and runs them; for the step of `cargo xtask test`.
pub(crate) fn step(workspace: &Workspace, console: &Console, plan: &Plan<'_>) -> Result<String, Trouble> {
    let targets = chosen(workspace, plan.targets)?;
    let engine = Engine::new(workspace, console, build::program(workspace, console, plan.features)?)?;
    outcome::judge(&all(&engine, console, &targets, plan)?)
}

/// The targets there are: each has a corpus, and a test of the crate holds the two together.
fn chosen(workspace: &Workspace, asked: &[String]) -> Result<Vec<String>, Trouble> {
    let folder: PathBuf = workspace.path(CRATE).join("corpus");
    let entries = fs::read_dir(&folder)
        .map_err(|error| Trouble::Failed(format!("reading {}: {error}", folder.display())))?;
    let name = |entry: fs::DirEntry| entry.file_name().into_string().ok();
    let mut known: Vec<_> = entries.filter_map(|entry| name(entry.ok()?)).collect();
    known.sort();
    match asked.iter().find(|target| !known.contains(target)) {
        Some(unknown) => {
            Err(Trouble::Failed(format!("there is no target {unknown}; there are {}", known.join(", "))))
        }
        None if asked.is_empty() => Ok(known),
        None => Ok(asked.to_vec()),
    }
}

/// Runs the targets, a few at once. The order of the outcomes is that of the targets.
fn all(
    engine: &Engine,
    console: &Console,
    targets: &[String],
    plan: &Plan<'_>,
) -> Result<Vec<Outcome>, Trouble> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let jobs = plan.jobs.and_then(|jobs| usize::try_from(jobs).ok()).unwrap_or(cores).min(targets.len());
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some(target) = targets.get(next.fetch_add(1, Ordering::Relaxed)) {
            let outcome = engine.run(target, Duration::from_secs(plan.seconds), plan.inputs, plan.seed)?;
            console.note(&outcome.line());
            done.push(outcome);
        }
        Ok(done)
    };
    let threads = thread::scope(|scope| {
        let threads: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(thread::ScopedJoinHandle::join).collect::<Vec<_>>()
    });
    let mut outcomes = Vec::new();
    for ended in threads {
        let done = ended.map_err(|_| Trouble::Failed("a thread that ran targets broke".to_owned()))?;
        outcomes.extend(done?);
    }
    outcomes.sort_by(|a, b| a.target.cmp(&b.target));
    Ok(outcomes)
}
