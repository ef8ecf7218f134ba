//! Budgets of the configuration, declared in the store as soon as it can be reached, and again when it has lost them.

use std::{collections::VecDeque, pin::pin, sync::Arc, time::Duration};

use bursar_coordinator::{Coordinator, CoordinatorError, WatchItem};
use bursar_quota::{BudgetName, BudgetSpec, EventKind, LedgerError};
use rand::{Rng as _, rngs::SmallRng};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval, sleep},
};

use crate::{config::Config, exit::Failure};

/// The first pause after a failure, and the longest: callers of a budget that is not declared wait for the latter.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(1));
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

    /// Their names.
    fn names(&self) -> impl Iterator<Item = BudgetName> {
        self.specs.iter().map(|spec| spec.name.clone())
    }

    /// Names that are here and not in `other`.
    pub(super) fn missing_from(&self, other: &Self) -> Vec<BudgetName> {
        let kept = |spec: &&BudgetSpec| other.specs.iter().all(|there| there.name != spec.name);
        self.specs.iter().filter(kept).map(|spec| spec.name.clone()).collect()
    }
}

/// Why budgets are declared again.
enum Need {
    /// Others are wanted.
    Others,
    /// The store lost a budget's state, and perhaps has an older declaration: all are put again.
    StateLost,
    /// The store does not know one: those that it does not know are put.
    Missing,
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
    /// A declarer of `first`, and where to put what shall take its place. From now on the coordinator expects these.
    pub(super) fn new(coordinator: Coordinator, first: Declared) -> (watch::Sender<Declared>, Self) {
        coordinator.expect_budgets(first.names());
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
        let mut need = Need::Others;
        loop {
            let wanted = self.wanted.borrow_and_update().clone();
            if matches!(need, Need::Others) {
                self.coordinator.expect_budgets(wanted.names());
            }
            let over = wanted.over && !matches!(need, Need::Missing);
            self.declare(&wanted, over, &mut jitter).await;
            if self.wanted.has_changed().unwrap_or(false) {
                need = Need::Others;
                continue;
            }
            self.done.send_replace(true);
            need = self.until_needed(&wanted).await;
        }
    }

    /// Declares all of them but what somebody deleted, unless others are wanted meanwhile. One that the store answers
    /// with an error does not hold up the rest.
    async fn declare(&mut self, wanted: &Declared, over: bool, jitter: &mut SmallRng) {
        let mut pause = PAUSE.0;
        let mut left: VecDeque<_> = wanted.specs.iter().collect();
        while let Some(spec) = left.pop_front() {
            let name = &spec.name;
            if self.coordinator.is_budget_deleted(name) {
                continue;
            }
            match self.put(spec, over).await {
                Ok(()) => {
                    self.coordinator.budget_answered(name);
                    pause = PAUSE.0;
                    continue;
                }
                Err(error @ CoordinatorError::Invalid(_)) => {
                    // It was checked when it was read, so the rooms disagree: the others are declared all the same.
                    tracing::error!(budget = %name, error = Failure::text(&error), "not declared");
                    self.coordinator.budget_withdrawn(name);
                    continue;
                }
                Err(error) => {
                    tracing::warn!(budget = %name, error = Failure::text(&error), "not declared yet");
                    if matches!(error, CoordinatorError::Ledger(LedgerError::Unavailable { .. })) {
                        left.push_front(spec);
                    } else {
                        // What ails one budget must not keep the replica from serving the others.
                        self.coordinator.budget_answered(name);
                        left.push_back(spec);
                    }
                }
            }
            let rest = pause.mul_f64(jitter.random_range(0.5..1.0));
            pause = (pause * 2).min(PAUSE.1);
            tokio::select! {
                () = sleep(rest) => {}
                Ok(()) = self.wanted.changed() => {
                    self.wanted.mark_changed();
                    return;
                }
            }
        }
    }

    async fn put(&self, spec: &BudgetSpec, over: bool) -> Result<(), CoordinatorError> {
        if !over && self.coordinator.knows_budget(&spec.name).await? {
            return Ok(());
        }
        let put = self.coordinator.put_budget(spec.clone()).await?;
        if put.changed {
            tracing::info!(budget = %spec.name, version = put.version, "declared");
        }
        Ok(())
    }

    /// A budget that was declared and is unknown to the store, though nobody was heard to delete it. Looks at some.
    async fn missing(&mut self, wanted: &Declared) -> Option<BudgetName> {
        let count = wanted.specs.len();
        for _ in 0..LOOK.1.min(count) {
            self.looked = (self.looked + 1) % count;
            let name = &wanted.specs[self.looked].name;
            let is_unknown = matches!(self.coordinator.knows_budget(name).await, Ok(false));
            if is_unknown && !self.coordinator.is_budget_deleted(name) {
                return Some(name.clone());
            }
        }
        None
    }

    /// Waits until others are wanted, or the store says or shows that it lost what it knew.
    async fn until_needed(&mut self, wanted: &Declared) -> Need {
        let coordinator = self.coordinator.clone();
        let mut events = coordinator.watch();
        let mut missed = pin!(coordinator.budget_missed_anew());
        let mut look = interval(LOOK.0);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        look.reset();
        loop {
            tokio::select! {
                changed = self.wanted.changed() => match changed {
                    Ok(()) => return Need::Others,
                    Err(_) => std::future::pending::<()>().await,
                },
                event = events.next() => match event {
                    Some(WatchItem::Event(event)) if event.kind == EventKind::StateLost => {
                        tracing::warn!(budget = %event.budget, "the store lost a budget's state: declaring again");
                        return Need::StateLost;
                    }
                    Some(_) => {}
                    None => std::future::pending::<()>().await,
                },
                () = &mut missed => {
                    tracing::warn!("the store does not know a declared budget that was asked for: declaring again");
                    return Need::Missing;
                }
                _ = look.tick() => {
                    if let Some(name) = self.missing(wanted).await {
                        tracing::warn!(budget = %name, "the store does not know a declared budget: declaring again");
                        return Need::Missing;
                    }
                }
            }
        }
    }
}
