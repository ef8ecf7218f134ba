//! A specification as a lane uses it: costs by class, classes by tag, readings by limit.

use std::{
    collections::{BTreeMap, HashMap, btree_map::Entry},
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bursar_dialect::{Profile, Profiles};
use bursar_quota::{
    BudgetSpec, ClassName, Hit, LeaseId, LimitKind, LimitReading, LimitSelector, MAX_CAPACITY, Observation,
    PauseOrder, Scope, SettleKind, SpecError, UnitName, Verdict, class_tag,
};

use crate::millis::millis;

/// The most classes whose costs are kept ready.
const MAX_KINDS: usize = 1024;

/// Calls that cost the same: a class and the units that were named.
#[derive(Debug, PartialEq)]
pub(crate) struct Kind {
    /// The version of the specification that the costs are by.
    pub(crate) version: u64,
    pub(crate) class: ClassName,
    /// Cost by limit, in the order of the specification.
    pub(crate) costs: Vec<u64>,
    /// Cost by unit, for the accounts of use.
    pub(crate) units: Vec<(UnitName, u64)>,
    /// What the caller named, from which the two above follow.
    pub(crate) named: Vec<(UnitName, u64)>,
}

/// One version of a budget's specification, with what is derived from it once.
pub(crate) struct SpecView {
    pub(crate) spec: BudgetSpec,
    pub(crate) version: u64,
    pub(crate) profile: Arc<Profile>,
    pub(crate) permit_ttl_ms: u64,
    pub(crate) max_permit_ttl_ms: u64,
    /// Classes that the limits name, by tag; `None` where two share one.
    classes: HashMap<u16, Option<ClassName>>,
    /// A class that no limit names.
    nobody: ClassName,
    /// Costs of calls that name none, by class.
    kinds: Mutex<HashMap<ClassName, Arc<Kind>>>,
}

impl fmt::Debug for SpecView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpecView")
            .field("spec", &self.spec)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// The parts of a settlement that depend on the specification.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Resolved {
    pub(crate) version: u64,
    pub(crate) kind: SettleKind,
    pub(crate) costs: Vec<u64>,
    pub(crate) units: Vec<(UnitName, u64)>,
    pub(crate) readings: Vec<LimitReading>,
    pub(crate) pause: Option<PauseOrder>,
}

fn demand(holds: bool, field: &str, problem: impl FnOnce() -> String) -> Result<(), SpecError> {
    if holds { Ok(()) } else { Err(SpecError { field: field.to_owned(), problem: problem() }) }
}

/// A class name that no limit of `spec` uses. There are more names than a specification has room for.
fn unnamed(spec: &BudgetSpec) -> ClassName {
    let used = |class: &ClassName| spec.limits.iter().any(|limit| limit.classes.contains(class));
    (0..)
        .map_while(|n| ClassName::new(&format!("-{n}")).ok())
        .find(|class| !used(class))
        .unwrap_or_else(ClassName::default_class)
}

impl SpecView {
    pub(crate) fn new(spec: BudgetSpec, version: u64, profiles: &Profiles) -> Self {
        let named = spec.profile.as_ref().and_then(|name| profiles.get(name));
        let profile = Arc::clone(named.unwrap_or_else(|| profiles.generic()));
        let mut classes = HashMap::new();
        let usual = spec.class_or_default(None);
        for class in spec.limits.iter().flat_map(|limit| &limit.classes).chain([&usual]) {
            classes
                .entry(class_tag(class))
                .and_modify(|known: &mut Option<ClassName>| {
                    known.take_if(|known| known != class);
                })
                .or_insert_with(|| Some(class.clone()));
        }
        Self {
            version,
            profile,
            permit_ttl_ms: millis(spec.permit_ttl),
            max_permit_ttl_ms: millis(spec.max_permit_ttl),
            classes,
            nobody: unnamed(&spec),
            kinds: Mutex::default(),
            spec,
        }
    }

    /// What a call costs that is of `class` and names these `costs`.
    pub(crate) fn kind(&self, class: &ClassName, named: &[(UnitName, u64)]) -> Result<Arc<Kind>, SpecError> {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        if named.is_empty()
            && let Some(kind) = kinds.get(class)
        {
            return Ok(Arc::clone(kind));
        }
        let costs = self.spec.costs(class, named)?;
        let units = self.units(class, named, &costs);
        let kind = Arc::new(Kind {
            version: self.version,
            class: class.clone(),
            costs,
            units,
            named: named.to_vec(),
        });
        if named.is_empty() && kinds.len() < MAX_KINDS {
            kinds.insert(class.clone(), Arc::clone(&kind));
        }
        Ok(kind)
    }

    /// One `requests` a call unless named otherwise, and of each unit that a limit of the class counts what it costs.
    fn units(&self, class: &ClassName, named: &[(UnitName, u64)], costs: &[u64]) -> Vec<(UnitName, u64)> {
        let mut units = BTreeMap::from([(UnitName::requests(), 1)]);
        for (limit, cost) in self.spec.limits.iter().zip(costs) {
            let counts = !matches!(limit.kind, LimitKind::Concurrency { .. });
            if counts && !limit.unit.is_requests() && limit.applies_to(class) {
                let most = units.entry(limit.unit.clone()).or_insert(*cost);
                *most = (*most).max(*cost);
            }
        }
        units.extend(named.iter().cloned());
        units.into_iter().collect()
    }

