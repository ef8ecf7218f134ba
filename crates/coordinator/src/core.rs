//! What a coordinator and its lanes share.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    fmt,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bursar_dialect::Profiles;
use bursar_quota::{BudgetName, Clock, Ledger, LedgerError, LedgerEvent};
use tokio::{
    runtime::Handle,
    sync::{Notify, broadcast},
};
use tokio_util::sync::CancellationToken;

use crate::{
    Config,
    expected::Expected,
    lane::{Lane, Unclaimed},
    metrics::Metrics,
    millis::millis,
};

/// How many busy lanes are passed over in one search for one to evict.
const MAX_PASSED: usize = 64;

pub(crate) struct Core {
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) profiles: Arc<Profiles>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) config: Config,
    pub(crate) metrics: Metrics,
    pub(crate) handle: Handle,
    /// Acquires under way in all lanes.
    pub(crate) waiting: AtomicUsize,
    /// Told when `waiting` becomes zero.
    pub(crate) emptied: Notify,
    pub(crate) draining: AtomicBool,
    /// Budgets that this replica declares.
    pub(crate) expected: Expected,
    /// Lanes that grant by their budget's ration now.
    pub(crate) rationing: AtomicUsize,
    /// Where watchers hear of what this replica alone knows.
    pub(crate) watchers: broadcast::WeakSender<LedgerEvent>,
    /// Cancelled when the last handle is gone.
    pub(crate) stop: CancellationToken,
    lanes: RwLock<Lanes>,
    turns: AtomicU64,
}

#[derive(Default)]
struct Lanes {
    by_name: HashMap<BudgetName, Arc<Lane>>,
    /// When each was last used, at the earliest: corrected when it is looked at.
    ages: BinaryHeap<Reverse<(u64, BudgetName)>>,
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").field("config", &self.config).finish_non_exhaustive()
    }
}

/// An error's kind, as metrics spell it.
pub(crate) fn error_kind(error: &LedgerError) -> &'static str {
    match error {
        LedgerError::UnknownBudget(_) => "unknown_budget",
        LedgerError::Forgotten(_) => "forgotten",
        LedgerError::StaleSpec { .. } => "stale_spec",
        LedgerError::Unavailable { .. } => "unavailable",
        LedgerError::Corrupt(_) => "corrupt",
    }
}

impl Core {
    pub(crate) fn new(
        ledger: Arc<dyn Ledger>,
        profiles: Arc<Profiles>,
        clock: Arc<dyn Clock>,
        config: Config,
        watchers: broadcast::WeakSender<LedgerEvent>,
    ) -> Self {
        Self {
            ledger,
            profiles,
            clock,
            config,
            metrics: Metrics::new(),
            handle: Handle::current(),
            waiting: AtomicUsize::new(0),
            emptied: Notify::new(),
            draining: AtomicBool::new(false),
            expected: Expected::default(),
            rationing: AtomicUsize::new(0),
            watchers,
            stop: CancellationToken::new(),
            lanes: RwLock::default(),
            turns: AtomicU64::new(0),
        }
    }

    /// The lane of a budget, if it has one.
    pub(crate) fn find_lane(&self, name: &BudgetName) -> Option<Arc<Lane>> {
        self.lanes.read().unwrap_or_else(PoisonError::into_inner).by_name.get(name).cloned()
    }

    /// The lane of a budget, made if it has none. `None`: there are too many, and all have work.
    pub(crate) fn lane(&self, name: &BudgetName) -> Option<Arc<Lane>> {
        if let Some(lane) = self.find_lane(name) {
            return Some(lane);
        }
        let mut lanes = self.lanes.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(lane) = lanes.by_name.get(name) {
            return Some(Arc::clone(lane));
        }
        let now_ms = millis(self.clock.monotonic());
        if lanes.by_name.len() >= self.config.max_lanes.max(1) && !lanes.evict(now_ms) {
            return None;
        }
        let turn = self.turns.fetch_add(1, Ordering::Relaxed);
        let lane = Arc::new(Lane::new(name.clone(), self.config.max_settling, turn, now_ms));
        lanes.by_name.insert(name.clone(), Arc::clone(&lane));
        lanes.ages.push(Reverse((now_ms, name.clone())));
        lanes.trim();
        self.count_lanes(&lanes);
        Some(lane)
    }

    /// Whether a lane would grant by its budget's ration, if the ledger gave it no answer now.
    pub(crate) fn would_ration(&self) -> bool {
        let now = self.clock.monotonic();
        let lasts = self.ledger.trouble().map_or(Duration::ZERO, |trouble| trouble.lasts);
        self.all_lanes().iter().any(|lane| lane.would_ration(now.saturating_sub(lasts), now))
    }

    /// All lanes there are.
    pub(crate) fn all_lanes(&self) -> Vec<Arc<Lane>> {
        self.lanes.read().unwrap_or_else(PoisonError::into_inner).by_name.values().cloned().collect()
    }

    /// Forgets a lane that is closed, or closes one that has no work and forgets it.
    pub(crate) fn forget_lane(&self, lane: &Arc<Lane>) {
        let mut lanes = self.lanes.write().unwrap_or_else(PoisonError::into_inner);
        if lanes.by_name.get(&lane.name).is_some_and(|known| Arc::ptr_eq(known, lane)) {
            lanes.by_name.remove(&lane.name);
        }
        self.count_lanes(&lanes);
    }

    fn count_lanes(&self, lanes: &Lanes) {
        self.metrics.lanes.set(i64::try_from(lanes.by_name.len()).unwrap_or(i64::MAX));
    }

    /// Gives a permit back that nobody took. Best effort: should there be no room for it, its deadline reclaims it.
    pub(crate) fn give_back(self: &Arc<Self>, budget: &BudgetName, permit: Unclaimed) {
        // A lane may close between being found and being told; a new one is open.
        for _ in 0..3 {
            let Some(lane) = self.lane(budget) else { return };
            if lane.give_back(self, permit) {
                return;
            }
            self.forget_lane(&lane);
        }
    }
}

impl Lanes {
    /// Makes room by closing the lane that has been without work longest; whether there was one.
    fn evict(&mut self, now_ms: u64) -> bool {
        let mut busy = Vec::new();
        let mut found = false;
        while let Some(Reverse((at, name))) = self.ages.pop() {
            let Some(lane) = self.by_name.get(&name) else { continue };
            if lane.used_ms() > at {
                self.ages.push(Reverse((lane.used_ms(), name)));
            } else if lane.try_close() {
                self.by_name.remove(&name);
                found = true;
                break;
            } else {
                busy.push(name);
                if busy.len() >= MAX_PASSED {
                    break;
                }
            }
        }
        self.ages.extend(busy.into_iter().map(|name| Reverse((now_ms, name))));
        found
    }

    /// Drops ages of lanes that are gone, once they are the most.
    fn trim(&mut self) {
        if self.ages.len() > 2 * self.by_name.len() + 64 {
            self.ages =
                (self.by_name.iter()).map(|(name, lane)| Reverse((lane.used_ms(), name.clone()))).collect();
        }
    }
}
