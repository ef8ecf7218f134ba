//! What the store said last that forbids a grant by the ration.
//!
//! Kept by the lane as it hears of it: from refusals, from announcements, from the budget as it was read, and from
//! upstreams' refusals that the store could not be told. Only the ration asks for it.

use std::{collections::HashMap, time::Duration};

use bursar_quota::{BudgetSnapshot, BudgetSpec, ClassName, LimitName, Reason, Refusal};

/// The most classes that are kept apart; what bars more of them bars the budget.
const MAX_CLASSES: usize = 256;

/// Until when something is barred; [`FOR_GOOD`]: until the store says more.
type Until = Duration;

/// Until the store grants in its scope, or says that it is resumed.
pub(crate) const FOR_GOOD: Until = Duration::MAX;

/// What is barred now.
#[derive(Debug, Default)]
pub(crate) struct Bars {
    budget: Option<Until>,
    classes: HashMap<ClassName, Until>,
    limits: HashMap<LimitName, Until>,
    /// Capacities that the upstream named, where they are less than declared.
    capacities: HashMap<LimitName, u64>,
}

fn later(known: &mut Until, until: Until) {
    *known = (*known).max(until);
}

impl Bars {
    /// Bars what an announcement's scope says: `budget`, `operator`, `class:<name>` or `limit:<name>`.
    pub(crate) fn scope(&mut self, scope: &str, until: Until) {
        match scope.split_once(':') {
            Some(("class", name)) => match ClassName::new(name) {
                Ok(class) => self.class(class, until),
                Err(_) => self.budget(until),
            },
            Some(("limit", name)) => match LimitName::new(name) {
                Ok(limit) => self.limit(limit, until),
                Err(_) => self.budget(until),
            },
            _ => self.budget(until),
        }
    }

    pub(crate) fn budget(&mut self, until: Until) {
        later(self.budget.get_or_insert(until), until);
    }

    pub(crate) fn class(&mut self, class: ClassName, until: Until) {
        if self.classes.len() >= MAX_CLASSES && !self.classes.contains_key(&class) {
            return self.budget(until);
        }
        later(self.classes.entry(class).or_insert(until), until);
    }

    /// A specification has at most 16 limits; names beyond as many bar the budget.
    pub(crate) fn limit(&mut self, limit: LimitName, until: Until) {
        if self.limits.len() >= MAX_CLASSES && !self.limits.contains_key(&limit) {
            return self.budget(until);
        }
        later(self.limits.entry(limit).or_insert(until), until);
    }

    /// The scope grants again.
    pub(crate) fn resumed(&mut self, scope: &str) {
        match scope.split_once(':') {
            Some(("class", name)) => self.classes.retain(|class, _| class.as_str() != name),
            Some(("limit", name)) => self.limits.retain(|limit, _| limit.as_str() != name),
            _ => self.budget = None,
        }
    }

    /// An operator ended all pauses.
    pub(crate) fn resume_all(&mut self) {
        self.budget = None;
        self.classes.clear();
        self.limits.clear();
    }

    /// The upstream named another capacity of a limit.
    pub(crate) fn capacity(&mut self, limit: &LimitName, capacity: u64) {
        if self.capacities.len() < MAX_CLASSES || self.capacities.contains_key(limit) {
            self.capacities.insert(limit.clone(), capacity);
        }
    }

    /// Whether a limit has room for the ration as declared: one whose capacity turned out to be less has none.
    fn is_smaller(&self, spec: &BudgetSpec, at: usize) -> bool {
        spec.limits.get(at).is_some_and(|limit| {
            self.capacities.get(&limit.name).is_some_and(|known| *known < limit.kind.capacity())
        })
    }

    /// The store refused a call of these costs: what that says of the time in which it is not to be granted.
    pub(crate) fn refused(&mut self, refusal: &Refusal, spec: &BudgetSpec, now: Duration) {
        let at = refusal.retry_after.map_or(FOR_GOOD, |after| now.saturating_add(after));
        let of_limit = |bars: &mut Self, until: Until| match &refusal.limit {
            Some(limit) => bars.limit(limit.clone(), until),
            None => bars.budget(until),
        };
        match refusal.reason {
            Reason::PausedByOperator | Reason::PausedByUpstream => self.budget(at),
            Reason::Ramping => self.budget(at.max(now.saturating_add(spec.ramp))),
            // Nothing is known: time alone does not help.
            Reason::Probing => of_limit(self, FOR_GOOD),
            Reason::QuotaExhausted => of_limit(self, at),
            Reason::UnknownBudget => self.budget(FOR_GOOD),
            // The time of a slot is when its holder must have settled, at the latest: it may be free this moment, and the
            // store cannot be told.
            Reason::ConcurrencyExhausted
            | Reason::Reserved
            | Reason::TenantCapped
            | Reason::CostAboveCapacity
            | Reason::Draining
            | Reason::QueueFull
            | Reason::WaitTooLong => {}
        }
    }

    /// The store granted a call of `class` with these costs: nothing that applies to it is barred any more.
    pub(crate) fn granted(&mut self, class: &ClassName, costs: &[u64], spec: &BudgetSpec) {
        self.budget = None;
        self.classes.remove(class);
        for (limit, _) in spec.limits.iter().zip(costs).filter(|(_, cost)| **cost > 0) {
            self.limits.remove(&limit.name);
        }
    }

