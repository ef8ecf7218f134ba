//! Budgets: what an upstream allows, declared and checked.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    BudgetName, ClassName, LimitKind, LimitSelector, LimitSpec, MAX_CAPACITY, MAX_SHARES, OnStoreLoss,
    ProfileName, Ration, Reading, Tier, UnitName, duration_text,
};

/// The most limits a budget has.
pub const MAX_LIMITS: usize = 16;

const DAY: Duration = Duration::from_secs(86_400);

/// One shared quota, as declared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BudgetSpec {
    /// Its name.
    pub name: BudgetName,
    /// Whose dialect its responses speak; absent: `generic`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<ProfileName>,
    /// The class of a call that names none; absent: `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_class: Option<ClassName>,
    /// 1 to [`MAX_LIMITS`] rules; a call must fit all that apply to its class.
    pub limits: Vec<LimitSpec>,
    /// How long after its grant a permit may still be sent, the way to the upstream included: 1 ms to 10 min.
    #[serde(default = "five_seconds", with = "duration_text")]
    pub send_within: Duration,
    /// How long a holder has to settle unless it asks otherwise: `send_within` to `max_permit_ttl`.
    #[serde(default = "one_minute", with = "duration_text")]
    pub permit_ttl: Duration,
    /// The longest a holder may ask for, in all renewals each: at most 1 day.
    #[serde(default = "ten_minutes", with = "duration_text")]
    pub max_permit_ttl: Duration,
    /// Back-off after a refusal that names no time.
    #[serde(default)]
    pub backoff: Backoff,
    /// How long it takes after a pause until all are let out again: at most 10 min.
    #[serde(default = "one_second", with = "duration_text")]
    pub ramp: Duration,
    /// Weight of the tiers `[interactive, standard, batch]`, 1 to 1000 each.
    #[serde(default = "weights")]
    pub weights: [u32; 3],
    /// The most callers that one replica lets wait, 0 to 1,000,000.
    #[serde(default = "ten_thousand")]
    pub max_waiting: u32,
    /// Share of a limit's capacity at whose crossing `Watch` says so: above 0, at most 1.
    #[serde(default = "four_fifths")]
    pub alert_at: f64,
    /// What becomes of acquires while the store gives no answer.
    #[serde(default, skip_serializing_if = "OnStoreLoss::is_default")]
    pub on_store_loss: OnStoreLoss,
    /// How much replicas may grant by themselves meanwhile; needed where `on_store_loss` says `ration`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ration: Option<Ration>,
}

/// Exponential back-off with full jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Backoff {
    /// The first step: 1 ms to `max`.
    #[serde(with = "duration_text")]
    pub base: Duration,
    /// The longest step: at most 1 day.
    #[serde(with = "duration_text")]
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { base: Duration::from_secs(1), max: Duration::from_secs(300) }
    }
}

fn five_seconds() -> Duration {
    Duration::from_secs(5)
}

fn one_minute() -> Duration {
    Duration::from_secs(60)
}

fn ten_minutes() -> Duration {
    Duration::from_secs(600)
}

fn one_second() -> Duration {
    Duration::from_secs(1)
}

fn weights() -> [u32; 3] {
    [8, 4, 1]
}

fn ten_thousand() -> u32 {
    10_000
}

fn four_fifths() -> f64 {
    0.8
}

/// A specification that cannot be: which field, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct SpecError {
    /// The field as a path, such as `limits[1].window`.
    pub field: String,
    /// What is wrong with it and what would be right.
    pub problem: String,
}

/// Fails with a [`SpecError`] unless `holds`.
fn demand(holds: bool, field: impl Into<String>, problem: impl Into<String>) -> Result<(), SpecError> {
    if holds { Ok(()) } else { Err(SpecError { field: field.into(), problem: problem.into() }) }
}

fn within(
    duration: Duration,
    least: Duration,
    most: Duration,
    field: impl Into<String>,
) -> Result<(), SpecError> {
    let problem = format!(
        "{} is outside {} to {}",
        humantime::format_duration(duration),
        humantime::format_duration(least),
        humantime::format_duration(most)
    );
    demand(least <= duration && duration <= most, field, problem)
}

