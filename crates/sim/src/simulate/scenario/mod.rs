//! The scenarios by name: which world each is, and what is demanded of it, stands at the function that makes it.
//!
//! Phases, and whatever else a scenario leaves open, are drawn from the seed. Moments at which something happens are at
//! the same share of the measured windows, however many there are.

mod chaos;
mod draws;
mod fleet;
mod forgotten;
mod headers;
mod misled;
mod others;
mod parts;
mod plain;
mod shares;
#[cfg(test)]
mod tests;

use self::{draws::Draws, parts::Run};
use super::plan::{Scenario, Sizes};

/// What `--list` shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScenarioInfo {
    /// As on the command line.
    pub name: &'static str,
    /// One line.
    pub about: &'static str,
}

/// A scenario in the table.
struct Entry {
    name: &'static str,
    about: &'static str,
    make: fn(&mut Draws, &Run) -> Scenario,
}

/// As many workers and windows as what share is used is promised of, at least. What `chaos` promises it derives from its sizes.
const USUAL: (u16, u32) = (50, 5);
const CHAOS: &str = "chaos";
const CROWD: &str = "fair-crowd";

macro_rules! table {
    ($($name:literal $make:path, $about:literal;)*) => {
        &[$(Entry { name: $name, about: $about, make: $make }),*]
    };
}

/// All of them, in the order in which they are shown.
const ALL: &[Entry] = table! {
    "window" plain::one_window, "600 a minute on a clock, phase unknown";
    "window-concurrency" plain::window_concurrency, "600 a minute and 3 at once";
    "autotask" plain::autotask, "Autotask as its profile has it: 600 a minute, 10 to authenticate, 3 at once";
    "salestim" plain::salestim, "SalesTim as its profile has it: 6 reads and 6 writes a quarter of an hour, no reset, refusals count";
    "salestim-rolling" plain::salestim_rolling, "the same, where its windows roll";
    "bucket" plain::leaky_bucket, "a bucket of 60 that refills 10 a second";
    "sliding" plain::sliding, "600 in any 60 seconds";
    "late" plain::late, "responses slower than the window, sent within 5 s; windows declared on a clock";
    "late-undeclared" plain::late_undeclared, "the same, with windows that are only declared aligned";
    "first-call" plain::first_call, "windows that start with their first call, and gaps in demand";
    "reorder" headers::reorder, "messages overtake each other by up to a second";
    "headerless" headers::headerless, "no response tells anything";
    "headerless-some" headers::headerless_some, "seven of ten responses tell nothing";
    "lying" headers::lying, "garbled, past, contradictory and undated headers, Retry-After on every response";
    "lagging" headers::lagging, "readings tell what stood some hundred ms before";
    "foreign" others::foreign, "others use 10 %, at random moments";
    "foreign-patient" others::foreign_patient, "others use 10 %, and who is refused comes again every second";
    "foreign-half" others::foreign_half, "others use 50 %, at random moments";
    "foreign-burst" others::foreign_burst, "others call 40 at once, about every 20 s";
    "limit-change" others::limit_change, "raised and cut in mid-window";
    "retry-after" others::retry_after, "everything refused for some seconds, with Retry-After";
    "secondary" others::secondary, "429 with remaining above 0, without a time";
    "cold-start" others::cold_start, "nothing is known, and somebody has used half or more";
    "tokens" plain::tokens, "two units, of which one's cost is known only afterwards";
    "rolling-reset" misled::rolling_reset, "declared fixed, but rolling: its reset is the oldest call's expiry";
    "gcra" misled::gcra, "declared fixed, but leaking: its reset is the time until all is there again";
    "weighted" misled::weighted, "declared fixed, but two weighted windows";
    "weighted-ends" misled::weighted_ends, "the same, and the reset that it names is its current window's end";
    "subwindow" misled::subwindow, "600 a minute, enforced as 10 a second";
    "parts" misled::parts, "600 a minute, enforced in two to six parts of it";
    "clock" headers::clock, "the store's clock drifts and is set back, the upstream's is off by minutes";
    "clock-forward" headers::clock_forward, "the store's clock is set forward";
    "spikes" fleet::spikes, "demand comes and goes";
    "lost-20s" fleet::lost_20s, "a replica lost for 20 s, and the store";
    "lost-70s" fleet::lost_70s, "a replica lost for 70 s, and the store";
    "regions" fleet::regions, "three replicas at different distances, with different numbers of workers";
    "state-empty" fleet::state_empty, "the store comes back empty";
    "state-empty-blind" forgotten::state_empty_blind, "the same, and no response tells anything of what was used";
    "state-empty-idle" forgotten::state_empty_idle, "the same, while the replica that used it has nobody who asks";
    "state-older" fleet::state_older, "the store comes back older by some seconds";
    "faults" fleet::faults, "workers stall, die and repeat themselves, messages are lost, late and doubled, replicas crash";
    "two-windows" plain::two_windows, "100 in 10 seconds and 500 a minute";
    "hourly" plain::hourly, "3,000 an hour, and a class with 20 a minute of its own";
    "fair-tenants" shares::tenants, "equal tenants, unevenly at the replicas";
    "fair-tiers" shares::tiers, "tiers, unevenly at the replicas";
    "fair-crowd" shares::crowd, "10,000 at one replica, and one of another tenant at another";
    "tiny" plain::tiny, "1 to 5 calls in 2 to 20 s";
    "chaos" chaos::chaos, "everything at once, at random from the seed";
};

