//! Everything at once, at random, small: so that thousands of seeds run.

use std::time::Duration;

use bursar_quota::{BudgetName, Tier};

use super::{
    draws::Draws,
    parts::{
        Declared, Run, SECOND, at_once, bucket, class, limit, network, no_faults, profile_of, rule, spec,
        unit, upstream, window, world,
    },
};
use crate::simulate::plan::{
    BudgetPlan, Change, ClassPlan, CostPlan, Expectation, Fault, FaultEvent, FaultPlan, Foreign, Load,
    Millis, Noise, ReplicaPlan, RetryAfter, RuleKind, RulePlan, Scenario, Secondary, Sizes, SlotsPlan, Style,
};

/// What a world is like beyond its plan: what may be claimed of it.
#[derive(Debug, Clone, Copy)]
struct World {
    /// The declaration is true, and nothing happens that nobody could foresee: then no refusal.
    is_true: bool,
    /// All is as in the finest weather: then the account is exact.
    is_calm: bool,
    capacity: u64,
    window: Duration,
}

/// How large it is, unless it is said: 1 to 5 replicas, 1 to 30 workers, as many windows as make some hundred permits.
pub(super) fn run(draws: &mut Draws, sizes: &Sizes) -> Run {
    // Drawn even if they are said: whatever else is random stays the same.
    let (replicas, workers) = (draws.small(1..=5), draws.small(1..=30));
    let small = |drawn: u32| u16::try_from(drawn).unwrap_or(1);
    Run {
        replicas: sizes.replicas.unwrap_or(small(replicas)).max(1),
        workers: sizes.workers.unwrap_or(small(workers)).max(1),
        windows: sizes.windows.unwrap_or_default(),
    }
}

/// Kinds, capacities, windows, styles, classes, units, noise, refusals, others, changes, demand, distances and faults at random
/// from the seed. No refusal where the declaration is true, nobody else calls, no capacity changes, and the store keeps what it
/// knows and its clock; the other invariants always.
pub(super) fn chaos(draws: &mut Draws, run: &Run) -> Scenario {
    let is_calm = draws.happens(250);
    let capacity = draws.one_of(&[1, 2, 3, 5, 8, 20, 50, 100]).max(1);
    let window = SECOND * draws.one_of(&[1, 2, 5, 10, 30, 60]);
    let mut it = World { is_true: true, is_calm, capacity, window };
    let windows = match run.windows {
        0 => u32::try_from((300 / capacity).clamp(4, 40)).unwrap_or(4),
        said => said,
    };
    let run = Run { windows, ..*run };
    let budget = budget(draws, &mut it, 1);
    let mut scenario = world(budget, window, Duration::ZERO, &run);
    scenario.load = load(draws, &it, &run);
    if draws.happens(150) {
        let second = self::budget(draws, &mut it, 2);
        scenario.budgets.push(second);
    } else {
        classes_and_units(draws, &it, &mut scenario);
    }
    scenario.network = network();
    if draws.happens(300) {
        scenario.network.worker_replica = 0..=draws.number(1..=500);
        scenario.network.worker_upstream = 1..=draws.number(2..=500);
    }
    if draws.happens(300) {
        let mut region = || ReplicaPlan {
            worker_replica: 0..=draws.number(0..=20),
            replica_store: 0..=draws.number(0..=120),
            share: draws.small(0..=3).max(1),
        };
        scenario.network.replicas = (0..run.replicas).map(|_| region()).collect();
    }
    if draws.happens(200) {
        spikes(draws, &mut scenario);
    }
    if !is_calm {
        trouble(draws, &mut it, &mut scenario);
        scenario.faults = faults(draws, &mut it, &scenario);
        lag(draws, &mut it, &mut scenario);
    }
    scenario.expects = expects(&it, &scenario, &run);
    scenario
}

