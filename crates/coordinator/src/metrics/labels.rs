//! Labels of a coordinator's metrics, and families of them that are bounded.

use std::{
    collections::HashSet,
    fmt::{self, Debug, Display},
    hash::Hash,
    sync::{PoisonError, RwLock},
};

use bursar_quota::{BudgetName, ClassName, LimitName, TenantName};
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder},
    metrics::family::{Family, MetricConstructor},
};

/// The most sets of names one family tells apart.
pub(super) const MAX_SETS: usize = 256;

/// A name as a label; `None` is `_other`, which no name can be confused with in practice: it is counted with it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Name<N>(pub(super) Option<N>);

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
pub(super) trait Labels: Clone + Debug + Hash + Eq {
    /// The same with every name `_other`; what is from a closed enumeration stays.
    fn other(&self) -> Self;
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct CallLabels {
    pub(super) budget: Name<BudgetName>,
    pub(super) tenant: Name<TenantName>,
    pub(super) tier: &'static str,
    pub(super) class: Name<ClassName>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RefusedLabels {
    pub(super) budget: Name<BudgetName>,
    pub(super) tenant: Name<TenantName>,
    pub(super) tier: &'static str,
    pub(super) class: Name<ClassName>,
    pub(super) reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct BudgetLabels {
    pub(super) budget: Name<BudgetName>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct SortLabels {
    pub(super) budget: Name<BudgetName>,
    pub(super) kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct SettledLabels {
    pub(super) budget: Name<BudgetName>,
    pub(super) kind: &'static str,
    pub(super) result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct WaitLabels {
    pub(super) budget: Name<BudgetName>,
    pub(super) tier: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct LimitLabels {
    pub(super) budget: Name<BudgetName>,
    pub(super) limit: Name<LimitName>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RungLabels {
    pub(super) budget: Name<BudgetName>,
    pub(super) limit: Name<LimitName>,
    pub(super) from: &'static str,
    pub(super) to: &'static str,
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
pub(super) struct Bounded<L: Labels, M, C = fn() -> M> {
    pub(super) family: Family<L, M, C>,
    seen: RwLock<HashSet<L>>,
}

impl<L: Labels, M: Clone, C: MetricConstructor<M>> Bounded<L, M, C> {
    pub(super) fn new(constructor: C) -> Self {
        Self { family: Family::new_with_constructor(constructor), seen: RwLock::default() }
    }

    pub(super) fn with(&self, labels: &L, act: impl FnOnce(&M)) {
        act(&self.family.get_or_create(&self.admit(labels)));
    }

    pub(super) fn knows(&self, labels: &L) -> bool {
        self.seen.read().unwrap_or_else(PoisonError::into_inner).contains(labels)
    }

    fn admit(&self, labels: &L) -> L {
        if self.knows(labels) {
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