    /// Takes in a budget as it was read.
    pub(crate) fn read(&mut self, spec: &BudgetSpec, snapshot: &BudgetSnapshot, now: Duration) {
        let ms = |ms: u64| now.saturating_add(Duration::from_millis(ms));
        for pause in &snapshot.pauses {
            let until = match pause.for_ms {
                Some(left) if pause.phase == "paused" => ms(left),
                _ => FOR_GOOD,
            };
            self.scope(&pause.scope, until);
        }
        for (limit, stands) in spec.limits.iter().zip(&snapshot.limits) {
            if stands.recovering_ms.is_some() || (limit.readings && !stands.known) {
                self.limit(limit.name.clone(), FOR_GOOD);
            } else if stands.available <= 0 && stands.rung != "concurrency" {
                let until = stands.window_end_ms.map_or(FOR_GOOD, |(_, latest)| ms(latest));
                self.limit(limit.name.clone(), until);
            }
            if stands.rung != "adaptive" {
                self.capacity(&limit.name, stands.capacity);
            }
        }
    }

    /// Until when a call of `class` with these costs is barred; `None`: it is not.
    pub(crate) fn until(
        &self,
        class: &ClassName,
        costs: &[u64],
        spec: &BudgetSpec,
        now: Duration,
    ) -> Option<Until> {
        let limits = spec.limits.iter().zip(costs).enumerate().filter(|(_, (_, cost))| **cost > 0);
        let of_limits = limits.filter_map(|(at, (limit, _))| {
            let smaller = self.is_smaller(spec, at).then_some(FOR_GOOD);
            self.limits.get(&limit.name).copied().max(smaller)
        });
        let all = of_limits.chain(self.budget).chain(self.classes.get(class).copied());
        all.filter(|until| *until > now).max()
    }
}

#[cfg(test)]
mod tests {
    use bursar_quota::{BudgetName, LimitKind, LimitSpec};

    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    fn spec() -> BudgetSpec {
        let at_once = LimitKind::Concurrency { capacity: 3, linger: Duration::ZERO };
        let window = LimitKind::Window { capacity: 10, window: NOW, aligned: false, on_clock: false };
        let limit = |name: &str, kind| LimitSpec::new(LimitName::new(name).unwrap(), kind);
        BudgetSpec::new(BudgetName::new("b").unwrap(), vec![limit("w", window), limit("c", at_once)])
    }

    fn refusal(reason: Reason, limit: Option<&str>, after: Option<u64>) -> Refusal {
        let limit = limit.map(|name| LimitName::new(name).unwrap());
        Refusal { reason, limit, retry_after: after.map(Duration::from_secs) }
    }

    fn until(bars: &Bars, class: &str, costs: &[u64]) -> Option<Until> {
        bars.until(&ClassName::new(class).unwrap(), costs, &spec(), NOW)
    }

    #[test]
    fn each_refusal_bars_its_scope() {
        let in_5 = Some(NOW + Duration::from_secs(5));
        let table = [
            (refusal(Reason::PausedByOperator, None, None), Some(FOR_GOOD), Some(FOR_GOOD)),
            (refusal(Reason::PausedByUpstream, None, Some(5)), in_5, in_5),
            // The ramp lasts a second, and its next call is let out before.
            (refusal(Reason::Ramping, None, Some(5)), in_5, in_5),
            (refusal(Reason::Probing, Some("w"), Some(5)), Some(FOR_GOOD), None),
            (refusal(Reason::QuotaExhausted, Some("w"), Some(5)), in_5, None),
            (refusal(Reason::QuotaExhausted, Some("w"), None), Some(FOR_GOOD), None),
            (refusal(Reason::ConcurrencyExhausted, Some("c"), None), None, None),
            (refusal(Reason::ConcurrencyExhausted, Some("c"), Some(5)), None, None),
            (refusal(Reason::TenantCapped, Some("w"), Some(5)), None, None),
        ];
        for (refusal, of_window, of_slots) in table {
            let mut bars = Bars::default();
            bars.refused(&refusal, &spec(), NOW);
            assert_eq!(until(&bars, "a", &[1, 0]), of_window, "{refusal:?}");
            assert_eq!(until(&bars, "a", &[0, 1]), of_slots, "{refusal:?}");
            bars.granted(&ClassName::new("a").unwrap(), &[1, 1], &spec());
            assert_eq!(until(&bars, "a", &[1, 1]), None, "{refusal:?}");
        }
    }

    #[test]
    fn what_is_announced_bars_until_it_is_over_or_resumed() {
        let mut bars = Bars::default();
        bars.scope("class:a", NOW + Duration::from_secs(1));
        bars.scope("limit:w", FOR_GOOD);
        assert_eq!(until(&bars, "a", &[0, 1]), Some(NOW + Duration::from_secs(1)));
        assert_eq!(until(&bars, "b", &[0, 1]), None);
        assert_eq!(until(&bars, "b", &[1, 1]), Some(FOR_GOOD));
        bars.resumed("limit:w");
        assert_eq!(until(&bars, "b", &[1, 1]), None);
        bars.capacity(&LimitName::new("w").unwrap(), 9);
        assert_eq!(until(&bars, "b", &[1, 0]), Some(FOR_GOOD), "less than was declared");
    }

    #[test]
    fn classes_beyond_the_bound_bar_the_budget() {
        let mut bars = Bars::default();
        for n in 0..=MAX_CLASSES {
            bars.class(ClassName::new(&format!("c{n}")).unwrap(), FOR_GOOD);
        }
        assert_eq!(bars.classes.len(), MAX_CLASSES);
        assert_eq!(until(&bars, "other", &[0, 0]), Some(FOR_GOOD));
    }
}