/// An upstream of one rule, perhaps with a number of calls at once, and what is declared of it.
fn budget(draws: &mut Draws, it: &mut World, number: u32) -> BudgetPlan {
    let World { capacity, window: length, .. } = *it;
    let kinds = [
        RuleKind::Clock,
        RuleKind::Clock,
        RuleKind::FirstCall,
        RuleKind::Rolling,
        RuleKind::Bucket,
        RuleKind::Gcra,
        RuleKind::Weighted,
        RuleKind::Parts(4),
    ];
    let kind = if it.is_calm { RuleKind::Clock } else { draws.one_of(&kinds) };
    let style = draws.one_of(&[Style::Epoch, Style::Delta, Style::Structured, Style::NoReset, Style::Silent]);
    let phase = draws.part(length, 1..=1000);
    let how = draws.one_of(&[Declared::Aligned, Declared::OnClock, Declared::Rolling]);
    let is_bucket = matches!(kind, RuleKind::Bucket | RuleKind::Gcra) && draws.happens(500);
    let (kind_declared, is_true) = match kind {
        _ if is_bucket => (bucket(capacity, length), true),
        RuleKind::Clock => (window(capacity, length, how), true),
        RuleKind::FirstCall => (window(capacity, length, how), how != Declared::OnClock),
        RuleKind::Rolling | RuleKind::Bucket | RuleKind::Gcra => {
            (window(capacity, length, how), how == Declared::Rolling)
        }
        RuleKind::Weighted | RuleKind::WeightedEnds | RuleKind::Parts(_) => {
            (window(capacity, length, how), false)
        }
    };
    it.is_true &= is_true;
    let mut declared = limit("requests", kind_declared);
    // What is not promised may come all the same.
    declared.readings = style != Style::Silent && (it.is_calm || draws.happens(800));
    let mut upstream = upstream(draws, vec![rule("requests", kind, capacity, length, phase, style)]);
    let mut limits = vec![declared];
    if draws.happens(400) {
        let slots = SlotsPlan { capacity: draws.number(1..=5), linger: draws.ms(0..=200) };
        limits.push(at_once(slots.capacity, slots.linger + draws.ms(0..=50)));
        upstream.slots = Some(slots);
    }
    upstream.refusal.retry_after = draws.one_of(&[RetryAfter::Seconds, RetryAfter::Date, RetryAfter::Absent]);
    upstream.refusal.omitted = draws.one_of(&[0, 0, 300]);
    upstream.refusal.readings = draws.happens(700);
    let mut spec = spec(profile_of(style), limits);
    if let Ok(name) = BudgetName::new(&format!("upstream/token-{number}")) {
        spec.name = name;
    }
    spec.send_within = SECOND * draws.small(1..=6);
    spec.permit_ttl = spec.send_within + SECOND * draws.small(1..=60);
    spec.ramp = draws.ms(0..=2000);
    BudgetPlan { spec, upstream, profile: None }
}

fn load(draws: &mut Draws, it: &World, run: &Run) -> Load {
    let slow = !it.is_calm && draws.happens(150);
    let most = if slow { draws.number(1000..=70_000) } else { draws.number(1..=900) };
    Load {
        think: 0..=draws.one_of(&[0, 0, 0, 300, 5000]),
        service: 1..=most,
        quick: if slow { 300 } else { 0 },
        quick_service: 1..=100,
        classes: vec![ClassPlan { name: None, weight: 1 }],
        costs: Vec::new(),
        max_wait: if draws.happens(500) { draws.ms(0..=120_000) } else { SECOND * 3600 },
        ttl: draws.happens(300).then(|| SECOND * draws.small(10..=120)),
        placement: crate::simulate::plan::Placement::Spread,
        tenants: u16::try_from(draws.small(1..=u32::from(run.workers.min(5)))).unwrap_or(1),
        tiers: if draws.happens(300) { Tier::ALL.to_vec() } else { vec![Tier::Standard] },
        spikes: Vec::new(),
    }
}

/// A class with a limit of its own, and a second unit.
fn classes_and_units(draws: &mut Draws, it: &World, scenario: &mut Scenario) {
    let budget = &mut scenario.budgets[0];
    let style = budget.upstream.rules[0].style;
    // Only these have a place for each limit: whoever speaks for all of them in one place cannot be understood.
    let style = if style == Style::Structured { style } else { Style::Silent };
    let phase = draws.part(it.window, 1..=1000);
    if draws.happens(250) {
        let own = draws.number(1..=it.capacity);
        let searches = rule("searches", RuleKind::Clock, own, it.window, phase, Style::Silent);
        budget.upstream.rules.push(RulePlan { classes: vec!["search".to_owned()], ..searches });
        let mut declared = limit("searches", window(own, it.window, Declared::Aligned));
        declared.classes = vec![class("search")];
        declared.readings = false;
        budget.spec.limits.push(declared);
        scenario.load.classes.push(ClassPlan { name: Some("search".to_owned()), weight: 1 });
    }
    if draws.happens(250) {
        let most = it.capacity * 10;
        let tokens = RulePlan {
            unit: "tokens".to_owned(),
            ..rule("tokens", RuleKind::Clock, most, it.window, phase, style)
        };
        budget.upstream.rules.push(tokens);
        let mut declared = limit("tokens", window(most, it.window, Declared::Aligned));
        declared.unit = unit("tokens");
        declared.readings = style != Style::Silent;
        budget.spec.limits.push(declared);
        let estimate = 1..=draws.number(1..=most.min(20));
        scenario.load.costs.push(CostPlan { unit: "tokens".to_owned(), estimate, actual: 300..=1000 });
    }
}