    /// Checks a time to live that a caller asked for; milliseconds, rounded up.
    pub(crate) fn ttl_ms(&self, ttl: Option<Duration>) -> Result<Option<u64>, SpecError> {
        let Some(ttl) = ttl else { return Ok(None) };
        let ms = u64::try_from(ttl.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        demand((1..=self.max_permit_ttl_ms).contains(&ms), "ttl", || {
            format!("{ms} ms is outside 1 ms to {} ms", self.max_permit_ttl_ms)
        })?;
        Ok(Some(ms))
    }

    /// The time to live in force for what a caller asked for, perhaps of an older version.
    pub(crate) fn ttl_in_force(&self, asked_ms: Option<u64>) -> u64 {
        asked_ms.unwrap_or(self.permit_ttl_ms).min(self.max_permit_ttl_ms)
    }

    /// Checks actual costs that a caller settles with.
    pub(crate) fn check_actual(&self, costs: &[(UnitName, u64)]) -> Result<(), SpecError> {
        for (unit, cost) in costs {
            let field = || format!("costs[{unit}]");
            demand(*cost <= MAX_CAPACITY, &field(), || format!("{cost} is above {MAX_CAPACITY}"))?;
            let counted = unit.is_requests() || self.spec.limits.iter().any(|limit| limit.unit == *unit);
            demand(counted, &field(), || format!("no limit of {} counts {unit}", self.spec.name))?;
        }
        Ok(())
    }

    /// The class of the permits of `lease`, as far as a limit (or the default) names it.
    fn class_of(&self, lease: LeaseId) -> Option<&ClassName> {
        self.classes.get(&lease.class_tag())?.as_ref()
    }

    /// Places what a response said, and what the caller says it cost, among the limits. Total: what cannot be placed
    /// says nothing.
    pub(crate) fn resolve(
        &self,
        lease: LeaseId,
        seen: Option<&Observation>,
        kind: SettleKind,
        actual: &[(UnitName, u64)],
    ) -> Resolved {
        let mut resolved = Resolved {
            version: self.version,
            kind,
            costs: Vec::new(),
            units: Vec::new(),
            readings: Vec::new(),
            pause: None,
        };
        let known = self.class_of(lease);
        if !matches!(kind, SettleKind::NotSent | SettleKind::Unclaimed) {
            let observed = seen.map_or(&[][..], |seen| &seen.costs);
            self.actual_costs(known, observed, actual, &mut resolved);
        }
        let Some(seen) = seen else { return resolved };
        // A class that no limit names falls under the limits of all classes; one name stands for all of them.
        let class = known.unwrap_or(&self.nobody);
        for (at, reading) in self.spec.select_readings(class, &seen.readings) {
            let Ok(limit) = u16::try_from(at) else { continue };
            resolved.readings.push(LimitReading {
                limit,
                remaining_least: reading.remaining,
                remaining_last: reading.remaining,
                capacity: reading.capacity,
                reset: reading.reset,
            });
        }
        if let Verdict::Refused { counted, hit } = &seen.verdict {
            resolved.kind = SettleKind::Refused { counted: *counted };
            let scope = self.scope(class, known, hit);
            resolved.pause = Some(PauseOrder { scope, retry_after_ms: seen.retry_after_ms });
        }
        resolved
    }

    /// What a refusal stops. Where the limit or the class that was hit is not known, the whole budget: too much rather
    /// than too little.
    fn scope(&self, class: &ClassName, known: Option<&ClassName>, hit: &Hit) -> Scope {
        let limit = |selector: &LimitSelector| {
            self.spec.select(class, selector).and_then(|at| u16::try_from(at).ok()).map(Scope::Limit)
        };
        match hit {
            Hit::Limit(selector) => limit(selector).unwrap_or(Scope::Budget),
            Hit::Class(class) => Scope::Class(class.clone()),
            Hit::CallClass => known.cloned().map_or(Scope::Budget, Scope::Class),
            Hit::Budget => Scope::Budget,
        }
    }

    /// Actual costs by limit and by unit; the caller's win over the observed. None known: both stay empty.
    fn actual_costs(
        &self,
        class: Option<&ClassName>,
        observed: &[(UnitName, u64)],
        named: &[(UnitName, u64)],
        resolved: &mut Resolved,
    ) {
        if observed.is_empty() && named.is_empty() {
            return;
        }
        let mut actual: BTreeMap<&UnitName, u64> =
            observed.iter().map(|(unit, cost)| (unit, *cost)).collect();
        actual.extend(named.iter().map(|(unit, cost)| (unit, *cost)));
        let applies = |limit: &bursar_quota::LimitSpec| match class {
            Some(class) => limit.applies_to(class),
            None => limit.classes.is_empty(),
        };
        // Zero means "as granted" there, so that a call that cost nothing is charged one unit: too much rather than
        // the whole estimate.
        resolved.costs = (self.spec.limits.iter())
            .map(|limit| match (&limit.kind, actual.entry(&limit.unit)) {
                (LimitKind::Concurrency { .. }, _) | (_, Entry::Vacant(_)) => 0,
                (_, Entry::Occupied(cost)) if applies(limit) => (*cost.get()).clamp(1, MAX_CAPACITY),
                _ => 0,
            })
            .collect();
        if resolved.costs.iter().all(|cost| *cost == 0) {
            resolved.costs.clear();
        }
        let counted =
            |unit: &UnitName| unit.is_requests() || self.spec.limits.iter().any(|limit| limit.unit == *unit);
        resolved.units = (actual.into_iter())
            .filter(|(unit, _)| counted(unit))
            .map(|(unit, cost)| (unit.clone(), cost))
            .collect();
    }
}