impl BudgetSpec {
    /// A budget with these limits and every default.
    pub fn new(name: BudgetName, limits: Vec<LimitSpec>) -> Self {
        Self {
            name,
            profile: None,
            default_class: None,
            limits,
            send_within: five_seconds(),
            permit_ttl: one_minute(),
            max_permit_ttl: ten_minutes(),
            backoff: Backoff::default(),
            ramp: one_second(),
            weights: weights(),
            max_waiting: ten_thousand(),
            alert_at: four_fifths(),
            on_store_loss: OnStoreLoss::default(),
            ration: None,
        }
    }

    /// Checks every bound that the fields' documentation states.
    pub fn validate(&self) -> Result<(), SpecError> {
        let ms = Duration::from_millis(1);
        demand(
            !self.limits.is_empty() && self.limits.len() <= MAX_LIMITS,
            "limits",
            format!("{} limits are outside 1 to {MAX_LIMITS}", self.limits.len()),
        )?;
        within(self.send_within, ms, ten_minutes(), "send_within")?;
        within(self.max_permit_ttl, self.send_within, DAY, "max_permit_ttl")?;
        within(self.permit_ttl, self.send_within, self.max_permit_ttl, "permit_ttl")?;
        within(self.backoff.max, ms, DAY, "backoff.max")?;
        within(self.backoff.base, ms, self.backoff.max, "backoff.base")?;
        within(self.ramp, Duration::ZERO, ten_minutes(), "ramp")?;
        for (tier, weight) in Tier::ALL.into_iter().zip(self.weights) {
            let problem = format!("the weight of {tier}, {weight}, is outside 1 to 1000");
            demand((1..=1000).contains(&weight), "weights", problem)?;
        }
        demand(self.max_waiting <= 1_000_000, "max_waiting", "at most 1000000 may wait")?;
        demand(self.alert_at > 0.0 && self.alert_at <= 1.0, "alert_at", "must be above 0 and at most 1")?;
        let mut names = BTreeSet::new();
        for (index, limit) in self.limits.iter().enumerate() {
            let at = |key: &str| format!("limits[{index}].{key}");
            demand(names.insert(&limit.name), at("name"), format!("{} is there twice", limit.name))?;
            validate_limit(limit, &at)?;
        }
        self.validate_ration()
    }

    fn validate_ration(&self) -> Result<(), SpecError> {
        let Some(ration) = &self.ration else {
            let declared = self.on_store_loss == OnStoreLoss::Refuse;
            let needed = "on_store_loss = \"ration\" needs one: fraction, replicas and span";
            return demand(declared, "ration", needed);
        };
        let Ration { fraction, replicas, span } = *ration;
        let most = Ration::MAX_REPLICAS;
        demand(
            fraction > 0.0 && fraction <= 1.0,
            "ration.fraction",
            format!("{fraction} is not above 0 and at most 1"),
        )?;
        let problem = format!("{replicas} is outside 1 to {most}");
        demand((1..=most).contains(&replicas), "ration.replicas", problem)?;
        within(span, Duration::from_millis(1), DAY, "ration.span")?;
        demand(
            self.limits.iter().any(|limit| ration.reaches(limit)),
            "ration.fraction",
            format!(
                "{fraction} of each limit, shared by {replicas}, is less than one call: nothing could be granted"
            ),
        )
    }

    /// The ration in force where the store is lost; `None`: it is refused.
    pub fn rations(&self) -> Option<&Ration> {
        self.ration.as_ref().filter(|_| self.on_store_loss == OnStoreLoss::Ration)
    }

    /// The class of a call that names none.
    pub fn class_or_default(&self, class: Option<ClassName>) -> ClassName {
        class.or_else(|| self.default_class.clone()).unwrap_or_else(ClassName::default_class)
    }

