use std::{collections::BTreeSet, time::Duration};

use bursar_dialect::Profiles;
use bursar_quota::{ClassName, LimitKind, UnitName};

use super::*;
use crate::simulate::plan::{Foreign, RuleKind, Style};

/// What the project promises to have.
const PROMISED: [&str; 29] = [
    "window",
    "window-concurrency",
    "autotask",
    "salestim",
    "bucket",
    "sliding",
    "late",
    "first-call",
    "reorder",
    "headerless",
    "lying",
    "lagging",
    "foreign",
    "foreign-half",
    "foreign-burst",
    "limit-change",
    "retry-after",
    "secondary",
    "cold-start",
    "tokens",
    "rolling-reset",
    "gcra",
    "weighted",
    "subwindow",
    "parts",
    "clock",
    "chaos",
    "spikes",
    "regions",
];

fn of_all_sizes() -> Vec<Sizes> {
    let sizes = |replicas, workers, windows| Sizes {
        replicas: Some(replicas),
        workers: Some(workers),
        windows: Some(windows),
        faults: replicas == 7,
        used_least: None,
    };
    vec![Sizes::default(), sizes(1, 1, 1), sizes(7, 200, 3), sizes(2, 3, 100)]
}

/// Whether what is declared of the first limit is never more than what is true of the first rule.
fn is_declared_truly(scenario: &Scenario) -> bool {
    scenario.budgets.iter().all(|budget| {
        let (limit, rule) = (&budget.spec.limits[0], &budget.upstream.rules[0]);
        match (&limit.kind, rule.kind) {
            (LimitKind::Window { aligned: false, .. }, kind) => {
                !matches!(kind, RuleKind::Weighted | RuleKind::WeightedEnds | RuleKind::Parts(_))
            }
            (LimitKind::Window { .. }, RuleKind::Clock) => true,
            (LimitKind::Window { on_clock, .. }, RuleKind::FirstCall) => !on_clock,
            (LimitKind::Bucket { .. }, RuleKind::Bucket | RuleKind::Gcra) => true,
            _ => false,
        }
    })
}

/// Checks that a scenario can be played at all.
fn check(scenario: &Scenario, profiles: &mut Profiles) {
    let name = scenario.name;
    assert!(!scenario.about.is_empty() && !scenario.about.contains('\n'), "{name}");
    assert!(scenario.replicas >= 1 && scenario.workers >= 1 && scenario.windows >= 1, "{name}");
    assert!(scenario.span() > scenario.from, "{name}");
    for budget in &scenario.budgets {
        budget.spec.validate().unwrap();
        if let Some(profile) = budget.profile {
            profiles.add_toml(profile).unwrap();
        }
        assert!(profiles.get(budget.spec.profile.as_ref().unwrap()).is_some(), "{name}");
        let upstream = &budget.upstream;
        let limits: Vec<&str> = budget.spec.limits.iter().map(|limit| limit.name.as_str()).collect();
        let rules: BTreeSet<&str> = upstream.rules.iter().map(|rule| rule.name.as_str()).collect();
        assert_eq!(rules.len(), upstream.rules.len(), "{name}");
        for rule in &upstream.rules {
            let at = limits.iter().position(|limit| *limit == rule.name).expect("each rule is declared");
            let limit = &budget.spec.limits[at];
            assert_eq!(limit.kind.capacity(), rule.capacity, "{name}");
            assert_eq!(limit.unit.as_str(), rule.unit, "{name}");
            assert_eq!(limit.classes.len(), rule.classes.len(), "{name}");
            assert!(rule.phase < rule.window, "{name}");
            assert!(
                !limit.readings || rule.style != Style::Silent,
                "{name}: {} promises what it never sends",
                rule.name
            );
            if let LimitKind::Window { window, .. } = limit.kind {
                assert_eq!(window, rule.window, "{name}");
            }
        }
        let slots = budget.spec.limits.iter().find_map(|limit| match limit.kind {
            LimitKind::Concurrency { capacity, linger } => Some((capacity, linger)),
            _ => None,
        });
        assert_eq!(slots.map(|slots| slots.0), upstream.slots.map(|slots| slots.capacity), "{name}");
        assert!(slots.is_none_or(|(_, linger)| linger >= upstream.slots.unwrap().linger), "{name}");
        assert_eq!(upstream.demand, scenario.load.spikes, "{name}");
        assert!(
            upstream.changes.iter().all(|change| rules.contains(change.rule.as_str()) && change.capacity > 0)
        );
        assert!(upstream.changes.is_sorted_by_key(|change| change.at));
        for class in &scenario.load.classes {
            let class =
                budget.spec.class_or_default(class.name.as_deref().map(|it| ClassName::new(it).unwrap()));
            for most in [false, true] {
                let cost = |cost: &crate::simulate::plan::CostPlan| {
                    let amount = if most { *cost.estimate.end() } else { *cost.estimate.start() };
                    (UnitName::new(&cost.unit).unwrap(), amount)
                };
                let costs: Vec<_> = scenario.load.costs.iter().map(cost).collect();
                let costs = budget.spec.costs(&class, &costs).unwrap();
                for (limit, cost) in budget.spec.limits.iter().zip(costs) {
                    assert!(cost <= limit.kind.capacity(), "{name}: {} never fits {}", limit.name, cost);
                }
            }
        }
    }
    let faults = &scenario.faults;
    assert!(faults.events.iter().all(|event| event.at + event.lasts <= faults.heal_at), "{name}");
    assert!(faults.events.is_sorted_by_key(|event| event.at), "{name}");
    assert!(scenario.load.spikes.windows(2).all(|two| two[0].1 <= two[1].0), "{name}");
    assert!(scenario.load.spikes.iter().all(|(from, to)| from < to && *to <= scenario.span()), "{name}");
    assert!(
        !scenario.load.classes.is_empty() && !scenario.load.tiers.is_empty() && scenario.load.tenants > 0
    );
}

