//! What a coordinator counts. No family has more than [`labels::MAX_SETS`] sets of names; the rest is `_other`.

mod labels;

use std::time::Duration;

use bursar_quota::{
    BudgetName, BudgetSpec, ClassName, EventKind, LedgerEvent, LimitName, Reason, TenantName, Tier,
};
use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use labels::{
    Bounded, BudgetLabels, CallLabels, Labels as _, LimitLabels, Name, RefusedLabels, RungLabels,
    SettledLabels, SortLabels, WaitLabels,
};

fn waits() -> Histogram {
    Histogram::new([0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 300.0, 1800.0])
}

fn spans() -> Histogram {
    Histogram::new([0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.05, 0.2, 1.0, 5.0])
}

fn groups() -> Histogram {
    Histogram::new([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0])
}

/// Kinds of errors that are alerted on: those that no caller's request explains.
const ALERTED_ERRORS: [&str; 3] = ["unavailable", "corrupt", "forgotten"];

/// How a refused call's settlement is counted that tells of a permit, told to the store or to a ration.
const ALERTED_SETTLEMENTS: [(&str, &str); 2] = [("refused", "applied"), ("refused", "rationed")];

/// All that one coordinator counts.
pub(crate) struct Metrics {
    granted: Bounded<CallLabels, Counter>,
    refused: Bounded<RefusedLabels, Counter>,
    overflows: Bounded<BudgetLabels, Counter>,
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
        let metrics = Self {
            granted: Bounded::new(Counter::default),
            refused: Bounded::new(Counter::default),
            overflows: Bounded::new(Counter::default),
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
        };
        // What is counted at the door is of no budget that is known.
        drop(metrics.overflows.family.get_or_create(&BudgetLabels { budget: Name(None) }));
        for kind in ALERTED_ERRORS {
            drop(metrics.errors.family.get_or_create(&SortLabels { budget: Name(None), kind }));
        }
        metrics
    }

    /// Gives what alerts look at a first value, since an increase is only seen of what was there before. Of a budget that
    /// is known here, whatever its declaration says.
    pub(crate) fn expect(&self, of: &BudgetName) {
        let labels = BudgetLabels { budget: budget(of) };
        for family in [&self.overflows, &self.losses, &self.untold] {
            family.with(&labels, |_| {});
        }
        self.spans.with(&labels, |_| {});
        for kind in ALERTED_ERRORS {
            self.errors.with(&SortLabels { budget: budget(of), kind }, |_| {});
        }
        for (kind, result) in ALERTED_SETTLEMENTS {
            self.settled.with(&SettledLabels { budget: budget(of), kind, result }, |_| {});
        }
        self.waits.with(&WaitLabels { budget: budget(of), tier: Tier::Interactive.as_str() }, |_| {});
    }

    /// The same, of each of its limits as well. How a limit is accounted changes in more ways than there is room for: its
    /// alert looks for counters that are new.
    pub(crate) fn expect_all(&self, spec: &BudgetSpec) {
        self.expect(&spec.name);
        for at in &spec.limits {
            self.foreign.with(&LimitLabels { budget: budget(&spec.name), limit: limit(&at.name) }, |_| {});
        }
    }

    #[rustfmt::skip]
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("permits_granted", "Permits granted", self.granted.family.clone());
        registry.register("acquires_refused", "Acquires refused, by reason", self.refused.family.clone());
        registry.register("acquires_queue_full", "Acquires refused since a queue was full, whoever asked", self.overflows.family.clone());
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
        if reason == Reason::QueueFull {
            self.overflows.with(&BudgetLabels { budget: budget(of) }, |counter| {
                counter.inc();
            });
        }
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
        if reason == Reason::QueueFull {
            self.overflows.family.get_or_create(&BudgetLabels { budget: Name(None) }).inc();
        }
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

    /// The specification of a budget could not be read. The budget may not exist, as with [`Self::refused_at_door`].
    pub(crate) fn unread(&self, of: &BudgetName, kind: &'static str) {
        let labels = SortLabels { budget: budget(of), kind };
        let labels = if self.errors.knows(&labels) { labels } else { labels.other() };
        self.errors.family.get_or_create(&labels).inc();
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
    use super::{labels::MAX_SETS, *};

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
