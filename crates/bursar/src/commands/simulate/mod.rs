//! `bursar simulate`.

mod all;
mod range;
mod view;

use std::{fs, ops::Range, path::PathBuf};

use bursar_sim::simulate::{
    self, Keep, Report, Seeds, SimulateError,
    plan::Sizes,
    scenario::{ScenarioInfo, scenario, scenarios},
};
use serde_json::json;

use self::view::View;
use crate::{
    exit::{Failure, Outcome},
    output,
};

/// Lines of the event log that are shown of a seed that violates an invariant.
const SHOWN: usize = 12;

/// Simulate replicas, workers and upstreams under virtual time, and tell whether any promise was broken.
///
/// Real replicas run the real scripts, in one thread whose clock stands still until nobody has anything to do. The upstreams
/// are models that know the truth; what the scripts answer is held against it, event by event, by invariants with names
/// (no_refusal, charges_equal, slots_return, ...). Workers, messages, replicas and the store fail as the scenario says. The
/// same scenario, sizes and seed give the same history, byte for byte, on every machine. What share must be used is promised of
/// 50 workers and 5 windows or more, and in chaos of what the seed makes of it: in few windows, or of few calls, one that is lost
/// weighs more.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bursar simulate --list                                     what worlds there are
  bursar simulate --all --replicas 3 --workers 50 --windows 20   all of them, as one table
  bursar simulate --scenario window                          one history, as a table
  bursar simulate --scenario chaos --seed 42 --json | jq .violations
  bursar simulate --scenario chaos --seeds 0..10000          many; the first violation ends it and is saved
  bursar simulate --scenario late --workers 10 --windows 3 --log late.log
  bursar simulate --scenario salestim --faults               the same world, and everything that can go wrong in it

Exit codes: 0 every invariant held, 1 one did not (or an error), 2 wrong usage.")]
pub(crate) struct Args {
    /// Describe the scenarios and end; with --json as {scenarios: [{name, about}]}.
    #[arg(long, conflicts_with_all = ["scenario", "seed", "seeds", "replicas", "workers", "windows", "faults", "used_least", "threads", "log"])]
    list: bool,
    /// Which world: a name that --list shows.
    #[arg(long, value_name = "NAME", default_value = "window")]
    scenario: String,
    /// Play every scenario once, and print one table: what was refused and used in each, beside what is demanded; with --json as
    /// {scenarios: [{…, demanded}]}.
    #[arg(long, conflicts_with_all = ["list", "scenario", "seeds", "log"])]
    all: bool,
    /// What everything random follows from.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Run these seeds, the last one left out, until one violates an invariant.
    #[arg(long, value_name = "A..B", value_parser = range::parse, conflicts_with = "seed")]
    seeds: Option<Range<u64>>,
    /// How many replicas, 1 to 100; without it as many as the scenario has.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=100))]
    replicas: Option<u16>,
    /// How many workers, 1 to 10,000; without it as many as the scenario has.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    workers: Option<u16>,
    /// How many windows to measure; without it as many as the scenario has.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    windows: Option<u32>,
    /// Add every sort of fault to the scenario: workers that stall, die and repeat themselves, lost, late and doubled messages,
    /// replicas that crash and are cut off, a store that is out of reach, empty and older. Then all heals.
    #[arg(long)]
    faults: bool,
    /// Demand that so much of what the upstreams would have accepted is used, in percent with two decimals at most, whatever the
    /// scenario promises: with --seeds, which seed falls below it. 12 workers or more. With --faults nothing is demanded.
    #[arg(long, value_name = "PERCENT", value_parser = range::percent)]
    used_least: Option<u16>,
    /// With --seeds or --all: how many threads; without it as many as there are processors.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Write the whole event log there. With --seeds: the log of a seed that violates an invariant; without it to
    /// bursar-<scenario>-<seed>.log.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Print one JSON object: scenario, seed, granted, accepted, refused_upstream, utilisation, jain, wait_p50_ms,
    /// wait_p99_ms, violations, virtual_seconds, events, wall_ms, and more behind these. With --seeds it is that of the
    /// seed that violates an invariant, or {scenario, seeds, ran, events, violations: []}.
    #[arg(long)]
    json: bool,
}

impl Args {
    fn sizes(&self) -> Sizes {
        Sizes {
            replicas: self.replicas,
            workers: self.workers,
            windows: self.windows,
            faults: self.faults,
            used_least: self.used_least,
        }
    }

    /// The command that runs one seed again.
    fn replay(&self, scenario: &str, seed: u64) -> String {
        let mut command = format!("bursar simulate --scenario {scenario} --seed {seed}");
        let sizes = [
            ("replicas", self.replicas.map(u32::from)),
            ("workers", self.workers.map(u32::from)),
            ("windows", self.windows),
        ];
        for (flag, size) in sizes {
            if let Some(size) = size {
                command.push_str(&format!(" --{flag} {size}"));
            }
        }
        if let Some(least) = self.used_least {
            command.push_str(&format!(" --used-least {}", f64::from(least) / 100.0));
        }
        if self.faults {
            command.push_str(" --faults");
        }
        command
    }
}

