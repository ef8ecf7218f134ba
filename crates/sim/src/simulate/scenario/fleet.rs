//! Demand that comes and goes, replicas and stores that are lost, regions.

use std::{ops::RangeInclusive, time::Duration};

use super::{
    draws::Draws,
    parts::{MINUTE, OneLimit, Run, SECOND, moment},
};
use crate::simulate::plan::{Fault, FaultEvent, FaultPlan, ReplicaPlan, RuleKind, Scenario};

/// 600 a minute; demand comes and goes in spikes of one to three windows. All of what is offered meanwhile, and no refusal.
pub(super) fn spikes(draws: &mut Draws, run: &Run) -> Scenario {
    let mut scenario = OneLimit::minute(draws).world(draws, run);
    let end = scenario.span();
    let mut window = Duration::ZERO;
    while scenario.from + window < end {
        // From a moment that leaves time enough to use a window up, to the latter half of another.
        let from = scenario.from + window + draws.part(MINUTE, 0..=600);
        let to = scenario.from + window + MINUTE * draws.small(1..=3) + draws.part(MINUTE, 500..=950);
        if from < end {
            scenario.load.spikes.push((from, to.min(end)));
        }
        // Who waited still calls, in the window after it.
        window = (to - scenario.from) + MINUTE * draws.small(2..=3);
        let whole = window.as_millis() / MINUTE.as_millis();
        window = MINUTE * u32::try_from(whole).unwrap_or(u32::MAX);
    }
    // Spikes end before the next one's permits are asked for.
    scenario.expects.wait_bound = Some(MINUTE * 2);
    scenario
}

/// 600 a minute; a replica is lost for 20 s, and the store for 20 s, while the window is being used up. All of it, and no refusal:
/// where the store is out of reach nothing is granted, and there is time left in the window.
pub(super) fn lost_20s(draws: &mut Draws, run: &Run) -> Scenario {
    lost(draws, run, SECOND * 20, 200..=2500)
}

/// The same for 70 s each: longer than a window, so no window is used up by the rest of it unless it begins within one. All of
/// it, and no refusal.
pub(super) fn lost_70s(draws: &mut Draws, run: &Run) -> Scenario {
    lost(draws, run, SECOND * 70, 12_000..=35_000)
}

/// Each is lost so many ms into a window, so that the one in which it is back has time left.
fn lost(draws: &mut Draws, run: &Run, lasts: Duration, into: RangeInclusive<u64>) -> Scenario {
    let mut scenario = OneLimit::minute(draws).world(draws, run);
    let replica = u16::try_from(draws.small(0..=u32::from(run.replicas) - 1)).unwrap_or_default();
    let mut into = |at: u32| moment(&scenario, at, draws.ms(into.clone()));
    let events = [(into(250), Fault::Crash(replica)), (into(600), Fault::StoreDown)];
    scenario.faults.events = events.map(|(at, what)| FaultEvent { at, lasts, what }).into();
    scenario
}

/// 600 a minute; three replicas, next to the store, on the same continent, and on another one, with a sixth, a third and a half
/// of the workers. All of it, fairly, and no refusal.
pub(super) fn regions(draws: &mut Draws, run: &Run) -> Scenario {
    let mut scenario = OneLimit::minute(draws).world(draws, run);
    let region = |near: u64, store: [u64; 2], share| ReplicaPlan {
        worker_replica: 0..=near,
        replica_store: store[0]..=store[1],
        share,
    };
    scenario.network.replicas = vec![region(3, [0, 2], 1), region(5, [15, 25], 2), region(10, [70, 110], 3)];
    scenario
}

/// 600 a minute; the store is gone for a second and comes back empty, twice. It is noticed, and what is true is learned again
/// from one probe, which alone may be refused. 97 %.
pub(super) fn state_empty(draws: &mut Draws, run: &Run) -> Scenario {
    state_loss(draws, run, |_| Fault::StoreEmpty)
}

/// The same, but it comes back as it was 1 to 5 s before.
pub(super) fn state_older(draws: &mut Draws, run: &Run) -> Scenario {
    state_loss(draws, run, |draws| Fault::StoreOlder(draws.ms(1000..=5000)))
}

fn state_loss(draws: &mut Draws, run: &Run, what: impl Fn(&mut Draws) -> Fault) -> Scenario {
    let mut scenario = OneLimit::minute(draws).world(draws, run);
    for share in [300, 600] {
        let at = moment(&scenario, share, draws.part(MINUTE, 0..=999));
        let what = what(draws);
        scenario.faults.events.push(FaultEvent { at, lasts: draws.ms(200..=2000), what });
    }
    // Each loss is found out by a probe, which alone may find nothing left.
    scenario.expects.refused_most = Some(2);
    scenario.expects.epochs_most = Some(2);
    scenario.expects.utilisation_least = 0.97;
    scenario.expects.exact_at_rest = false;
    scenario.expects.charges_exact = false;
    scenario.expects.wait_bound = Some(MINUTE * 3);
    scenario
}

