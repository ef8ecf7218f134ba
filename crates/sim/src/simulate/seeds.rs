//! Many seeds of one scenario, on several threads.

use std::{
    ops::Range,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use super::{
    log::Keep,
    plan::Sizes,
    report::Report,
    run::{Outcome, SimulateError, run},
    scenario::scenario,
};

/// What to run.
#[derive(Debug, Clone)]
pub struct Seeds {
    /// The scenario's name.
    pub scenario: String,
    /// Its sizes.
    pub sizes: Sizes,
    /// Which seeds.
    pub range: Range<u64>,
    /// On how many threads, at least one.
    pub threads: usize,
}

/// What the seeds came to.
#[derive(Debug)]
pub struct SeedsOutcome {
    /// How many ran.
    pub ran: u64,
    /// Their events, all together.
    pub events: u64,
    /// The least seed that violated an invariant, of those that ran, with its whole log.
    pub violated: Option<Outcome>,
}

struct Shared {
    next: AtomicU64,
    stop: AtomicBool,
    ran: AtomicU64,
    events: AtomicU64,
    found: Mutex<Result<Option<u64>, SimulateError>>,
}

/// Runs one seed after the other until one violates an invariant, and tells `each` of every one that has run. What has
/// begun by then is run to its end.
///
/// # Errors
/// The scenario is unknown or cannot be.
pub fn seeds(what: &Seeds, each: &(impl Fn(&Report) + Sync)) -> Result<SeedsOutcome, SimulateError> {
    let shared = Shared {
        next: AtomicU64::new(what.range.start),
        stop: AtomicBool::new(false),
        ran: AtomicU64::new(0),
        events: AtomicU64::new(0),
        found: Mutex::new(Ok(None)),
    };
    thread::scope(|scope| {
        for _ in 0..what.threads.max(1) {
            scope.spawn(|| take_turns(what, &shared, each));
        }
    });
    let violated = match shared.found.into_inner().unwrap_or_else(PoisonError::into_inner)? {
        // The same seed has the same history: this time all of it is kept.
        Some(seed) => Some(one(what, seed, Keep::All)?),
        None => None,
    };
    let (ran, events) = (shared.ran.into_inner(), shared.events.into_inner());
    Ok(SeedsOutcome { ran, events, violated })
}

fn one(what: &Seeds, seed: u64, keep: Keep) -> Result<Outcome, SimulateError> {
    let unknown = || SimulateError::Scenario(format!("there is none named {}", what.scenario));
    let scenario = scenario(&what.scenario, seed, &what.sizes).ok_or_else(unknown)?;
    run(&scenario, seed, keep)
}

fn take_turns(what: &Seeds, shared: &Shared, each: &(impl Fn(&Report) + Sync)) {
    while !shared.stop.load(Ordering::Relaxed) {
        let seed = shared.next.fetch_add(1, Ordering::Relaxed);
        if !what.range.contains(&seed) {
            return;
        }
        let outcome = one(what, seed, Keep::Last(0));
        let mut found = shared.found.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(Outcome { report, .. }) => {
                shared.ran.fetch_add(1, Ordering::Relaxed);
                shared.events.fetch_add(report.events, Ordering::Relaxed);
                if !report.violations.is_empty() {
                    shared.stop.store(true, Ordering::Relaxed);
                    if let Ok(least) = &mut *found {
                        *least = Some(least.map_or(seed, |least| least.min(seed)));
                    }
                }
                drop(found);
                each(&report);
            }
            Err(error) => {
                shared.stop.store(true, Ordering::Relaxed);
                *found = Err(error);
            }
        }
    }
}