fn spikes(draws: &mut Draws, scenario: &mut Scenario) {
    let (mut at, end) = (Duration::ZERO, scenario.span());
    while at < end {
        let to = at + draws.part(scenario.window, 300..=4000);
        scenario.load.spikes.push((at, to.min(end)));
        at = to + draws.part(scenario.window, 300..=3000);
    }
}

/// What an upstream does that nobody declares.
fn trouble(draws: &mut Draws, it: &mut World, scenario: &mut Scenario) {
    let (span, window) = (scenario.span(), it.window);
    for budget in &mut scenario.budgets {
        let upstream = &mut budget.upstream;
        let share = |draws: &mut Draws| draws.one_of(&[0, 0, 50, 200]);
        upstream.noise = Noise {
            missing: share(draws),
            garbled: share(draws),
            past: share(draws),
            contradictory: share(draws),
            undated: share(draws),
            retry_after_always: draws.happens(300),
            lag: Duration::ZERO,
        };
        // Without a Date nothing shows that its clock is wrong.
        if upstream.noise.undated == 0 {
            upstream.clock_ms += i64::from(draws.small(0..=1_200_000)) - 600_000;
        }
        if draws.happens(150) {
            upstream.foreign = match draws.small(0..=1) {
                0 => Foreign::Poisson(draws.small(20..=600)),
                _ => Foreign::Bursts { every: window, size: draws.number(1..=it.capacity) },
            };
            it.is_true = false;
        }
        if draws.happens(100) {
            upstream.rules[0].used_at_start = draws.number(1..=it.capacity);
            it.is_true = false;
        }
        if draws.happens(100) {
            let at = draws.part(span, 100..=600);
            let capacity = draws.number(1..=it.capacity * 2);
            upstream.changes.push(Change { at, rule: "requests".to_owned(), capacity });
            it.is_true = false;
        }
        if draws.happens(200) {
            let from = draws.part(span, 0..=600);
            let to = from + draws.ms(500..=20_000);
            let (share, says_when) = (draws.one_of(&[1000, 300, 20]), draws.happens(500));
            upstream.secondary.push(Secondary { from, to, share, says_when });
        }
    }
}

/// Readings of a copy of the counters: they promise what is used up.
fn lag(draws: &mut Draws, it: &mut World, scenario: &mut Scenario) {
    for budget in &mut scenario.budgets {
        if draws.happens(100) {
            budget.upstream.noise.lag = draws.ms(50..=500);
            it.is_true = false;
        }
    }
}

fn faults(draws: &mut Draws, it: &mut World, scenario: &Scenario) -> FaultPlan {
    let mut plan = no_faults();
    let often = |draws: &mut Draws| draws.one_of(&[0, 0, 10, 100]);
    (plan.stall, plan.stall_for) = (often(draws), 100..=draws.number(200..=12_000));
    plan.death = draws.one_of(&[0, 0, 10, 50]);
    plan.twice = often(draws);
    (plan.late, plan.late_by) = (often(draws), 100..=draws.number(200..=120_000));
    plan.lost_answer = often(draws);
    plan.retried = often(draws);
    (plan.reply_lost, plan.call_lost) = (often(draws), often(draws));
    (plan.delayed, plan.delay_by) = (often(draws), 1..=draws.number(1..=5000));
    plan.doubled = often(draws);
    let span = scenario.span();
    for _ in 0..draws.small(0..=4) {
        let replica = u16::try_from(draws.small(0..=u32::from(scenario.replicas) - 1)).unwrap_or_default();
        let what = match draws.small(0..=13) {
            0..=3 => Fault::Crash(replica),
            4..=5 => Fault::CutFromStore(replica),
            6..=7 => Fault::CutFromWorkers(replica),
            8..=9 => Fault::StoreDown,
            10 => Fault::StoreEmpty,
            11 => Fault::StoreOlder(draws.ms(100..=10_000)),
            12 => Fault::StoreStep(i64::from(draws.small(0..=20_000)) - 10_000),
            _ => Fault::StoreDrift(if draws.happens(500) { 100 } else { -100 }),
        };
        it.is_true &= !matches!(what, Fault::StoreEmpty | Fault::StoreOlder(_) | Fault::StoreStep(_));
        let lasts = match what {
            Fault::StoreStep(_) => Duration::ZERO,
            _ => draws.ms(100..=30_000),
        };
        plan.events.push(FaultEvent { at: draws.part(span, 20..=600), lasts, what });
    }
    plan.heal_at = draws.part(span, 600..=700);
    plan
}

