//! Upstreams as they are declared, of every kind.

use std::time::Duration;

use super::{
    draws::Draws,
    parts::{
        Declared, MINUTE, OneLimit, Run, SECOND, all_of_it, as_profiled, at_once, bucket, class, limit, rule,
        slots, spec, unit, upstream, window, world,
    },
};
use crate::simulate::plan::{
    Body, BudgetPlan, ClassPlan, CostPlan, RuleKind, RulePlan, Scenario, SlotsPlan, Style,
};

/// 600 a minute, on a clock whose phase nobody knows, told in one of three styles. All of it, and no refusal.
pub(super) fn one_window(draws: &mut Draws, run: &Run) -> Scenario {
    OneLimit::minute(draws).world(draws, run)
}

/// The same, and 3 calls at once, whose slots are freed 50 ms after the response. All of it, and no refusal.
pub(super) fn window_concurrency(draws: &mut Draws, run: &Run) -> Scenario {
    let mut scenario = OneLimit::minute(draws).world(draws, run);
    let slots = slots(3);
    let budget = &mut scenario.budgets[0];
    budget.spec.limits.push(at_once(slots.capacity, slots.linger));
    budget.upstream.slots = Some(slots);
    // Three at once make 600 a minute only where a call takes less than 300 ms in all.
    scenario.load.service = 20..=150;
    scenario.network.worker_upstream = 5..=25;
    scenario
}

/// Autotask as its profile declares it: 600 a minute, 10 a minute to authenticate, 3 at once. One call in a hundred
/// authenticates. All of the 600, and no refusal.
pub(super) fn autotask(draws: &mut Draws, run: &Run) -> Scenario {
    let phases = [draws.part(MINUTE, 1..=1000), draws.part(MINUTE, 1..=1000)];
    let auth = rule("auth", RuleKind::Clock, 10, MINUTE, phases[1], Style::Silent);
    let rules = vec![
        rule("requests", RuleKind::Clock, 600, MINUTE, phases[0], Style::Epoch),
        RulePlan { classes: vec!["auth".to_owned()], ..auth },
    ];
    let mut upstream = upstream(draws, rules);
    upstream.slots = Some(SlotsPlan { capacity: 3, linger: Duration::from_millis(50) });
    // May be absent there.
    upstream.refusal.omitted = 300;
    let budget = BudgetPlan { spec: as_profiled("autotask"), upstream, profile: None };
    let mut scenario = world(budget, MINUTE, phases[0], run);
    scenario.load.service = 20..=120;
    scenario.network.worker_upstream = 5..=15;
    scenario.load.classes =
        vec![ClassPlan { name: None, weight: 99 }, ClassPlan { name: Some("auth".to_owned()), weight: 1 }];
    // Who authenticates waits for those 10, while the others have theirs.
    scenario.expects.wait_bound = Some(MINUTE * 3);
    scenario.expects.jain_least = 0.98;
    scenario
}

/// SalesTim as its profile declares it: 6 reads and 6 writes in a quarter of an hour, refusals count, no reset is sent;
/// the windows are on a clock. 99 % of both, and no refusal.
pub(super) fn salestim(draws: &mut Draws, run: &Run) -> Scenario {
    salestim_of(draws, run, RuleKind::Clock)
}

/// The same, of an upstream whose windows roll.
pub(super) fn salestim_rolling(draws: &mut Draws, run: &Run) -> Scenario {
    salestim_of(draws, run, RuleKind::Rolling)
}

fn salestim_of(draws: &mut Draws, run: &Run, kind: RuleKind) -> Scenario {
    let quarter = MINUTE * 15;
    let phase = draws.part(quarter, 1..=1000);
    let rules = [("reads", "read"), ("writes", "write")].map(|(name, class)| RulePlan {
        classes: vec![class.to_owned()],
        refusals_count: true,
        ..rule(name, kind, 6, quarter, phase, Style::NoReset)
    });
    let mut upstream = upstream(draws, rules.into());
    upstream.refusal.body = Body::RateLimitExceeded;
    upstream.refusal.omitted = 300;
    upstream.foreign_class = "read".to_owned();
    upstream.main_classes = vec!["read".to_owned(), "write".to_owned()];
    let budget = BudgetPlan { spec: as_profiled("salestim"), upstream, profile: None };
    let from = if kind == RuleKind::Clock { phase } else { Duration::ZERO };
    let mut scenario = world(budget, quarter, from, run);
    scenario.load.classes =
        ["read", "write"].map(|it| ClassPlan { name: Some(it.to_owned()), weight: 1 }).into();
    // Twelve permits for fifty workers, none of whom waits for longer than an hour: who gives up loses his place.
    scenario.load.max_wait = quarter * 4;
    scenario.expects.wait_bound = None;
    scenario.expects.utilisation_least = 0.99;
    scenario.expects.jain_least = 0.0;
    scenario.expects.exact_at_rest = false;
    scenario
}