/// What workers and messages do wrong, now and then.
fn mishaps(plan: &mut FaultPlan) {
    (plan.stall, plan.stall_for) = (20, 1000..=9000);
    plan.death = 10;
    plan.twice = 50;
    (plan.late, plan.late_by) = (50, 1000..=90_000);
    plan.lost_answer = 20;
    plan.retried = 50;
    (plan.reply_lost, plan.call_lost) = (10, 10);
    (plan.delayed, plan.delay_by) = (50, 10..=3000);
    plan.doubled = 20;
}

/// 600 a minute; workers stall, die, settle twice and late or not at all, ask again; replies of scripts are lost; messages are
/// late and doubled; replicas crash and are cut off. Of a large fleet 99 % of what there is, and no refusal.
pub(super) fn faults(draws: &mut Draws, run: &Run) -> Scenario {
    let mut scenario = OneLimit::minute(draws).world(draws, run);
    mishaps(&mut scenario.faults);
    for share in [150, 300, 450, 600] {
        let at = moment(&scenario, share, draws.part(MINUTE, 0..=999));
        let replica = u16::try_from(draws.small(0..=u32::from(run.replicas) - 1)).unwrap_or_default();
        let what = draws.one_of(&[
            Fault::Crash(replica),
            Fault::CutFromStore(replica),
            Fault::CutFromWorkers(replica),
        ]);
        scenario.faults.events.push(FaultEvent { at, lasts: draws.ms(1000..=40_000), what });
    }
    // The last quarter is calm.
    scenario.faults.heal_at = moment(&scenario, 750, Duration::ZERO);
    // A small fleet may be away as a whole; of a large one enough are left who want more than there is.
    scenario.expects.utilisation_least = if run.replicas > 1 && run.workers >= 30 { 0.99 } else { 0.0 };
    scenario.expects.jain_least = 0.0;
    scenario.expects.exact_at_rest = false;
    scenario.expects.charges_exact = true;
    scenario
}

/// States that are lost, and what each may cost in a limit: a probe, and another where nobody is told in time what it read.
const LOSSES: u64 = 2;
const PROBES: u64 = 2;

/// Every sort of fault, in any scenario: what workers and messages do wrong, a replica that crashes and one that is cut off, and
/// the store out of reach, then empty, then older. What is left to claim: no refusal but those that a lost state costs, no slot
/// lost, nothing charged twice, and that everybody is served again once all has healed.
pub(super) fn disturb(draws: &mut Draws, run: &Run, scenario: &mut Scenario) {
    mishaps(&mut scenario.faults);
    let mut replica = || u16::try_from(draws.small(0..=u32::from(run.replicas) - 1)).unwrap_or_default();
    let all = [
        Fault::Crash(replica()),
        Fault::CutFromStore(replica()),
        Fault::CutFromWorkers(replica()),
        Fault::StoreDown,
        Fault::StoreEmpty,
        Fault::StoreOlder(draws.ms(1000..=5000)),
    ];
    for (what, share) in all.into_iter().zip([100, 200, 300, 400, 500, 600]) {
        let at = moment(scenario, share, draws.part(MINUTE, 0..=999));
        scenario.faults.events.push(FaultEvent { at, lasts: draws.ms(1000..=20_000), what });
    }
    scenario.faults.heal_at = scenario.faults.heal_at.max(moment(scenario, 750, Duration::ZERO));
    let is_in_parts =
        scenario.budgets[0].upstream.rules.iter().any(|rule| matches!(rule.kind, RuleKind::Parts(_)));
    let limits = scenario.budgets.iter().map(|budget| budget.spec.limits.len() as u64).sum::<u64>();
    let expects = &mut scenario.expects;
    expects.refused_most = expects.refused_most.map(|most| most + LOSSES * PROBES * limits);
    // Where others call as well: all that are under way while the first refusal does not get through.
    expects.refused_per_window_most =
        expects.refused_per_window_most.map(|most| most + u64::from(run.workers));
    // What a lost state knew of the upstream's kind is found out again.
    expects.epochs_most = expects.epochs_most.map(|most| (most + 2) * 3);
    // A refusal that is told late, or to a store that forgets it, is followed by others; and its back-off begins anew.
    expects.secondary_most = expects.secondary_most.map(|most| (most + u64::from(run.workers)) * 3);
    expects.probes_most = None;
    if is_in_parts {
        // However evenly calls are let out, those that the faults delay come to the upstream together with others.
        expects.epochs_most = expects.epochs_most.map(|most| most + 2 * u64::from(run.windows));
        expects.refused_most = expects.epochs_most.map(|most| most * u64::from(run.workers));
    }
    // Shares are promised to those who can ask.
    (expects.utilisation_least, expects.jain_least, expects.tier_error_most) = (0.0, 0.0, None);
    expects.exact_at_rest = false;
    // Those who were cut off; and the wait for what a lost state forgot, whose first probe's answer may be lost as well.
    let spec = &scenario.budgets[0].spec;
    // A probe is given up after twice the time to send.
    let learning = spec.send_within * 3;
    expects.wait_bound = expects.wait_bound.map(|bound| bound * 2 + learning);
    expects.idle_bound = expects.idle_bound.map(|bound| bound * 2 + learning);
}
