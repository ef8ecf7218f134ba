//! Every scenario once, as one table.

use std::{
    num::NonZero,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use bursar_sim::simulate::{
    self, Keep, Report, SimulateError,
    plan::Expectation,
    scenario::{scenario, scenarios},
};
use serde_json::{Value, json};

use super::{Args, failed};
use crate::{
    exit::{Failure, Outcome},
    output,
};

/// A scenario's history, and what was demanded of it.
struct Played {
    report: Report,
    expects: Expectation,
}

/// Plays all of them, tells each as it ends, and then the table.
pub(super) fn run(args: &Args) -> Outcome {
    let names: Vec<&'static str> = scenarios().iter().map(|info| info.name).collect();
    let (next, played) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let threads = args.threads.map_or_else(available, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads.clamp(1, names.len().max(1)) {
            scope.spawn(|| {
                while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let one = play(args, name);
                    let mut played = played.lock().unwrap_or_else(PoisonError::into_inner);
                    played.push((*name, one));
                    output::note(&format!("{}/{}: {name}", played.len(), names.len()));
                }
            });
        }
    });
    let mut played = played.into_inner().unwrap_or_else(PoisonError::into_inner);
    played.sort_by_key(|(name, _)| names.iter().position(|other| other == name));
    let played = played.into_iter().map(|(_, one)| one).collect::<Result<Vec<_>, _>>().map_err(failed)?;
    if args.json {
        output::json(&json!({ "scenarios": played.iter().map(object).collect::<Vec<_>>() }))?;
    } else {
        output::line(&table(&played))?;
    }
    let broken: Vec<_> = played.iter().filter(|one| !one.report.violations.is_empty()).collect();
    for one in &broken {
        let Report { scenario, seed, violations, .. } = &one.report;
        for violation in violations {
            output::note(&format!("{scenario}: {}: {}", violation.invariant, violation.text));
        }
        output::note(&format!("again: {}", args.replay(scenario, *seed)));
    }
    match broken.len() {
        0 => Ok(()),
        some => {
            Err(Failure::Failed(format!("in {some} of {} scenarios an invariant does not hold", names.len())))
        }
    }
}

fn available() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

fn play(args: &Args, name: &str) -> Result<Played, SimulateError> {
    let unknown = || SimulateError::Scenario(format!("there is none named {name}"));
    let world = scenario(name, args.seed, &args.sizes()).ok_or_else(unknown)?;
    let report = simulate::run(&world, args.seed, Keep::Last(0))?.report;
    Ok(Played { report, expects: world.expects })
}

/// The report as `--json` prints it of one scenario, with what was demanded.
fn object(one: &Played) -> Value {
    let Expectation { refused_most, refused_per_window_most, epochs_most, utilisation_least, .. } =
        one.expects;
    let mut object = serde_json::to_value(&one.report).unwrap_or_default();
    object["demanded"] = json!({
        "refused_most": refused_most,
        "refused_per_window_most": refused_per_window_most,
        "epochs_most": epochs_most,
        "utilisation_least": utilisation_least,
    });
    object
}

fn table(played: &[Played]) -> String {
    let heads =
        ["scenario", "accepted", "refused", "at most", "epochs", "at most", "used", "at least", "holds"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    for Played { report, expects } in played {
        let most = |most: Option<u64>| most.map_or_else(|| "any".to_owned(), |most| most.to_string());
        let a_window = expects.refused_per_window_most.map(|most| format!("{most} a window"));
        let least = expects.utilisation_least;
        rows.push(vec![
            report.scenario.clone(),
            report.accepted.to_string(),
            report.refused_upstream.to_string(),
            if expects.refused_most.is_some() {
                most(expects.refused_most)
            } else {
                a_window.unwrap_or_else(|| most(None))
            },
            report.congestion_epochs.to_string(),
            most(expects.epochs_most),
            share(report.utilisation),
            if least > 0.0 { share(least) } else { "any".to_owned() },
            if report.violations.is_empty() { "yes" } else { "NO" }.to_owned(),
        ]);
    }
    output::table(&rows, &[1, 2, 3, 4, 5, 6, 7])
}

/// Rounded down: what is demanded is not shown as reached where it is not.
pub(super) fn share(share: f64) -> String {
    format!("{:.2} %", (share * 10_000.0).floor() / 100.0)
}