/// How many times longer than all of them together the callers of the lowest tier take for a turn: as many of each tier call, and
/// the tiers share by weight.
fn least_served(tiers: &[Tier], weights: [u32; 3]) -> u64 {
    let weights: Vec<u64> = tiers.iter().map(|tier| u64::from(weights[tier.index()])).collect();
    let least = weights.iter().min().map_or(1, |least| least * weights.len() as u64);
    weights.iter().sum::<u64>().div_ceil(least.max(1)).max(1)
}

fn expects(it: &World, scenario: &Scenario, run: &Run) -> Expectation {
    let most = it.is_true.then_some(0);
    // Everybody in turn, and what may weigh for longer than a window; where calls were refused, the longest back-off as well.
    let turns = u64::from(run.workers) * least_served(&scenario.load.tiers, scenario.budgets[0].spec.weights)
        / it.capacity;
    let turns = u32::try_from(turns).unwrap_or(u32::MAX);
    let round = it.window * (turns + 4) * 2;
    let slow = Duration::from_millis(*scenario.load.service.end());
    let slots =
        scenario.budgets.iter().filter_map(|budget| budget.upstream.slots).map(|slots| slots.capacity).min();
    let queue =
        slots.map_or(0, |slots| u32::try_from(u64::from(run.workers) / slots + 1).unwrap_or(u32::MAX));
    let calls = (slow + SECOND) * queue + SECOND * 120;
    let back_off = if it.is_true { Duration::ZERO } else { SECOND * 600 };
    let bound = round + calls + back_off;
    // Somebody is served as soon as windows, answers and deadlines allow.
    let ttl = scenario.load.ttl.unwrap_or_default();
    let idle = (it.window * 4 + slow + ttl + SECOND * 120 + back_off) * if it.is_true { 1 } else { 2 };
    // Who gives up and asks again loses his place; and who wants a scarce class waits for that.
    let load = &scenario.load;
    let is_bounded = load.spikes.is_empty() && load.classes.len() == 1 && load.max_wait >= round + calls;
    Expectation {
        tier_error_most: None,
        lone_wait_most: None,
        refused_most: most,
        refused_per_window_most: None,
        epochs_most: None,
        secondary_most: None,
        probes_most: None,
        utilisation_least: utilisation_least(it, scenario, run),
        jain_least: 0.0,
        bounded_at_rest: it.is_true,
        exact_at_rest: it.is_calm,
        charges_exact: true,
        wait_bound: is_bounded.then_some(bound * 2),
        idle_bound: Some(idle),
    }
}

/// What must be used at least of the one limit of a calm world where the callers want, and may make, twice as much all the time: two
/// windows may be lost until it is known how they lie, and a call may weigh for as long as it takes longer than its window. Nothing
/// anywhere else.
fn utilisation_least(it: &World, scenario: &Scenario, run: &Run) -> f64 {
    let (budget, load) = (&scenario.budgets[0], &scenario.load);
    let is_one = scenario.budgets.len() == 1 && budget.upstream.rules.len() == 1;
    if !it.is_calm || !is_one || !load.spikes.is_empty() {
        return 0.0;
    }
    let of = |times: &Millis| Duration::from_millis(*times.end());
    let network = &scenario.network;
    let regions = || network.replicas.iter();
    let near =
        regions().map(|region| of(&region.worker_replica)).max().unwrap_or(of(&network.worker_replica));
    let store = regions().map(|region| of(&region.replica_store)).max().unwrap_or(of(&network.replica_store));
    // There and back: what a call takes in all, with its settlement, and what of that holds a slot.
    let held = of(&load.service) + (of(&network.worker_upstream) + near + store) * 2;
    let cycle = held + of(&load.think) + (near + store) * 2;
    let makes =
        |callers: u64, each: Duration| callers * ms_of(it.window) / ms_of(each).max(1) >= it.capacity * 2;
    let slots = budget.upstream.slots.is_none_or(|slots| makes(slots.capacity, held + slots.linger));
    if !makes(u64::from(run.workers), cycle) || !slots {
        return 0.0;
    }
    let known = 1.0 - 2.0 / f64::from(scenario.windows);
    known * it.window.as_secs_f64() / (it.window + cycle).as_secs_f64()
}

fn ms_of(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
