//! What a coordinator counts. No family has more than [`MAX_SETS`] sets of names; the rest is `_other`.

use std::{
    collections::HashSet,
    fmt::{self, Debug, Display},
    hash::Hash,
    sync::{PoisonError, RwLock},
    time::Duration,
};

use bursar_quota::{BudgetName, ClassName, EventKind, LedgerEvent, LimitName, Reason, TenantName, Tier};
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder},
    metrics::{
        counter::Counter,
        family::{Family, MetricConstructor},
        gauge::Gauge,
        histogram::Histogram,
    },
    registry::{Registry, Unit},
};

/// The most sets of names one family tells apart.
pub(crate) const MAX_SETS: usize = 256;

/// A name as a label; `None` is `_other`, which no name can be confused with in practice: it is counted with it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Name<N>(Option<N>);

impl<N: Display> EncodeLabelValue for Name<N> {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        use fmt::Write;
        match &self.0 {
            Some(name) => write!(encoder, "{name}"),
            None => encoder.write_str("_other"),
        }
    }
}

/// Labels whose names can be taken away.
pub(crate) trait Labels: Clone + Debug + Hash + Eq {
    /// The same with every name `_other`; what is from a closed enumeration stays.
    fn other(&self) -> Self;
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct CallLabels {
    budget: Name<BudgetName>,
    tenant: Name<TenantName>,
    tier: &'static str,
    class: Name<ClassName>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RefusedLabels {
    budget: Name<BudgetName>,
    tenant: Name<TenantName>,
    tier: &'static str,
    class: Name<ClassName>,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct BudgetLabels {
    budget: Name<BudgetName>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct SortLabels {
    budget: Name<BudgetName>,
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct SettledLabels {
    budget: Name<BudgetName>,
    kind: &'static str,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct WaitLabels {
    budget: Name<BudgetName>,
    tier: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct LimitLabels {
    budget: Name<BudgetName>,
    limit: Name<LimitName>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RungLabels {
    budget: Name<BudgetName>,
    limit: Name<LimitName>,
    from: &'static str,
    to: &'static str,
}

impl Labels for CallLabels {
    fn other(&self) -> Self {
        Self { budget: Name(None), tenant: Name(None), tier: self.tier, class: Name(None) }
    }
}

impl Labels for RefusedLabels {
    fn other(&self) -> Self {
        let Self { tier, reason, .. } = *self;
        Self { budget: Name(None), tenant: Name(None), tier, class: Name(None), reason }
    }
}

impl Labels for BudgetLabels {
    fn other(&self) -> Self {
        Self { budget: Name(None) }
    }
}

impl Labels for SortLabels {
    fn other(&self) -> Self {
        Self { budget: Name(None), kind: self.kind }
    }
}

impl Labels for SettledLabels {
    fn other(&self) -> Self {
        Self { budget: Name(None), kind: self.kind, result: self.result }
    }
}

impl Labels for WaitLabels {
    fn other(&self) -> Self {
        Self { budget: Name(None), tier: self.tier }
    }
}

impl Labels for LimitLabels {
    fn other(&self) -> Self {
        Self { budget: Name(None), limit: Name(None) }
    }
}

impl Labels for RungLabels {
    fn other(&self) -> Self {
        Self { budget: Name(None), limit: Name(None), from: self.from, to: self.to }
    }
}

/// A family that tells at most [`MAX_SETS`] sets of names apart.
struct Bounded<L: Labels, M, C = fn() -> M> {
    family: Family<L, M, C>,
    seen: RwLock<HashSet<L>>,
}

impl<L: Labels, M: Clone, C: MetricConstructor<M>> Bounded<L, M, C> {
    fn new(constructor: C) -> Self {
        Self { family: Family::new_with_constructor(constructor), seen: RwLock::default() }
    }

    fn with(&self, labels: &L, act: impl FnOnce(&M)) {
        act(&self.family.get_or_create(&self.admit(labels)));
    }

    fn admit(&self, labels: &L) -> L {
        if self.seen.read().unwrap_or_else(PoisonError::into_inner).contains(labels) {
            return labels.clone();
        }
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        if seen.len() < MAX_SETS {
            seen.insert(labels.clone());
            return labels.clone();
        }
        labels.other()
    }
}

fn waits() -> Histogram {
    Histogram::new([0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 300.0, 1800.0])
}

fn spans() -> Histogram {
    Histogram::new([0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.05, 0.2, 1.0, 5.0])
}

fn groups() -> Histogram {
    Histogram::new([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0])
}

/// All that one coordinator counts.
pub(crate) struct Metrics {
    granted: Bounded<CallLabels, Counter>,
    refused: Bounded<RefusedLabels, Counter>,
    cancelled: Bounded<BudgetLabels, Counter>,
    settled: Bounded<SettledLabels, Counter>,
    renewed: Bounded<SortLabels, Counter>,
    waits: Bounded<WaitLabels, Histogram>,
    commits: Bounded<SortLabels, Counter>,
    spans: Bounded<BudgetLabels, Histogram>,
    groups: Bounded<SortLabels, Histogram>,
    errors: Bounded<SortLabels, Counter>,
    malformed: Bounded<BudgetLabels, Counter>,
    queued: Bounded<BudgetLabels, Gauge>,
    rungs: Bounded<RungLabels, Counter>,
    foreign: Bounded<LimitLabels, Counter>,
    losses: Bounded<BudgetLabels, Counter>,
    rationed: Bounded<BudgetLabels, Counter>,
    untold: Bounded<BudgetLabels, Counter>,
    rationing: Bounded<BudgetLabels, Gauge>,
    pub(crate) lanes: Gauge,
    pub(crate) waiting: Gauge,
}

fn budget(name: &BudgetName) -> Name<BudgetName> {
    Name(Some(name.clone()))
}

fn limit(name: &LimitName) -> Name<LimitName> {
    Name(Some(name.clone()))
}

/// A rung as a label. Anybody may publish on the channel: a word that is no rung makes no label of its own.
fn rung(name: &str) -> &'static str {
    ["aligned", "sliding", "paced", "bucket"].into_iter().find(|rung| *rung == name).unwrap_or("_other")
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self {
            granted: Bounded::new(Counter::default),
            refused: Bounded::new(Counter::default),
            cancelled: Bounded::new(Counter::default),
            settled: Bounded::new(Counter::default),
            renewed: Bounded::new(Counter::default),
            waits: Bounded::new(waits),
            commits: Bounded::new(Counter::default),
            spans: Bounded::new(spans),
            groups: Bounded::new(groups),
            errors: Bounded::new(Counter::default),
            malformed: Bounded::new(Counter::default),
            queued: Bounded::new(Gauge::default),
            rungs: Bounded::new(Counter::default),
            foreign: Bounded::new(Counter::default),
            losses: Bounded::new(Counter::default),
            rationed: Bounded::new(Counter::default),
            untold: Bounded::new(Counter::default),
            rationing: Bounded::new(Gauge::default),
            lanes: Gauge::default(),
            waiting: Gauge::default(),
        }
    }

    #[rustfmt::skip]
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("permits_granted", "Permits granted", self.granted.family.clone());
        registry.register("acquires_refused", "Acquires refused, by reason", self.refused.family.clone());
        registry.register("acquires_cancelled", "Acquires whose caller went away", self.cancelled.family.clone());
        registry.register("permits_settled", "Settlements, by what became of the permit and what settling did", self.settled.family.clone());
        registry.register("permits_renewed", "Renewals, by what they did", self.renewed.family.clone());
        registry.register_with_unit("acquire_wait", "From an acquire to its grant", Unit::Seconds, self.waits.family.clone());
        registry.register("commits", "Calls to the ledger, by how they ended", self.commits.family.clone());
        registry.register_with_unit("commit_duration", "From a commit to its reply", Unit::Seconds, self.spans.family.clone());
        registry.register("commit_groups", "Groups a commit, by what they are", self.groups.family.clone());
        registry.register("ledger_errors", "Calls to the ledger without an answer, by why", self.errors.family.clone());
        registry.register("malformed_values", "Values in responses that were malformed and ignored", self.malformed.family.clone());
        registry.register("acquires_queued", "Acquires queued or waiting now", self.queued.family.clone());
        registry.register("rung_changes", "Limits that came to be accounted in another way, as announced to this replica; each replica counts all that it hears, so do not add replicas up", self.rungs.family.clone());
        registry.register("foreign_cost", "Cost that others used, as announced to this replica; each replica counts all that it hears, so do not add replicas up", self.foreign.family.clone());
        registry.register("state_losses", "Losses of a budget's state, as announced to this replica; each replica counts all that it hears, so do not add replicas up", self.losses.family.clone());
        registry.register("permits_rationed", "Permits granted by a budget's ration while the store gave no answer", self.rationed.family.clone());
        registry.register("permits_rationed_untold", "Rationed permits that the store, once back, had no room for: its account does not know them", self.untold.family.clone());
        registry.register("rationing", "1 while this replica grants by the budget's ration", self.rationing.family.clone());
        registry.register("lanes", "Budgets that have a lane now", self.lanes.clone());
        registry.register("acquires_waiting", "Acquires under way now, in all lanes", self.waiting.clone());
    }

    pub(crate) fn granted(
        &self,
        of: &BudgetName,
        tenant: &TenantName,
        tier: Tier,
        class: &ClassName,
        count: u64,
    ) {
        let labels = CallLabels {
            budget: budget(of),
            tenant: Name(Some(tenant.clone())),
            tier: tier.as_str(),
            class: Name(Some(class.clone())),
        };
        self.granted.with(&labels, |counter| {
            counter.inc_by(count);
        });
    }

    pub(crate) fn refused(
        &self,
        of: &BudgetName,
        tenant: &TenantName,
        tier: Tier,
        class: &ClassName,
        reason: Reason,
    ) {
        let labels = RefusedLabels {
            budget: budget(of),
            tenant: Name(Some(tenant.clone())),
            tier: tier.as_str(),
            class: Name(Some(class.clone())),
            reason: reason.as_str(),
        };
        self.refused.with(&labels, |counter| {
            counter.inc();
        });
    }

    /// A refusal at the door. The budget may not exist: a name that is the caller's invention makes no label.
    pub(crate) fn refused_at_door(&self, tier: Tier, reason: Reason) {
        let labels = RefusedLabels {
            budget: Name(None),
            tenant: Name(None),
            tier: tier.as_str(),
            class: Name(None),
            reason: reason.as_str(),
        };
        self.refused.family.get_or_create(&labels).inc();
    }

    pub(crate) fn cancelled(&self, of: &BudgetName) {
        self.cancelled.with(&BudgetLabels { budget: budget(of) }, |counter| {
            counter.inc();
        });
    }

    pub(crate) fn settled(&self, of: &BudgetName, kind: &'static str, result: &'static str, count: u64) {
        self.settled.with(&SettledLabels { budget: budget(of), kind, result }, |counter| {
            counter.inc_by(count);
        });
    }

    pub(crate) fn renewed(&self, of: &BudgetName, result: &'static str) {
        self.renewed.with(&SortLabels { budget: budget(of), kind: result }, |counter| {
            counter.inc();
        });
    }

    /// Several waits of one tier at once, so that the label is looked up once a commit.
    pub(crate) fn waited(&self, of: &BudgetName, tier: Tier, waits: &[Duration]) {
        if !waits.is_empty() {
            self.waits.with(&WaitLabels { budget: budget(of), tier: tier.as_str() }, |histogram| {
                waits.iter().for_each(|wait| histogram.observe(wait.as_secs_f64()));
            });
        }
    }

    pub(crate) fn commit(&self, of: &BudgetName, outcome: &'static str, span: Duration) {
        self.commits.with(&SortLabels { budget: budget(of), kind: outcome }, |counter| {
            counter.inc();
        });
        self.spans
            .with(&BudgetLabels { budget: budget(of) }, |histogram| histogram.observe(span.as_secs_f64()));
    }

    #[allow(clippy::cast_precision_loss, reason = "a commit has at most 512 groups of a kind")]
    pub(crate) fn groups(&self, of: &BudgetName, kind: &'static str, count: usize) {
        if count > 0 {
            self.groups
                .with(&SortLabels { budget: budget(of), kind }, |histogram| histogram.observe(count as f64));
        }
    }

    pub(crate) fn ledger_error(&self, of: &BudgetName, kind: &'static str) {
        self.errors.with(&SortLabels { budget: budget(of), kind }, |counter| {
            counter.inc();
        });
    }

    pub(crate) fn malformed(&self, of: &BudgetName, count: u32) {
        if count > 0 {
            self.malformed.with(&BudgetLabels { budget: budget(of) }, |counter| {
                counter.inc_by(u64::from(count));
            });
        }
    }

    /// An announcement, which every replica hears.
    pub(crate) fn heard(&self, event: &LedgerEvent) {
        let of = budget(&event.budget);
        match &event.kind {
            EventKind::RungChanged { limit: at, from, to } => {
                let labels = RungLabels { budget: of, limit: limit(at), from: rung(from), to: rung(to) };
                self.rungs.with(&labels, |counter| {
                    counter.inc();
                });
            }
            EventKind::ForeignUse { limit: at, cost } => {
                self.foreign.with(&LimitLabels { budget: of, limit: limit(at) }, |counter| {
                    counter.inc_by(*cost);
                });
            }
            EventKind::StateLost => self.losses.with(&BudgetLabels { budget: of }, |counter| {
                counter.inc();
            }),
            EventKind::Wake
            | EventKind::Paused { .. }
            | EventKind::Resumed { .. }
            | EventKind::LimitChanged { .. }
            | EventKind::ThresholdCrossed { .. }
            | EventKind::SpecChanged { .. }
            | EventKind::Deleted
            | EventKind::RationBegan { .. }
            | EventKind::RationEnded { .. } => {}
        }
    }

    pub(crate) fn rationed(&self, of: &BudgetName, count: u64) {
        if count > 0 {
            self.rationed.with(&BudgetLabels { budget: budget(of) }, |counter| {
                counter.inc_by(count);
            });
        }
    }

    pub(crate) fn untold(&self, of: &BudgetName, count: u64) {
        if count > 0 {
            self.untold.with(&BudgetLabels { budget: budget(of) }, |counter| {
                counter.inc_by(count);
            });
        }
    }

    /// A ration begins (1) or ends (-1).
    pub(crate) fn rationing(&self, of: &BudgetName, change: i64) {
        self.rationing.with(&BudgetLabels { budget: budget(of) }, |gauge| {
            gauge.inc_by(change);
        });
    }

    /// A change of how many are queued, so that lanes that share a label add up.
    pub(crate) fn queued(&self, of: &BudgetName, change: i64) {
        if change != 0 {
            self.queued.with(&BudgetLabels { budget: budget(of) }, |gauge| {
                gauge.inc_by(change);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_beyond_the_bound_are_counted_together() {
        let metrics = Metrics::new();
        for n in 0..MAX_SETS + 10 {
            let name = BudgetName::new(&format!("b{n}")).unwrap();
            metrics.cancelled(&name);
        }
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let lines = text.lines().filter(|line| line.starts_with("acquires_cancelled_total{"));
        assert_eq!(lines.count(), MAX_SETS + 1);
        assert!(text.contains("acquires_cancelled_total{budget=\"_other\"} 10"));
    }
}
