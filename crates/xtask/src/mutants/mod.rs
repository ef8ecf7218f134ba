//! `cargo xtask mutants`: does the suite notice when a rule of the accounting is broken?

mod record;
mod report;
mod run;
mod table;

use std::{
    collections::BTreeSet,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::{
    cli::MutantsArgs,
    command::Trouble,
    console::{Console, Stopwatch, spoken},
    scripts::Scripts,
    suite::{Suite, Verdict},
    workspace::Workspace,
};

use record::Record;
pub(crate) use report::Outcome;
use table::Mutant;

/// Where the mutants are written down.
const TABLE: &str = "crates/ledger/tests/mutants.toml";
/// Which test noticed each of them last.
const RECORD: &str = "crates/ledger/tests/mutants.killed";

/// Runs, or lists, the mutants that were asked for.
pub(crate) fn run(workspace: &Workspace, console: &Console, args: &MutantsArgs) -> Result<(), Trouble> {
    let text = read(workspace, TABLE)?;
    let all = table::read(&text).map_err(|why| Trouble::Failed(format!("{TABLE}: {why}")))?;
    let mutants = chosen(&all, &args.only)?;
    if args.list {
        for mutant in &mutants {
            console.result(&format!("{}\n    {} ({})", mutant.name, mutant.breaks, mutant.file));
        }
        console.note(&format!("{} mutants", mutants.len()));
        return Ok(());
    }
    let mut record =
        Record::read(&read(workspace, RECORD)?).map_err(|why| Trouble::Failed(format!("{RECORD}: {why}")))?;
    let scripts = Scripts::read(workspace)?;
    let watch = Stopwatch::start();
    let suite = Suite::build(workspace, console, args.histories)?;
    let suite = if args.quick { suite.quick() } else { suite };
    check_unbroken(workspace, console, &suite, &scripts)?;
    let outcomes = run_each(
        workspace,
        console,
        &Judge { suite: &suite, scripts: &scripts, record: &record },
        &mutants,
        args,
    )?;
    if args.record {
        record.take(&outcomes, |name| all.iter().any(|mutant| mutant.name == name));
        let path = workspace.path(RECORD);
        std::fs::write(&path, record.text())
            .map_err(|error| Trouble::Failed(format!("writing {}: {error}", path.display())))?;
    }
    report::show(console, &outcomes, watch.read());
    if args.json {
        console.result(&report::json(&outcomes, watch.read()));
    }
    report::judge(&outcomes)
}

fn read(workspace: &Workspace, file: &str) -> Result<String, Trouble> {
    let path = workspace.path(file);
    std::fs::read_to_string(&path)
        .map_err(|error| Trouble::Failed(format!("reading {}: {error}", path.display())))
}

/// The mutants of these names, in the table's order; all of them if none is named.
fn chosen<'a>(all: &'a [Mutant], only: &[String]) -> Result<Vec<&'a Mutant>, Trouble> {
    let known: BTreeSet<&str> = all.iter().map(|mutant| mutant.name.as_str()).collect();
    if let Some(unknown) = only.iter().find(|name| !known.contains(name.as_str())) {
        return Err(Trouble::Failed(format!("no mutant is named {unknown}; --list names them")));
    }
    Ok(all.iter().filter(|mutant| only.is_empty() || only.contains(&mutant.name)).collect())
}

/// What fails without a mutant would kill every mutant.
fn check_unbroken(
    workspace: &Workspace,
    console: &Console,
    suite: &Suite,
    scripts: &Scripts,
) -> Result<(), Trouble> {
    console.note("the suite as it is, then each mutant:");
    let folder = workspace.scratch("mutants")?.join("unbroken");
    scripts.write(&folder)?;
    let watch = Stopwatch::start();
    match suite.run(&folder, &[])? {
        Verdict::Passed => {
            console.note(&format!("the suite as it is passes, after {}", spoken(watch.read())));
            Ok(())
        }
        Verdict::Failed(by) => Err(Trouble::Failed(format!("the suite fails without any mutant: {by}"))),
    }
}

/// What each mutant is held against.
struct Judge<'a> {
    suite: &'a Suite,
    scripts: &'a Scripts,
    record: &'a Record,
}

/// Runs mutants, `args.jobs` at a time.
fn run_each(
    workspace: &Workspace,
    console: &Console,
    judge: &Judge<'_>,
    mutants: &[&Mutant],
    args: &MutantsArgs,
) -> Result<Vec<Outcome>, Trouble> {
    let scratch = workspace.scratch("mutants")?;
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let worker = |job: usize| -> Result<(), Trouble> {
        let folder = scratch.join(format!("job-{job}"));
        while let Some(mutant) = mutants.get(next.fetch_add(1, Ordering::Relaxed)) {
            let outcome = run::one(judge, mutant, &folder)?;
            let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
            done.push(outcome);
            if let Some(outcome) = done.last() {
                console.note(&format!("{:>4}/{}  {}", done.len(), mutants.len(), report::line(outcome)));
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let jobs: Vec<_> = (0..args.jobs.max(1)).map(|job| scope.spawn(move || worker(job))).collect();
        jobs.into_iter()
            .try_for_each(|job| job.join().unwrap_or_else(|_| Err(Trouble::Failed("a job broke".to_owned()))))
    })?;
    let mut outcomes = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    let place = |outcome: &Outcome| mutants.iter().position(|mutant| mutant.name == outcome.name);
    outcomes.sort_by_key(place);
    Ok(outcomes)
}
