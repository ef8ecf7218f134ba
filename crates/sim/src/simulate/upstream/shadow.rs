//! What an upstream would have accepted from us: the measure of waste.

use std::time::Duration;

use super::rules::Rule;
use crate::simulate::plan::{Secondary, UpstreamPlan};

/// An account with the same rules, in which somebody tireless calls at the very moment at which anything fits. What others
/// were accepted in truth is accepted here too: he has foreseen it, and left it room.
#[derive(Debug)]
pub(super) struct Shadow {
    /// One for each class.
    lanes: Vec<Lane>,
    /// Spans in which everything is refused, or nobody wants anything.
    closed: Vec<(Duration, Duration)>,
    main_unit: String,
}

#[derive(Debug)]
struct Lane {
    class: String,
    rules: Vec<Rule>,
    /// Up to then all is taken.
    at: Duration,
    taken: u64,
    /// What he had taken when others came for it.
    displaced: u64,
}

impl Shadow {
    pub(super) fn new(plan: &UpstreamPlan) -> Self {
        let lane = |class: &String| Lane {
            class: class.clone(),
            rules: plan.rules.iter().map(Rule::new).collect(),
            at: Duration::ZERO,
            taken: 0,
            displaced: 0,
        };
        let whole = |secondary: &&Secondary| secondary.share >= 1000;
        let mut closed: Vec<_> = plan.secondary.iter().filter(whole).map(|it| (it.from, it.to)).collect();
        let ends = plan.demand.iter().map(|(_, to)| *to);
        let begins = plan.demand.iter().map(|(from, _)| *from).chain([Duration::MAX]);
        closed
            .extend([Duration::ZERO].into_iter().chain(ends).zip(begins).filter(|_| !plan.demand.is_empty()));
        Self {
            lanes: plan.main_classes.iter().map(lane).collect(),
            closed,
            main_unit: plan.main_unit.clone(),
        }
    }

    /// Takes all that fits before `now`.
    pub(super) fn run(&mut self, now: Duration) {
        for lane in &mut self.lanes {
            lane.run(now, &self.main_unit, &self.closed);
        }
    }

    /// Others were accepted so much at `now`.
    pub(super) fn foreign(&mut self, now: Duration, class: &str, count: u64) {
        self.run(now);
        for lane in &mut self.lanes {
            lane.foreign(now, class, count, &self.main_unit);
        }
    }

    /// A rule has another capacity from `now` on.
    pub(super) fn resize(&mut self, now: Duration, rule: usize, capacity: u64) {
        self.run(now);
        for lane in &mut self.lanes {
            lane.rules[rule].model.resize(now, capacity);
        }
    }

    /// What was taken before `now`, in the main unit.
    pub(super) fn offered(&mut self, now: Duration) -> u64 {
        self.run(now);
        self.lanes.iter().map(|lane| lane.taken.saturating_sub(lane.displaced)).sum()
    }
}

impl Lane {
    fn run(&mut self, now: Duration, unit: &str, closed: &[(Duration, Duration)]) {
        let counts = |rule: &&mut Rule| rule.plan.unit == unit && rule.applies_to(&self.class);
        let mut rules: Vec<&mut Rule> = self.rules.iter_mut().filter(counts).collect();
        let mut at = self.at;
        while !rules.is_empty() {
            while let Some((_, to)) = closed.iter().find(|(from, to)| (*from..*to).contains(&at)) {
                at = *to;
            }
            if at >= now {
                break;
            }
            let room = rules.iter_mut().map(|rule| rule.model.remaining(at)).min().unwrap_or_default();
            if room > 0 {
                rules.iter_mut().for_each(|rule| rule.model.charge(at, room));
                self.taken += room;
            }
            match rules.iter_mut().map(|rule| rule.model.fits_at(at, 1)).max() {
                // Nothing was left, so it is later.
                Some(Some(next)) if next > at => at = next,
                _ => break,
            }
        }
        self.at = self.at.max(now);
    }

    fn foreign(&mut self, now: Duration, class: &str, count: u64, unit: &str) {
        let mut displaced = 0;
        for rule in self.rules.iter_mut().filter(|rule| rule.plan.unit == unit && rule.applies_to(class)) {
            let room = rule.model.remaining(now);
            rule.model.charge(now, count);
            if rule.forgets() && rule.applies_to(&self.class) {
                displaced = displaced.max(count.saturating_sub(room));
            }
        }
        self.displaced += displaced;
    }
}