/// A bucket of 60 that refills 10 a second, declared as that. All of it, and no refusal.
pub(super) fn leaky_bucket(draws: &mut Draws, run: &Run) -> Scenario {
    let refill = SECOND * 6;
    let rules = vec![rule("requests", RuleKind::Bucket, 60, refill, Duration::ZERO, Style::Delta)];
    let limits = vec![limit("requests", bucket(60, refill))];
    let budget = BudgetPlan { spec: spec("ietf", limits), upstream: upstream(draws, rules), profile: None };
    let mut scenario = world(budget, MINUTE, Duration::ZERO, run);
    scenario.expects.exact_at_rest = false;
    scenario
}

/// 600 in any 60 seconds, declared as rolling; its reset is when the oldest call drops out. 99 %, and no refusal.
pub(super) fn sliding(draws: &mut Draws, run: &Run) -> Scenario {
    let minute = OneLimit::minute(draws);
    let rolling = OneLimit { declared: Declared::Rolling, kind: RuleKind::Rolling, ..minute };
    let mut scenario = rolling.world(draws, run);
    scenario.expects.utilisation_least = 0.99;
    scenario.expects.exact_at_rest = false;
    scenario
}

/// All responses take longer than a window, but every call is sent within 5 s. The windows are declared to be on a clock.
/// 99 %, and no refusal.
pub(super) fn late(draws: &mut Draws, run: &Run) -> Scenario {
    let mut scenario = late_as(draws, run, Declared::OnClock);
    scenario.expects.utilisation_least = 0.99;
    scenario
}

/// All responses take longer than a window, and nothing is declared of the windows but that they are aligned. 90 %, and no
/// refusal.
pub(super) fn late_undeclared(draws: &mut Draws, run: &Run) -> Scenario {
    let mut scenario = late_as(draws, run, Declared::Aligned);
    // The first window costs the most: until an answer has come nothing is known of its end.
    scenario.expects.utilisation_least = 0.95 - 1.0 / f64::from(run.windows);
    scenario
}

fn late_as(draws: &mut Draws, run: &Run, declared: Declared) -> Scenario {
    let style = draws.one_of(&[Style::Epoch, Style::Delta, Style::Structured]);
    // So few that the workers, each of whom makes 0.8 calls a window, want more than there is.
    let capacity = (u64::from(run.workers) * 3 / 5).max(1);
    let kind = RuleKind::Clock;
    let mut scenario = OneLimit { capacity, window: MINUTE, declared, kind, style }.world(draws, run);
    scenario.load.service = 61_000..=90_000;
    // The permit outlives its response.
    scenario.load.ttl = Some(SECOND * 120);
    scenario.load.max_wait = MINUTE * 5;
    // The first responses are a window late.
    scenario.from += MINUTE * 2;
    scenario.expects.wait_bound = Some(MINUTE * 6);
    scenario.expects.exact_at_rest = false;
    scenario.expects.jain_least = 0.95;
    scenario
}

/// Windows that start with their first call, as INCR and EXPIRE make them; now and then nobody wants anything for longer than
/// a window. All of it, and no refusal.
pub(super) fn first_call(draws: &mut Draws, run: &Run) -> Scenario {
    let minute = OneLimit::minute(draws);
    let mut scenario = OneLimit { kind: RuleKind::FirstCall, ..minute }.world(draws, run);
    // Demand for some windows, then none for two to three: who waited still calls, and begins a window that is over then.
    let mut at = Duration::ZERO;
    while at < scenario.span() {
        // Windows follow each other from the first call on, each a little later than the one before.
        let to = at + MINUTE * draws.small(3..=6) - draws.ms(10_000..=30_000);
        scenario.load.spikes.push((at, to.min(scenario.span())));
        at = to + draws.ms(125_000..=180_000);
    }
    scenario
}