pub(crate) fn run(args: &Args) -> Outcome {
    if args.list {
        return list(args.json);
    }
    if args.threads.is_some() && args.seeds.is_none() && !args.all {
        return Err(Failure::Usage(
            "--threads: one history runs in one thread; --seeds and --all are many".to_owned(),
        ));
    }
    if args.all {
        return all::run(args);
    }
    let sizes = args.sizes();
    if scenario(&args.scenario, args.seed, &sizes).is_none() {
        let problem = format!("--scenario: there is none named {:?}; --list shows them", args.scenario);
        return Err(Failure::Usage(problem));
    }
    match &args.seeds {
        Some(range) => many(args, range.clone()),
        None => one(args),
    }
}

fn list(json: bool) -> Outcome {
    if json {
        let about = |info: &ScenarioInfo| serde_json::json!({ "name": info.name, "about": info.about });
        let all: Vec<_> = scenarios().iter().map(about).collect();
        return output::json(&serde_json::json!({ "scenarios": all }));
    }
    let rows: Vec<Vec<String>> =
        scenarios().iter().map(|info| vec![info.name.to_owned(), info.about.to_owned()]).collect();
    output::line(&output::table(&rows, &[]))
}

fn failed(error: SimulateError) -> Failure {
    Failure::of(error)
}

fn one(args: &Args) -> Outcome {
    let world = scenario(&args.scenario, args.seed, &args.sizes())
        .ok_or_else(|| Failure::Usage("--scenario: there is none of this name".to_owned()))?;
    let keep = if args.log.is_some() { Keep::All } else { Keep::Last(SHOWN) };
    if let Some(file) = &args.log {
        // What cannot be written is told before the run, not after it.
        save(file, &[])?;
    }
    let outcome = simulate::run(&world, args.seed, keep).map_err(failed)?;
    if let Some(file) = &args.log {
        save(file, &outcome.log)?;
    }
    tell(args, &outcome.report)?;
    verdict(args, &outcome.report)
}

fn many(args: &Args, range: Range<u64>) -> Outcome {
    let available = || std::thread::available_parallelism().map_or(1, usize::from);
    let what = Seeds {
        scenario: args.scenario.clone(),
        sizes: args.sizes(),
        range: range.clone(),
        threads: args.threads.map_or_else(available, usize::from),
    };
    if let Some(file) = &args.log {
        save(file, &[])?;
    }
    let view = View::new(&args.scenario, &range);
    let outcome = simulate::seeds(&what, &|report| view.tell(report));
    view.end();
    let outcome = outcome.map_err(failed)?;
    if let Some(violated) = &outcome.violated {
        let seed = violated.report.seed;
        let file = args.log.clone();
        let file = file.unwrap_or_else(|| PathBuf::from(format!("bursar-{}-{seed}.log", args.scenario)));
        // What was found is told in any case.
        let saved = save(&file, &violated.log);
        tell(args, &violated.report)?;
        match saved {
            Ok(()) => output::note(&format!("the event log is in {}", file.display())),
            Err(Failure::Failed(why)) => output::note(&format!("error: {why}")),
            Err(other) => return Err(other),
        }
        return verdict(args, &violated.report);
    }
    if args.json {
        return output::json(&json!({
            "scenario": args.scenario,
            "seeds": format!("{}..{}", range.start, range.end),
            "ran": outcome.ran,
            "events": outcome.events,
            "violations": [],
        }));
    }
    output::line(&format!(
        "{} seeds of {}, {} events: every invariant held",
        outcome.ran, args.scenario, outcome.events
    ))
}

fn save(file: &PathBuf, lines: &[String]) -> Outcome {
    let mut text = lines.join("\n");
    text.push('\n');
    fs::write(file, text).map_err(|error| Failure::doing(format_args!("writing {}", file.display()), error))
}

fn tell(args: &Args, report: &Report) -> Outcome {
    if args.json {
        return output::json_of(report);
    }
    let rows = [
        ("scenario", format!("{}, seed {}", report.scenario, report.seed)),
        (
            "world",
            format!("{} replicas, {} workers, {} windows", report.replicas, report.workers, report.windows),
        ),
        ("permits", format!("{} granted, {:.2} a commit", report.granted, report.permits_per_commit)),
        ("upstream", format!("{} accepted, {} refused", report.accepted, report.refused_upstream)),
        ("used of what there was", all::share(report.utilisation)),
        ("fairness (Jain)", format!("{:.4}", report.jain)),
        ("waiting", format!("{} ms, 99 % at most {} ms", report.wait_p50_ms, report.wait_p99_ms)),
        ("virtual time", format!("{:.0} s, {} events", report.virtual_seconds, report.events)),
        ("real time", format!("{} ms", report.wall_ms)),
        ("event log", report.log_hash.clone()),
    ];
    let rows: Vec<Vec<String>> = rows.map(|(head, cell)| vec![head.to_owned(), cell]).into();
    output::line(&output::table(&rows, &[]))
}

fn verdict(args: &Args, report: &Report) -> Outcome {
    let Some(first) = report.violations.first() else {
        return if args.json { Ok(()) } else { output::line("every invariant held") };
    };
    if !args.json {
        for violation in &report.violations {
            output::line(&format!(
                "violated at {} ms: {}: {}",
                violation.at_ms, violation.invariant, violation.text
            ))?;
        }
    }
    Err(Failure::Failed(format!(
        "{} does not hold in seed {}; again: {}",
        first.invariant,
        report.seed,
        args.replay(&report.scenario, report.seed)
    )))
}