    /// What a call of `class` costs in each limit, in their order; 0 where a limit does not apply. `costs` are those
    /// that the caller named, by unit; units that no limit of the class counts are refused, so that a misspelt one is
    /// not free.
    pub fn costs(&self, class: &ClassName, costs: &[(UnitName, u64)]) -> Result<Vec<u64>, SpecError> {
        let applies = |limit: &&LimitSpec| limit.applies_to(class);
        if !self.limits.iter().any(|limit| limit.applies_to(class)) {
            let known: BTreeSet<_> =
                self.limits.iter().flat_map(|limit| &limit.classes).map(|c| c.as_str()).collect();
            let known: Vec<_> = known.into_iter().collect();
            let problem =
                format!("no limit of {} applies to {class}; its classes are {}", self.name, known.join(", "));
            return Err(SpecError { field: "class".into(), problem });
        }
        for (unit, cost) in costs {
            demand(
                (1..=MAX_CAPACITY).contains(cost),
                format!("costs[{unit}]"),
                format!("{cost} is outside 1 to {MAX_CAPACITY}"),
            )?;
            demand(
                unit.is_requests() || self.limits.iter().filter(applies).any(|limit| limit.unit == *unit),
                format!("costs[{unit}]"),
                format!("no limit of {} counts {unit} for class {class}", self.name),
            )?;
        }
        Ok(self
            .limits
            .iter()
            .map(|limit| match limit.kind {
                _ if !limit.applies_to(class) => 0,
                LimitKind::Concurrency { .. } => 1,
                _ => costs
                    .iter()
                    .find(|(unit, _)| *unit == limit.unit)
                    .map_or(limit.default_cost, |(_, cost)| *cost),
            })
            .collect())
    }

    /// Finds the limit that a reading of a call of `class` is about: by name; otherwise among the windows and
    /// buckets that apply to the class and count its unit, the one with its window and capacity, with its window, with its
    /// capacity, or the only one there is. `None` where that is ambiguous: a reading that cannot be placed says nothing.
    pub fn select(&self, class: &ClassName, selector: &LimitSelector) -> Option<usize> {
        self.place(class, selector).map(|(limit, _)| limit)
    }

    fn place(&self, class: &ClassName, selector: &LimitSelector) -> Option<(usize, Fit)> {
        let (called, unit, capacity, window_ms) = match selector {
            LimitSelector::Named(name) => {
                return Some((self.limits.iter().position(|limit| limit.name == *name)?, Fit::Name));
            }
            LimitSelector::Like { called, unit, capacity, window_ms } => {
                (called, unit, *capacity, *window_ms)
            }
        };
        let counts = |limit: &LimitSpec| {
            matches!(limit.kind, LimitKind::Window { .. } | LimitKind::Bucket { .. })
                && limit.applies_to(class)
        };
        let is_called = |limit: &LimitSpec| called.as_ref() == Some(&limit.name) && counts(limit);
        if let Some(found) = self.limits.iter().position(is_called) {
            return Some((found, Fit::Name));
        }
        let fit: Vec<usize> = (0..self.limits.len())
            .filter(|i| counts(&self.limits[*i]) && self.limits[*i].unit == *unit)
            .collect();
        let same_capacity = |i: &usize| capacity == Some(self.limits[*i].kind.capacity());
        let same_window = |i: &usize| match self.limits[*i].kind {
            LimitKind::Window { window, .. } => {
                window_ms.is_some_and(|ms| u128::from(ms) == window.as_millis())
            }
            // What a bucket refills in whole.
            LimitKind::Bucket { capacity, refill_per_second } => window_ms.is_some_and(|ms| {
                #[allow(clippy::cast_precision_loss, reason = "a share of a hundredth is looked at")]
                let (told, whole) = (ms as f64, capacity as f64 * 1000.0 / refill_per_second);
                (told - whole).abs() <= whole / 100.0
            }),
            _ => false,
        };
        let only = |found: Vec<usize>| (found.len() == 1).then(|| found[0]);
        let by = |fits: Fit, is_so: &dyn Fn(&usize) -> bool| {
            only(fit.iter().copied().filter(|i| is_so(i)).collect()).map(|found| (found, fits))
        };
        by(Fit::WindowAndCapacity, &|i| same_capacity(i) && same_window(i))
            .or_else(|| by(Fit::Window, &same_window))
            .or_else(|| by(Fit::Capacity, &same_capacity))
            .or_else(|| by(Fit::Only, &|_| true))
    }

    /// As [`Self::select`], for all that one response said: readings by limit. Of several that may be one limit's it is
    /// the one that fits best, and of those that fit as well the first.
    pub fn select_readings<'a>(
        &self,
        class: &ClassName,
        readings: &'a [Reading],
    ) -> BTreeMap<usize, &'a Reading> {
        let mut best: BTreeMap<usize, (Fit, &Reading)> = BTreeMap::new();
        for reading in readings {
            let Some((limit, fit)) = self.place(class, &reading.limit) else { continue };
            if self.limits[limit].applies_to(class) && best.get(&limit).is_none_or(|(other, _)| fit < *other)
            {
                best.insert(limit, (fit, reading));
            }
        }
        best.into_iter().map(|(limit, (_, reading))| (limit, reading)).collect()
    }
}

