//! Budgets of the configuration, declared in the store as soon as it can be reached, and again when it has lost them.

use std::{collections::HashSet, sync::Arc, time::Duration};

use bursar_coordinator::{Coordinator, CoordinatorError, WatchItem};
use bursar_quota::{BudgetName, BudgetSpec, EventKind};
use rand::{Rng as _, rngs::SmallRng};
use tokio::sync::watch;

use crate::{config::Config, exit::Failure};

/// The first pause after a failure, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));
/// How often the store is asked whether it still knows what was declared, and of how many budgets at once.
const LOOK: (Duration, usize) = (Duration::from_secs(1), 8);

/// Budgets to declare.
#[derive(Debug, Clone)]
pub(super) struct Declared {
    specs: Arc<[BudgetSpec]>,
    /// Change what there is; otherwise only what is missing is made.
    over: bool,
}

impl Declared {
    /// Those of a configuration. What nobody declared must not change what somebody put.
    pub(super) fn of(config: &Config) -> Self {
        Self { specs: config.budgets.clone().into(), over: config.declared }
    }

    /// Names that are here and not in `other`.
    pub(super) fn missing_from(&self, other: &Self) -> Vec<BudgetName> {
        let kept = |spec: &&BudgetSpec| other.specs.iter().all(|there| there.name != spec.name);
        self.specs.iter().filter(kept).map(|spec| spec.name.clone()).collect()
    }
}

/// Declares budgets for as long as the process lives.
pub(super) struct Declarer {
    coordinator: Coordinator,
    wanted: watch::Receiver<Declared>,
    done: watch::Sender<bool>,
    /// Where the next look begins.
    looked: usize,
}

impl Declarer {
    /// A declarer of `first`, and where to put what shall take its place.
    pub(super) fn new(coordinator: Coordinator, first: Declared) -> (watch::Sender<Declared>, Self) {
        let (put, wanted) = watch::channel(first);
        (put, Self { coordinator, wanted, done: watch::Sender::new(false), looked: 0 })
    }

    /// Whether what is wanted has been declared.
    pub(super) fn done(&self) -> watch::Receiver<bool> {
        self.done.subscribe()
    }

    /// Declares, and declares again what is wanted anew or was lost. Ends never: a store that cannot be reached is
    /// tried until it can.
    pub(super) async fn run(mut self, mut jitter: SmallRng) -> Result<(), Failure> {
        loop {
            let wanted = self.wanted.borrow_and_update().clone();
            self.declare(&wanted, &mut jitter).await;
            if !self.wanted.has_changed().unwrap_or(false) {
                self.done.send_replace(true);
            }
            self.until_needed(&wanted).await;
        }
    }

    /// Declares all of them, unless others are wanted meanwhile.
    async fn declare(&mut self, wanted: &Declared, jitter: &mut SmallRng) {
        let mut pause = PAUSE.0;
        let mut specs = wanted.specs.iter().peekable();
        while let Some(spec) = specs.peek() {
            let after = match self.put(spec, wanted.over).await {
                Ok(()) => {
                    pause = PAUSE.0;
                    specs.next();
                    continue;
                }
                Err(error @ CoordinatorError::Invalid(_)) => {
                    // It was checked when it was read, so the rooms disagree: the others are declared all the same.
                    tracing::error!(budget = %spec.name, error = Failure::text(&error), "not declared");
                    specs.next();
                    continue;
                }
                Err(error) => {
                    tracing::warn!(budget = %spec.name, error = Failure::text(&error), "not declared yet");
                    pause.mul_f64(jitter.random_range(0.5..1.0))
                }
            };
            pause = (pause * 2).min(PAUSE.1);
            tokio::select! {
                () = tokio::time::sleep(after) => {}
                Ok(()) = self.wanted.changed() => return,
            }
        }
    }

    async fn put(&self, spec: &BudgetSpec, over: bool) -> Result<(), CoordinatorError> {
        if !over {
            match self.coordinator.get_budget(&spec.name).await {
                Err(CoordinatorError::UnknownBudget(_)) => {}
                other => return other.map(drop),
            }
        }
        let put = self.coordinator.put_budget(spec.clone()).await?;
        if put.changed {
            tracing::info!(budget = %spec.name, version = put.version, "declared");
        }
        Ok(())
    }

    /// A budget that was declared and is unknown to the store, though nobody was heard to delete it. Looks at some.
    async fn missing(&mut self, wanted: &Declared, deleted: &HashSet<BudgetName>) -> Option<BudgetName> {
        let count = wanted.specs.len();
        for _ in 0..LOOK.1.min(count) {
            self.looked = (self.looked + 1) % count;
            let name = &wanted.specs[self.looked].name;
            let is_unknown =
                matches!(self.coordinator.get_budget(name).await, Err(CoordinatorError::UnknownBudget(_)));
            if is_unknown && !deleted.contains(name) {
                return Some(name.clone());
            }
        }
        None
    }

    /// Waits until others are wanted, or the store says or shows that it lost what it knew.
    async fn until_needed(&mut self, wanted: &Declared) {
        let mut events = self.coordinator.watch();
        // What somebody deleted is not missing.
        let mut deleted = HashSet::new();
        loop {
            tokio::select! {
                changed = self.wanted.changed() => match changed {
                    Ok(()) => return,
                    Err(_) => std::future::pending::<()>().await,
                },
                event = events.next() => match event {
                    Some(WatchItem::Event(event)) if event.kind == EventKind::StateLost => {
                        tracing::warn!(budget = %event.budget, "the store lost a budget's state: declaring again");
                        return;
                    }
                    Some(WatchItem::Event(event)) if event.kind == EventKind::Deleted => {
                        if wanted.specs.iter().any(|spec| spec.name == event.budget) {
                            deleted.insert(event.budget);
                        }
                    }
                    Some(_) => {}
                    None => std::future::pending::<()>().await,
                },
                () = tokio::time::sleep(LOOK.0) => {
                    if let Some(name) = self.missing(wanted, &deleted).await {
                        tracing::warn!(budget = %name, "the store does not know a declared budget: declaring again");
                        return;
                    }
                }
            }
        }
    }
}
