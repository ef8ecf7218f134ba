//! What scenarios are put together from: a world in which all is well, to be changed.

use std::time::Duration;

use bursar_dialect::Profiles;
use bursar_quota::{
    BudgetName, BudgetSpec, ClassName, LimitKind, LimitName, LimitSpec, ProfileName, Tier, UnitName,
};

use super::draws::Draws;
use crate::simulate::plan::{
    Body, BudgetPlan, ClassPlan, Expectation, FaultPlan, Foreign, Load, NetworkPlan, Noise, Placement,
    RefusalPlan, RetryAfter, RuleKind, RulePlan, Scenario, SlotsPlan, Style, UpstreamPlan,
};

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MINUTE: Duration = Duration::from_secs(60);

/// The sizes of a run, as far as a scenario depends on them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub(super) workers: u16,
    pub(super) replicas: u16,
    pub(super) windows: u32,
}

/// How a limit is declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Declared {
    /// Nothing is believed of its windows.
    Rolling,
    /// All is given back at its end.
    Aligned,
    /// And its ends are on a clock.
    OnClock,
}

/// So much per window, declared so.
pub(super) fn window(capacity: u64, window: Duration, declared: Declared) -> LimitKind {
    let aligned = declared != Declared::Rolling;
    LimitKind::Window { capacity, window, aligned, on_clock: declared == Declared::OnClock }
}

/// A bucket of `capacity` that refills so much in a window.
#[allow(clippy::cast_precision_loss, reason = "capacities are below 10^12, exact in a double")]
pub(super) fn bucket(capacity: u64, window: Duration) -> LimitKind {
    LimitKind::Bucket { capacity, refill_per_second: capacity as f64 / window.as_secs_f64() }
}

/// A limit whose readings are promised where it is a window or a bucket.
#[allow(clippy::expect_used, reason = "names are constants of the scenarios, each of which a test builds")]
pub(super) fn limit(name: &str, kind: LimitKind) -> LimitSpec {
    let readings = matches!(kind, LimitKind::Window { .. } | LimitKind::Bucket { .. });
    LimitSpec { readings, ..LimitSpec::new(LimitName::new(name).expect("a name"), kind) }
}

/// So many calls at once.
pub(super) fn at_once(capacity: u64, linger: Duration) -> LimitSpec {
    limit("concurrency", LimitKind::Concurrency { capacity, linger })
}

#[allow(clippy::expect_used, reason = "names are constants of the scenarios, each of which a test builds")]
pub(super) fn class(name: &str) -> ClassName {
    ClassName::new(name).expect("a name")
}

#[allow(clippy::expect_used, reason = "names are constants of the scenarios, each of which a test builds")]
pub(super) fn unit(name: &str) -> UnitName {
    UnitName::new(name).expect("a name")
}

/// The budget, with these limits, whose responses speak the dialect of this profile.
#[allow(clippy::expect_used, reason = "names are constants of the scenarios, each of which a test builds")]
pub(super) fn spec(profile: &str, limits: Vec<LimitSpec>) -> BudgetSpec {
    let name = BudgetName::new("upstream/token").expect("a name");
    let profile = ProfileName::new(profile).expect("a name");
    BudgetSpec { profile: Some(profile), ..BudgetSpec::new(name, limits) }
}

/// The budget as a profile that is built in declares it.
#[allow(clippy::expect_used, reason = "names are constants of the scenarios, each of which a test builds")]
pub(super) fn as_profiled(profile: &str) -> BudgetSpec {
    let profiles = Profiles::builtin();
    let name = ProfileName::new(profile).expect("a name");
    let known = profiles.get(&name).expect("a profile that is built in");
    BudgetSpec { profile: Some(name), ..known.budget(BudgetName::new("upstream/token").expect("a name")) }
}

/// The profile that reads a style.
pub(super) fn profile_of(style: Style) -> &'static str {
    match style {
        Style::Delta | Style::Structured => "ietf",
        Style::NoReset | Style::Epoch | Style::Silent | Style::PerUnit => "generic",
    }
}

/// A rule on requests of all classes.
pub(super) fn rule(
    name: &str,
    kind: RuleKind,
    capacity: u64,
    window: Duration,
    phase: Duration,
    style: Style,
) -> RulePlan {
    RulePlan {
        name: name.to_owned(),
        unit: "requests".to_owned(),
        classes: Vec::new(),
        kind,
        capacity,
        window,
        phase: Duration::from_nanos(u64::try_from(phase.as_nanos() % window.as_nanos()).unwrap_or_default()),
        refusals_count: false,
        used_at_start: 0,
        style,
    }
}

/// An upstream with these rules and nothing wrong, whose clock is right to the second.
pub(super) fn upstream(draws: &mut Draws, rules: Vec<RulePlan>) -> UpstreamPlan {
    UpstreamPlan {
        rules,
        slots: None,
        refusal: RefusalPlan {
            status: 429,
            retry_after: RetryAfter::Seconds,
            omitted: 0,
            readings: true,
            body: Body::ErrorCode,
        },
        noise: Noise::default(),
        secondary: Vec::new(),
        // Whole seconds of its clock are at any moment of ours.
        clock_ms: i64::from(draws.small(0..=999)),
        foreign: Foreign::None,
        foreign_class: "default".to_owned(),
        changes: Vec::new(),
        demand: Vec::new(),
        main_unit: "requests".to_owned(),
        main_classes: vec!["default".to_owned()],
    }
}