/// Two units at once: 600 requests and 150,000 tokens a minute, told apart as OpenAI does. What a call costs in tokens is
/// known only afterwards; what is reserved is enough. All of the tokens, and no refusal.
pub(super) fn tokens(draws: &mut Draws, run: &Run) -> Scenario {
    let phase = draws.part(MINUTE, 1..=1000);
    let requests = rule("requests", RuleKind::Clock, 600, MINUTE, phase, Style::PerUnit);
    let tokens = RulePlan {
        unit: "tokens".to_owned(),
        ..rule("tokens", RuleKind::Clock, 150_000, MINUTE, phase, Style::PerUnit)
    };
    let mut upstream = upstream(draws, vec![requests, tokens]);
    upstream.main_unit = "tokens".to_owned();
    let kind = |capacity| window(capacity, MINUTE, Declared::Aligned);
    let mut limits = vec![limit("requests", kind(600)), limit("tokens", kind(150_000))];
    limits[1].unit = unit("tokens");
    limits[1].default_cost = 500;
    let budget = BudgetPlan { spec: spec("two-units", limits), upstream, profile: Some(TWO_UNITS) };
    let mut scenario = world(budget, MINUTE, phase, run);
    // 300 tokens a call on average, 450 reserved: what is left at a window's end is less than one reservation.
    scenario.load.costs =
        vec![CostPlan { unit: "tokens".to_owned(), estimate: 300..=600, actual: 333..=1000 }];
    scenario
}

/// OpenAI's headers: two units, each with its own.
const TWO_UNITS: &str = r#"
name = "two-units"
title = "x-ratelimit-*-requests and x-ratelimit-*-tokens"

[[families]]
name = "x-ratelimit-*-<unit>"
[[families.readings]]
for_limit = "requests"
limit = "x-ratelimit-limit-requests"
remaining = "x-ratelimit-remaining-requests"
reset = { from = "x-ratelimit-reset-requests", unit = "duration", rounding = "up" }
[[families.readings]]
for_limit = "tokens"
limit = "x-ratelimit-limit-tokens"
remaining = "x-ratelimit-remaining-tokens"
reset = { from = "x-ratelimit-reset-tokens", unit = "duration", rounding = "up" }
"#;

/// Two windows on one unit: 100 in 10 seconds and 500 a minute, both told. All of it, and no refusal.
pub(super) fn two_windows(draws: &mut Draws, run: &Run) -> Scenario {
    let (short, phase) = (SECOND * 10, draws.part(MINUTE, 1..=1000));
    let rules = vec![
        rule("minute", RuleKind::Clock, 500, MINUTE, phase, Style::Structured),
        rule("burst", RuleKind::Clock, 100, short, phase, Style::Structured),
    ];
    let limits = vec![
        limit("minute", window(500, MINUTE, Declared::Aligned)),
        limit("burst", window(100, short, Declared::Aligned)),
    ];
    let budget = BudgetPlan { spec: spec("ietf", limits), upstream: upstream(draws, rules), profile: None };
    world(budget, MINUTE, phase, run)
}

/// A few calls in some seconds, of all sizes: 1 to 5 in 2 to 20 s. 90 %, and no refusal.
pub(super) fn tiny(draws: &mut Draws, run: &Run) -> Scenario {
    let minute = OneLimit::minute(draws);
    let (capacity, window) = (draws.number(1..=5), SECOND * draws.small(2..=20));
    let mut scenario = OneLimit { capacity, window, ..minute }.world(draws, run);
    scenario.load.max_wait = window * u32::from(run.workers).max(2);
    scenario.expects = all_of_it(window);
    // A window's end is known to a second or two, and a permit may be on its way for some hundred ms.
    scenario.expects.utilisation_least = if window >= SECOND * 10 { 0.9 } else { 0.4 };
    scenario.expects.wait_bound = None;
    scenario.expects.jain_least = 0.0;
    scenario
}

/// 3,000 an hour for calls of three classes, one of which has 20 a minute of its own. 99 %, and no refusal.
pub(super) fn hourly(draws: &mut Draws, run: &Run) -> Scenario {
    let hour = MINUTE * 60;
    let phases = [draws.part(hour, 1..=1000), draws.part(MINUTE, 1..=1000)];
    let mut limits = vec![
        limit("hourly", window(3000, hour, Declared::Aligned)),
        limit("searches", window(20, MINUTE, Declared::Aligned)),
    ];
    limits[1].classes = vec![class("search")];
    let search = rule("searches", RuleKind::Clock, 20, MINUTE, phases[1], Style::Structured);
    let rules = vec![
        rule("hourly", RuleKind::Clock, 3000, hour, phases[0], Style::Structured),
        RulePlan { classes: vec!["search".to_owned()], ..search },
    ];
    let budget = BudgetPlan { spec: spec("ietf", limits), upstream: upstream(draws, rules), profile: None };
    let mut scenario = world(budget, hour, phases[0], run);
    scenario.load.classes = [("read", 60), ("write", 30), ("search", 1)]
        .map(|(name, weight)| ClassPlan { name: Some(name.to_owned()), weight })
        .into();
    scenario.expects.utilisation_least = 0.99;
    // The hour is used up within a minute, and that has 20 searches, where 33 are wanted: who wants one waits for hours.
    scenario.expects.wait_bound = None;
    scenario.expects.jain_least = 0.98;
    scenario
}
