//! The rules of an upstream in one decision.

use std::time::Duration;

use super::spell::Told;
use crate::{
    model::{
        ClockWindow, FirstCallWindow, Gcra, LeakyBucket, Model, RollingLog, SubWindows, WeightedWindows,
    },
    simulate::plan::{RuleKind, RulePlan},
};

/// One rule, and what it counted.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) plan: RulePlan,
    pub(super) model: Box<dyn Model>,
    pub(super) accepted: u64,
    pub(super) refused: u64,
    pub(super) foreign: u64,
    pub(super) charged: u64,
    /// What was copied of it last, and when, where readings lag.
    pub(super) copied: Option<(Duration, Told)>,
}

impl Rule {
    /// Nothing has happened, but what was used at the start.
    pub(super) fn new(plan: &RulePlan) -> Self {
        let RulePlan { capacity, window, phase, .. } = *plan;
        let capacity = capacity.max(1);
        let mut model: Box<dyn Model> = match plan.kind {
            RuleKind::Clock => Box::new(ClockWindow::new(capacity, window, phase)),
            RuleKind::FirstCall => Box::new(FirstCallWindow::new(capacity, window)),
            RuleKind::Rolling => Box::new(RollingLog::new(capacity, window)),
            RuleKind::Bucket => Box::new(LeakyBucket::new(capacity, capacity, window)),
            RuleKind::Gcra => Box::new(Gcra::new(capacity, capacity, window)),
            RuleKind::Weighted => Box::new(WeightedWindows::new(capacity, window, phase)),
            RuleKind::WeightedEnds => Box::new(WeightedWindows::naming_ends(capacity, window, phase)),
            RuleKind::Parts(parts) => Box::new(SubWindows::new(capacity, window, parts, phase)),
        };
        if plan.used_at_start > 0 {
            model.charge(Duration::ZERO, plan.used_at_start);
        }
        Self { plan: plan.clone(), model, accepted: 0, refused: 0, foreign: 0, charged: 0, copied: None }
    }

    pub(super) fn applies_to(&self, class: &str) -> bool {
        self.plan.classes.is_empty() || self.plan.classes.iter().any(|it| it == class)
    }

    /// What a call costs here: 1 of what it does not name.
    pub(super) fn cost(&self, units: &[(String, u64)]) -> u64 {
        units.iter().find(|(unit, _)| *unit == self.plan.unit).map_or(1, |(_, cost)| *cost)
    }

    /// Whether what is used beyond the capacity is forgotten with the window, and not a debt that has to be paid back.
    pub(super) fn forgets(&self) -> bool {
        !matches!(self.plan.kind, RuleKind::Bucket | RuleKind::Gcra)
    }
}

/// The first rule in order that a call of `class` does not fit at `now`.
pub(super) fn full(rules: &mut [Rule], now: Duration, class: &str, units: &[(String, u64)]) -> Option<usize> {
    rules.iter_mut().position(|rule| {
        let cost = rule.cost(units);
        rule.applies_to(class) && !rule.model.fits(now, cost)
    })
}