/// By what a limit was found to be the one that is meant, the surest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    Name,
    WindowAndCapacity,
    Window,
    Capacity,
    Only,
}

fn validate_limit(limit: &LimitSpec, at: &dyn Fn(&str) -> String) -> Result<(), SpecError> {
    let ms = Duration::from_millis(1);
    let rate = |key: &str, value: f64| {
        #[allow(clippy::cast_precision_loss, reason = "10^12 is exact in a double")]
        let most = MAX_CAPACITY as f64;
        let problem = format!("{value} per second is outside 0.000001 to {MAX_CAPACITY}");
        demand((1e-6..=most).contains(&value), at(key), problem)
    };
    match &limit.kind {
        LimitKind::Window { window, aligned, on_clock, .. } => {
            within(*window, 10 * ms, 31 * DAY, at("window"))?;
            demand(
                *aligned || !*on_clock,
                at("on_clock"),
                "windows on a clock are aligned: set aligned as well",
            )?;
        }
        LimitKind::Bucket { refill_per_second, .. } => rate("refill_per_second", *refill_per_second)?,
        LimitKind::Concurrency { linger, .. } => {
            within(*linger, Duration::ZERO, Duration::from_secs(3600), at("linger"))?;
        }
        LimitKind::Adaptive { start_per_second, min_per_second, max_per_second } => {
            rate("min_per_second", *min_per_second)?;
            rate("max_per_second", *max_per_second)?;
            rate("start_per_second", *start_per_second)?;
            let ordered = min_per_second <= start_per_second && start_per_second <= max_per_second;
            demand(ordered, at("start_per_second"), "must lie between min_per_second and max_per_second")?;
        }
    }
    let capacity = limit.kind.capacity();
    demand(
        (1..=MAX_CAPACITY).contains(&capacity),
        at("capacity"),
        format!("{capacity} is outside 1 to {MAX_CAPACITY}"),
    )?;
    demand(
        (1..=capacity).contains(&limit.default_cost),
        at("default_cost"),
        format!("{} is outside 1 to the capacity, {capacity}", limit.default_cost),
    )?;
    demand(limit.classes.len() <= 64, at("classes"), "at most 64 classes")?;
    demand(limit.reservations.len() <= MAX_SHARES, at("reservations"), format!("at most {MAX_SHARES}"))?;
    demand(limit.caps.len() <= MAX_SHARES, at("caps"), format!("at most {MAX_SHARES}"))?;
    let counted = matches!(limit.kind, LimitKind::Window { .. } | LimitKind::Bucket { .. });
    demand(
        counted || !limit.readings,
        at("readings"),
        "only windows and buckets are read; no probe can show this one",
    )?;
    let shared = !matches!(limit.kind, LimitKind::Adaptive { .. });
    demand(
        shared || limit.reservations.is_empty(),
        at("reservations"),
        "an adaptive limit has no part to reserve",
    )?;
    demand(shared || limit.caps.is_empty(), at("caps"), "an adaptive limit has no part to cap")?;
    let amounts = limit.reservations.iter().map(|r| r.amount);
    let reserved = amounts.clone().try_fold(0_u64, u64::checked_add);
    demand(
        reserved.is_some_and(|sum| sum <= capacity) && amounts.clone().all(|a| a > 0),
        at("reservations"),
        format!("each must be above 0, and all together at most the capacity, {capacity}"),
    )?;
    let parties: Vec<_> = limit.reservations.iter().map(|r| &r.party).collect();
    let twice = (1..parties.len()).any(|i| parties[..i].contains(&parties[i]));
    demand(!twice, at("reservations"), "a party has one reservation at most")?;
    let capped: Vec<_> = limit.caps.iter().map(|c| &c.tenant).collect();
    let twice = (1..capped.len()).any(|i| capped[..i].contains(&capped[i]));
    demand(!twice, at("caps"), "a tenant has one cap at most")?;
    demand(
        limit.caps.iter().all(|c| (1..=capacity).contains(&c.amount)),
        at("caps"),
        format!("each must be within 1 to the capacity, {capacity}"),
    )
}
