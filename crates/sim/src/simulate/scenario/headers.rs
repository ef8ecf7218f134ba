//! Upstreams that tell little, or wrong, or late; and clocks that are wrong.

use std::time::Duration;

use super::{
    draws::Draws,
    parts::{Declared, MINUTE, OneLimit, Run, SECOND, moment},
};
use crate::simulate::plan::{Fault, FaultEvent, Noise, Scenario, Style};

/// 600 a minute; messages overtake each other by up to a second. All of it, and no refusal.
pub(super) fn reorder(draws: &mut Draws, run: &Run) -> Scenario {
    let mut scenario = OneLimit::minute(draws).world(draws, run);
    scenario.network.worker_replica = 1..=800;
    scenario.network.worker_upstream = 5..=400;
    scenario
}

/// 600 a minute, and no response tells anything. 99 %, and no refusal.
pub(super) fn headerless(draws: &mut Draws, run: &Run) -> Scenario {
    let declared = draws.one_of(&[Declared::Aligned, Declared::Rolling]);
    let minute = OneLimit { declared, ..OneLimit::minute(draws) };
    let mut scenario = OneLimit { style: Style::Silent, ..minute }.world(draws, run);
    scenario.budgets[0].upstream.refusal.omitted = 500;
    scenario.expects.utilisation_least = 0.99;
    scenario.expects.exact_at_rest = false;
    scenario
}

/// 600 a minute; seven of ten responses tell nothing. 99 %, and no refusal.
pub(super) fn headerless_some(draws: &mut Draws, run: &Run) -> Scenario {
    let mut scenario = OneLimit::minute(draws).world(draws, run);
    scenario.budgets[0].upstream.noise = Noise { missing: 700, ..Noise::default() };
    scenario.expects.utilisation_least = 0.99;
    scenario.expects.exact_at_rest = false;
    scenario
}

/// 600 a minute; a fourth of the responses is garbled, speaks of the past, or contradicts itself, some have no Date, and all say
/// Retry-After. 99.5 %, and no refusal.
pub(super) fn lying(draws: &mut Draws, run: &Run) -> Scenario {
    let mut scenario = OneLimit::minute(draws).world(draws, run);
    scenario.budgets[0].upstream.noise = Noise {
        missing: 50,
        garbled: 100,
        past: 50,
        contradictory: 50,
        undated: 100,
        retry_after_always: true,
        lag: Duration::ZERO,
    };
    scenario.expects.utilisation_least = 0.995;
    scenario.expects.exact_at_rest = false;
    scenario
}

/// Fewer than so many are few.
const FEW: u16 = 20;

/// 600 a minute, or 200 in 20 s, declared as it is; readings tell what stood up to 500 ms before. One congestion event until
/// that is found, then no refusal, and 99 %.
pub(super) fn lagging(draws: &mut Draws, run: &Run) -> Scenario {
    let declared = draws.one_of(&[Declared::Aligned, Declared::OnClock]);
    let (capacity, window) = draws.one_of(&[(600, MINUTE), (200, SECOND * 20)]);
    let limit = OneLimit { capacity, window, declared, ..OneLimit::minute(draws) };
    let mut scenario = limit.world(draws, run);
    scenario.budgets[0].upstream.noise = Noise { lag: draws.ms(100..=500), ..Noise::default() };
    scenario.expects.refused_most = Some(u64::from(run.workers));
    // Where few call, one that is refused may not have been let out by a reading.
    scenario.expects.epochs_most = Some(if run.workers < FEW { 3 } else { 1 });
    scenario.expects.utilisation_least = 0.99;
    scenario.expects.bounded_at_rest = false;
    scenario.expects.exact_at_rest = false;
    scenario
}

fn clocks(draws: &mut Draws, run: &Run) -> Scenario {
    let mut scenario = OneLimit::minute(draws).world(draws, run);
    let minutes = i64::from(draws.small(2..=15)) * if draws.happens(500) { 60_000 } else { -60_000 };
    scenario.budgets[0].upstream.clock_ms += minutes;
    let drift = if draws.happens(500) { 200 } else { -200 };
    scenario.faults.events.push(FaultEvent {
        at: moment(&scenario, 250, draws.part(MINUTE, 0..=999)),
        lasts: MINUTE * 2,
        what: Fault::StoreDrift(drift),
    });
    scenario
}

fn step(draws: &mut Draws, scenario: &mut Scenario, share: u32, ms: i64) {
    let at = moment(scenario, share, draws.part(MINUTE, 0..=999));
    scenario.faults.events.push(FaultEvent { at, lasts: Duration::ZERO, what: Fault::StoreStep(ms) });
}

/// 600 a minute; the upstream's clock is minutes off, the store's drifts by 200 millionths, and is set back by up to 3 s
/// twice. 99.5 %, and no refusal.
pub(super) fn clock(draws: &mut Draws, run: &Run) -> Scenario {
    let mut scenario = clocks(draws, run);
    for share in [450, 700] {
        let ms = i64::from(draws.small(200..=3000));
        step(draws, &mut scenario, share, -ms);
    }
    scenario.expects.utilisation_least = 0.995;
    scenario.expects.exact_at_rest = false;
    scenario
}

/// The same, but the store's clock is set forward by 1 to 20 s, twice: whatever it remembers is over too early, and nobody else
/// tells it the time. At most one congestion event for each, and 99.5 %.
pub(super) fn clock_forward(draws: &mut Draws, run: &Run) -> Scenario {
    let mut scenario = clocks(draws, run);
    for share in [450, 700] {
        let ms = i64::from(draws.small(1000..=20_000));
        step(draws, &mut scenario, share, ms);
    }
    scenario.expects.utilisation_least = 0.995;
    scenario.expects.exact_at_rest = false;
    scenario.expects.bounded_at_rest = false;
    scenario.expects.refused_most = Some(u64::from(run.workers) * 2);
    scenario.expects.epochs_most = Some(2);
    scenario
}
