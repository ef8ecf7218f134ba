//! Upstreams that mislead about their windows. All are declared as 600 a minute in windows that are aligned, and are not:
//! three congestion events at most until that is found, then no refusal, and 95 % of what they accept.

use std::time::Duration;

use super::{
    draws::Draws,
    parts::{MINUTE, OneLimit, Run},
};
use crate::simulate::plan::{RuleKind, Scenario, Style};

/// So many are refused together.
const MANY: u16 = 20;

fn misled(draws: &mut Draws, run: &Run, kind: RuleKind, style: Style) -> Scenario {
    let mut scenario = OneLimit { kind, style, ..OneLimit::minute(draws) }.world(draws, run);
    scenario.expects.refused_most = Some(u64::from(run.workers) * 3);
    scenario.expects.epochs_most = Some(3);
    scenario.expects.utilisation_least = 0.95;
    scenario.expects.bounded_at_rest = false;
    scenario.expects.exact_at_rest = false;
    scenario.expects.wait_bound = Some(MINUTE * 4);
    scenario
}

/// A rolling window, whose reset is when its oldest call drops out (Flask-Limiter, moving window).
pub(super) fn rolling_reset(draws: &mut Draws, run: &Run) -> Scenario {
    let style = draws.one_of(&[Style::Epoch, Style::Delta]);
    misled(draws, run, RuleKind::Rolling, style)
}

/// The generic cell rate algorithm, whose reset is the time until all is there again (quart-rate-limiter).
pub(super) fn gcra(draws: &mut Draws, run: &Run) -> Scenario {
    misled(draws, run, RuleKind::Gcra, Style::Delta)
}

/// Two weighted windows, stricter after a burst than any rolling log (Cloudflare; Flask-Limiter, sliding window counter).
pub(super) fn weighted(draws: &mut Draws, run: &Run) -> Scenario {
    let style = draws.one_of(&[Style::Epoch, Style::Delta]);
    let mut scenario = misled(draws, run, RuleKind::Weighted, style);
    // Until it is paced it costs the same, however long it goes on then.
    scenario.expects.utilisation_least = 0.96 - 0.2 / f64::from(run.windows);
    scenario
}

/// The same, whose reset is the end of its current window, where nothing is given back at once (counters over two fixed windows).
pub(super) fn weighted_ends(draws: &mut Draws, run: &Run) -> Scenario {
    let style = draws.one_of(&[Style::Epoch, Style::Delta]);
    let mut scenario = misled(draws, run, RuleKind::WeightedEnds, style);
    scenario.expects.utilisation_least = 0.96 - 0.4 / f64::from(run.windows);
    scenario
}

/// 600 a minute, enforced as 10 a second, while the headers speak of the minute.
pub(super) fn subwindow(draws: &mut Draws, run: &Run) -> Scenario {
    let style = draws.one_of(&[Style::Epoch, Style::Delta]);
    let mut scenario = misled(draws, run, RuleKind::Parts(60), style);
    // What is spread evenly when it is granted arrives so as far as the network lets it.
    scenario.network.worker_replica = 0..=2;
    scenario.network.worker_upstream = 5..=15;
    scenario.load.max_wait = Duration::from_secs(300);
    scenario
}

/// 600 a minute, enforced in two to six parts of it, while the headers speak of the minute. A part's end is named.
pub(super) fn parts(draws: &mut Draws, run: &Run) -> Scenario {
    let style = draws.one_of(&[Style::Epoch, Style::Delta]);
    let parts = draws.small(2..=6);
    let mut scenario = misled(draws, run, RuleKind::Parts(parts), style);
    scenario.load.max_wait = Duration::from_secs(300);
    if run.workers < MANY {
        // Where few call, one is refused at a time: that shows nothing of parts.
        scenario.expects.epochs_most = None;
        scenario.expects.refused_most = None;
    }
    scenario
}
