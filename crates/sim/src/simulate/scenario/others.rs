//! Others use the token, and the upstream changes its mind.

use std::time::Duration;

use super::{
    draws::Draws,
    parts::{MINUTE, OneLimit, Run, SECOND, moment},
};
use crate::simulate::plan::{Change, Foreign, RetryAfter, Scenario, Secondary};

fn with_others(draws: &mut Draws, run: &Run, foreign: Foreign) -> Scenario {
    let mut scenario = OneLimit::minute(draws).world(draws, run);
    scenario.budgets[0].upstream.foreign = foreign;
    scenario.expects.bounded_at_rest = false;
    scenario.expects.exact_at_rest = false;
    scenario.expects.refused_most = None;
    scenario.expects.epochs_most = None;
    scenario.expects.refused_per_window_most = Some(1);
    scenario.expects.utilisation_least = 0.99;
    scenario
}

/// 600 a minute, of which others call 60 at random moments. At most one refusal a window, and 99 % of what they leave.
pub(super) fn foreign(draws: &mut Draws, run: &Run) -> Scenario {
    with_others(draws, run, Foreign::Poisson(100))
}

/// The same, by others who come again every second until they are accepted: they get their 10 % of every window. At most one
/// refusal a window, and 99 % of what they leave.
pub(super) fn foreign_patient(draws: &mut Draws, run: &Run) -> Scenario {
    with_others(draws, run, Foreign::Patient(100))
}

/// Others call 300. At most one refusal a window, and 97 % of what they leave.
pub(super) fn foreign_half(draws: &mut Draws, run: &Run) -> Scenario {
    let mut scenario = with_others(draws, run, Foreign::Poisson(500));
    scenario.expects.utilisation_least = 0.97;
    scenario
}

/// Others call 40 at once, about every 20 s. Of such a burst nothing is known beforehand: at most one congestion event a window,
/// as many refusals as calls are under way, and 95 % of what they leave.
pub(super) fn foreign_burst(draws: &mut Draws, run: &Run) -> Scenario {
    let mut scenario = with_others(draws, run, Foreign::Bursts { every: SECOND * 20, size: 40 });
    scenario.expects.utilisation_least = 0.95;
    scenario.expects.refused_per_window_most = Some(40.min(u64::from(run.workers)));
    scenario.expects.epochs_most = Some(u64::from(run.windows) + 1);
    scenario
}

/// 600 a minute; raised to 900 in mid-window, cut to 300 in another, and back at last. What is raised in a window that is used up
/// is seen in the next one, and a cut strikes what is under way: at most one congestion event each, and all but 600, which is what
/// the two raises offer in windows that are used up.
pub(super) fn limit_change(draws: &mut Draws, run: &Run) -> Scenario {
    let mut scenario = OneLimit::minute(draws).world(draws, run);
    for (share, capacity) in [(250, 900), (500, 300), (750, 600)] {
        let at = moment(&scenario, share, draws.part(MINUTE, 0..=999));
        scenario.budgets[0].upstream.changes.push(Change { at, rule: "requests".to_owned(), capacity });
    }
    scenario.expects.refused_most = Some(u64::from(run.workers) * 2);
    scenario.expects.epochs_most = Some(2);
    scenario.expects.utilisation_least = 0.99 - 1.1 / f64::from(run.windows);
    scenario
}

/// 600 a minute, of which everything is refused three times for so many milliseconds.
fn closed(draws: &mut Draws, run: &Run, says_when: bool, lasts: [u64; 2]) -> Scenario {
    let mut scenario = OneLimit::minute(draws).world(draws, run);
    for share in [200, 450, 700] {
        // Within a window, which has time left after it.
        let from = moment(&scenario, share, draws.ms(0..=15_000));
        let to = from + draws.ms(lasts[0]..=lasts[1]);
        scenario.budgets[0].upstream.secondary.push(Secondary { from, to, share: 1000, says_when });
    }
    let probes = if says_when { 0 } else { probes_most(&scenario) };
    // Each worker has one call under way when it begins; and it may ask again before what it says of that is in the store.
    let under_way = u64::from(run.workers) * 2;
    scenario.expects.secondary_most = Some((under_way + probes) * 3);
    scenario.expects.probes_most = Some(probes);
    scenario.expects.utilisation_least = 0.995;
    scenario
}

/// How many probes a back-off that doubles sends at most into the longest span in which everything is refused. The i-th pause
/// is up to `base * 2^i`, with full jitter: those up to log2 of the span may all be short. Each one after them would have to be at
/// most a half, a fourth, an eighth ... of what it may be: six more happen once in 2^21 spans.
fn probes_most(scenario: &Scenario) -> u64 {
    let budget = &scenario.budgets[0];
    let longest = budget.upstream.secondary.iter().map(|span| span.to - span.from).max().unwrap_or_default();
    let steps = longest.as_millis().div_ceil(budget.spec.backoff.base.as_millis().max(1)).max(1);
    u64::from(steps.next_power_of_two().ilog2()) + 6
}

/// 600 a minute; three times it refuses everything for 5 to 20 s, and says by Retry-After until when, in seconds or as a date.
/// Nothing is granted until then, one congestion event each, and 99.5 %.
pub(super) fn retry_after(draws: &mut Draws, run: &Run) -> Scenario {
    let mut scenario = closed(draws, run, true, [5_000, 20_000]);
    scenario.budgets[0].upstream.refusal.retry_after = draws.one_of(&[RetryAfter::Seconds, RetryAfter::Date]);
    scenario
}

/// 600 a minute; three times it refuses everything for 3 to 15 s though much remains, and does not say until when; and one call
/// in two hundred at any time. No storm: the back-off doubles, a probe at a time. 99 %.
pub(super) fn secondary(draws: &mut Draws, run: &Run) -> Scenario {
    let mut scenario = closed(draws, run, false, [3_000, 15_000]);
    let end = scenario.span();
    scenario.budgets[0].upstream.secondary.push(Secondary {
        from: Duration::ZERO,
        to: end,
        share: 5,
        says_when: false,
    });
    // Three of the 600 calls of a window are expected; twice as many and ten do not come by chance.
    let by_chance = u64::from(run.windows + 1) * 3 * 2 + 10;
    scenario.expects.secondary_most = scenario.expects.secondary_most.map(|most| most + by_chance);
    scenario.expects.utilisation_least = 0.99;
    scenario
}

/// 600 a minute, of which somebody has used 300 to 600 when we begin to ask. No refusal.
pub(super) fn cold_start(draws: &mut Draws, run: &Run) -> Scenario {
    let mut scenario = OneLimit::minute(draws).world(draws, run);
    // There is time in the first window, and after its end in the last.
    let phase = draws.part(MINUTE, 400..=800);
    let rule = &mut scenario.budgets[0].upstream.rules[0];
    (rule.phase, rule.used_at_start) = (phase, draws.number(300..=600));
    scenario.from = Duration::ZERO;
    scenario.expects.exact_at_rest = false;
    scenario
}