/// So many calls at once, whose slots linger for 50 ms.
pub(super) fn slots(capacity: u64) -> SlotsPlan {
    SlotsPlan { capacity, linger: Duration::from_millis(50) }
}

/// Full demand of five equal tenants, answered within half a second, who wait for two windows.
pub(super) fn load(window: Duration) -> Load {
    Load {
        think: 0..=0,
        service: 50..=450,
        quick: 0,
        quick_service: 0..=0,
        classes: vec![ClassPlan { name: None, weight: 1 }],
        costs: Vec::new(),
        max_wait: window * 2,
        ttl: None,
        tenants: 5,
        placement: Placement::Spread,
        tiers: vec![Tier::Standard],
        spikes: Vec::new(),
    }
}

/// A data centre, and the upstream across the internet.
pub(super) fn network() -> NetworkPlan {
    NetworkPlan { worker_replica: 0..=3, replica_store: 0..=2, worker_upstream: 5..=40, replicas: Vec::new() }
}

/// Nothing goes wrong.
pub(super) fn no_faults() -> FaultPlan {
    FaultPlan {
        stall: 0,
        stall_for: 0..=0,
        death: 0,
        twice: 0,
        late: 0,
        late_by: 0..=0,
        lost_answer: 0,
        retried: 0,
        reply_lost: 0,
        call_lost: 0,
        delayed: 0,
        delay_by: 0..=0,
        doubled: 0,
        events: Vec::new(),
        heal_at: Duration::ZERO,
    }
}

/// What is demanded where all use goes through Bursar and what is declared is true.
pub(super) fn all_of_it(window: Duration) -> Expectation {
    Expectation {
        refused_most: Some(0),
        refused_per_window_most: None,
        epochs_most: Some(0),
        secondary_most: None,
        probes_most: None,
        utilisation_least: 0.995,
        jain_least: 0.99,
        tier_error_most: None,
        lone_wait_most: None,
        bounded_at_rest: true,
        exact_at_rest: true,
        charges_exact: true,
        wait_bound: Some(window * 2),
        idle_bound: Some(window * 2),
    }
}

/// One limit on requests: what is declared, and what is true.
#[derive(Debug, Clone, Copy)]
pub(super) struct OneLimit {
    pub(super) capacity: u64,
    pub(super) window: Duration,
    pub(super) declared: Declared,
    pub(super) kind: RuleKind,
    pub(super) style: Style,
}

impl OneLimit {
    /// 600 a minute on a clock, declared as that, told in a style that the seed chooses.
    pub(super) fn minute(draws: &mut Draws) -> Self {
        let style = draws.one_of(&[Style::Epoch, Style::Delta, Style::Structured]);
        Self { capacity: 600, window: MINUTE, declared: Declared::Aligned, kind: RuleKind::Clock, style }
    }

    /// The world in which this is all there is. The phase is the seed's.
    pub(super) fn world(self, draws: &mut Draws, run: &Run) -> Scenario {
        let Self { capacity, window: length, declared, kind, style } = self;
        let phase = draws.part(length, 1..=1000);
        let rules = vec![rule("requests", kind, capacity, length, phase, style)];
        let declared = limit("requests", window(capacity, length, declared));
        let declared = LimitSpec { readings: style != Style::Silent, ..declared };
        // Windows that begin whenever somebody calls, and what has none, are measured from the start.
        let is_on_clock = matches!(
            kind,
            RuleKind::Clock | RuleKind::Weighted | RuleKind::WeightedEnds | RuleKind::Parts(_)
        );
        let from = if is_on_clock { phase } else { Duration::ZERO };
        let budget = BudgetPlan {
            spec: spec(profile_of(style), vec![declared]),
            upstream: upstream(draws, rules),
            profile: None,
        };
        world(budget, length, from, run)
    }
}

/// A world of one budget.
pub(super) fn world(budget: BudgetPlan, window: Duration, from: Duration, run: &Run) -> Scenario {
    Scenario {
        name: "",
        about: "",
        budgets: vec![budget],
        load: load(window),
        network: network(),
        faults: no_faults(),
        expects: all_of_it(window),
        replicas: run.replicas,
        workers: run.workers,
        windows: run.windows,
        window,
        from,
    }
}

/// A moment in the measured span: so many thousandths of its windows after the first began (a whole number of them, at least
/// one where there is more than one), and so far into that window.
pub(super) fn moment(scenario: &Scenario, share: u32, into: Duration) -> Duration {
    let index = scenario.windows.saturating_mul(share) / 1000;
    scenario.from + scenario.window * index.max(1).min(scenario.windows.saturating_sub(1)) + into
}