/// All scenarios, in the order in which they are shown.
pub fn scenarios() -> Vec<ScenarioInfo> {
    ALL.iter().map(|entry| ScenarioInfo { name: entry.name, about: entry.about }).collect()
}

/// The scenario of this name; its random parts are from `seed`. 50 workers (10,001 in `fair-crowd`), 3 replicas and 20 windows,
/// unless `sizes` says otherwise or, in `chaos`, the seed. What share is used is demanded of 50 workers and 5 windows or more.
/// `None`: there is none of this name.
pub fn scenario(name: &str, seed: u64, sizes: &Sizes) -> Option<Scenario> {
    let entry = ALL.iter().find(|entry| entry.name == name)?;
    let mut draws = Draws::new(name, seed);
    let run = if name == CHAOS {
        chaos::run(&mut draws, sizes)
    } else {
        Run {
            workers: sizes.workers.unwrap_or(if name == CROWD { 10_001 } else { 50 }).max(1),
            replicas: sizes.replicas.unwrap_or(3).max(1),
            windows: sizes.windows.unwrap_or(20).max(1),
        }
    };
    let mut scenario = (entry.make)(&mut draws, &run);
    (scenario.name, scenario.about) = (entry.name, entry.about);
    if name != CHAOS && (run.workers < USUAL.0 || run.windows < USUAL.1) {
        // Of few callers, and in few windows, one pause or one end that is not known yet weighs more than is promised.
        scenario.expects.utilisation_least = 0.0;
    }
    if run.workers < USUAL.0 {
        // Of few callers of a tier not all that it may have is always asked for.
        scenario.expects.tier_error_most = None;
    }
    if let Some(least) = sizes.used_least {
        scenario.expects.utilisation_least = f64::from(least) / 10_000.0;
    }
    if sizes.faults {
        fleet::disturb(&mut Draws::new("disturbed", seed), &run, &mut scenario);
    }
    for budget in &mut scenario.budgets {
        budget.upstream.demand.clone_from(&scenario.load.spikes);
        budget.upstream.changes.sort_by_key(|change| change.at);
    }
    let faults = &mut scenario.faults;
    faults.events.sort_by_key(|event| event.at);
    let over = faults.events.iter().map(|event| event.at + event.lasts).max().unwrap_or_default();
    faults.heal_at = faults.heal_at.max(over);
    Some(scenario)
}
