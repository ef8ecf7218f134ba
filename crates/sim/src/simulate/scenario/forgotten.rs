//! A store that comes back empty where nothing that is learned again makes up for what was forgotten: no refusal is allowed.

use super::{
    draws::Draws,
    parts::{Declared, MINUTE, OneLimit, Run, SECOND, limit, moment, profile_of, rule, spec, window},
};
use crate::simulate::plan::{Fault, FaultEvent, ReplicaPlan, RuleKind, Scenario, Style};

/// 600 a minute, of which no response tells anything; in half of the seeds beside 700 of which they tell.
fn blind(draws: &mut Draws, run: &Run) -> Scenario {
    let declared = draws.one_of(&[Declared::Aligned, Declared::Rolling]);
    let minute = OneLimit { declared, ..OneLimit::minute(draws) };
    let mut scenario = OneLimit { style: Style::Silent, ..minute }.world(draws, run);
    if draws.happens(500) {
        let (budget, phase) = (&mut scenario.budgets[0], draws.part(MINUTE, 1..=1000));
        let told = rule("told", RuleKind::Clock, 700, MINUTE, phase, Style::Structured);
        budget.upstream.rules.push(told);
        budget.spec.limits.push(limit("told", window(700, MINUTE, Declared::Aligned)));
        budget.spec.profile = spec(profile_of(Style::Structured), Vec::new()).profile;
    }
    scenario.expects.exact_at_rest = false;
    scenario.expects.charges_exact = false;
    scenario.expects.jain_least = 0.0;
    // What was forgotten weighs for a window after the last of it may have been sent.
    scenario.expects.wait_bound = Some(MINUTE * 4);
    scenario.expects.idle_bound = Some(MINUTE * 3);
    scenario
}

/// The store comes back empty twice, in mid-window, while more is wanted than there is. Nothing tells what was used: it waits
/// until all of that weighs no more. No refusal, and all but two windows for each.
pub(super) fn state_empty_blind(draws: &mut Draws, run: &Run) -> Scenario {
    let mut scenario = blind(draws, run);
    for share in [300, 600] {
        // Late enough for the window to be used up, and early enough for more to be asked for within it.
        let at = moment(&scenario, share, draws.part(MINUTE, 400..=800));
        let lasts = draws.ms(200..=2000);
        scenario.faults.events.push(FaultEvent { at, lasts, what: Fault::StoreEmpty });
    }
    scenario.expects.utilisation_least = (0.99 - 4.0 / f64::from(run.windows)).max(0.0);
    scenario
}

/// The store comes back empty after one replica has used the window up; it has nobody then who asks, and all ask another, which
/// never used the budget. No refusal.
pub(super) fn state_empty_idle(draws: &mut Draws, run: &Run) -> Scenario {
    let mut scenario = blind(draws, run);
    let replica = |share| ReplicaPlan { worker_replica: 0..=3, replica_store: 0..=2, share };
    scenario.network.replicas = (0..run.replicas).map(|at| replica(u32::from(at == 0))).collect();
    let lost = moment(&scenario, 300, draws.ms(30_000..=40_000));
    let lasts = draws.ms(200..=2000);
    // Who asked before has settled by then.
    let before = (lost - SECOND * 25, lost - SECOND * 5);
    scenario.load.spikes = vec![before, (lost + SECOND * 3, scenario.span().max(lost + SECOND * 4))];
    scenario.faults.events.push(FaultEvent { at: lost, lasts, what: Fault::StoreEmpty });
    if run.replicas > 1 {
        let (at, lasts) = (lost - SECOND, MINUTE);
        scenario.faults.events.push(FaultEvent { at, lasts, what: Fault::CutFromWorkers(0) });
    }
    scenario.expects.utilisation_least = 0.0;
    scenario
}