#[test]
fn every_promised_scenario_is_there_once() {
    let names: Vec<&str> = scenarios().iter().map(|info| info.name).collect();
    for name in PROMISED.into_iter().chain(["lost-20s", "lost-70s", "late-undeclared"]) {
        assert_eq!(names.iter().filter(|it| **it == name).count(), 1, "{name}");
    }
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    assert!(scenario("nothing", 1, &Sizes::default()).is_none());
}

#[test]
fn every_scenario_can_be_played_in_every_size() {
    let mut profiles = Profiles::builtin();
    for info in scenarios() {
        for sizes in of_all_sizes() {
            for seed in 0..10 {
                let scenario = scenario(info.name, seed, &sizes).unwrap();
                check(&scenario, &mut profiles);
                for said in [
                    sizes.replicas.map(|it| it == scenario.replicas),
                    sizes.workers.map(|it| it == scenario.workers),
                    sizes.windows.map(|it| it == scenario.windows),
                ] {
                    assert_ne!(said, Some(false), "{}", info.name);
                }
            }
        }
    }
}

#[test]
fn the_same_seed_is_the_same_world_and_another_seed_is_another() {
    for info in scenarios() {
        let world = |seed| format!("{:?}", scenario(info.name, seed, &Sizes::default()));
        assert_eq!(world(7), world(7));
        assert_ne!(world(7), world(8), "{}", info.name);
    }
}

#[test]
fn no_refusal_is_demanded_only_of_what_is_declared_truly() {
    let misled = ["rolling-reset", "gcra", "weighted", "weighted-ends", "subwindow", "parts"];
    for info in scenarios() {
        for seed in 0..300 {
            let scenario = scenario(info.name, seed, &Sizes::default()).unwrap();
            let is_true = is_declared_truly(&scenario);
            assert!(is_true != misled.contains(&info.name) || info.name == CHAOS, "{}", info.name);
            if scenario.expects.refused_most != Some(0) {
                continue;
            }
            assert!(is_true, "{} {seed}", info.name);
            for upstream in scenario.budgets.iter().map(|budget| &budget.upstream) {
                assert_eq!(upstream.foreign, Foreign::None, "{} {seed}", info.name);
                assert!(upstream.changes.is_empty(), "{} {seed}", info.name);
            }
        }
    }
}

#[test]
fn chaos_is_small_and_of_every_kind() {
    let mut profiles = Profiles::builtin();
    let (mut kinds, mut claimed, mut healed) = (BTreeSet::new(), 0, 0);
    for seed in 0..2000 {
        let scenario = scenario(CHAOS, seed, &Sizes::default()).unwrap();
        check(&scenario, &mut profiles);
        let rule = &scenario.budgets[0].upstream.rules[0];
        kinds.insert(format!("{:?} {:?}", rule.kind, rule.style));
        claimed += u32::from(scenario.expects.refused_most == Some(0));
        healed += u32::from(!scenario.faults.heal_at.is_zero());
        assert!(rule.capacity * u64::from(scenario.windows) <= 500, "{seed}");
        assert!(scenario.expects.idle_bound.is_some(), "{seed}: nothing demands that anybody is served");
        assert!(scenario.faults.heal_at < scenario.span() + Duration::from_secs(60), "{seed}");
    }
    // 7 kinds (the bucket in two forms), 5 styles.
    assert_eq!(kinds.len(), 35, "{kinds:?}");
    assert!(claimed > 700 && claimed < 1800, "{claimed}");
    assert!(healed > 1000, "{healed}");
}
