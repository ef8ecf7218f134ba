//! The world: what all its actors share.

use std::{
    fmt,
    future::Future,
    sync::{
        Arc, LazyLock, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bursar_dialect::Profiles;
use bursar_ledger::ScriptLedger;
use bursar_quota::Clock;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::{
    book::Book,
    clock::VirtualClock,
    dice::Dice,
    log::{Keep, Log},
    plan::{Millis, Scenario},
    replica::Replica,
    store::{PREFIX, Store},
    upstream::Upstream,
};

/// The vendors' profiles, parsed once.
static PROFILES: LazyLock<Arc<Profiles>> = LazyLock::new(|| Arc::new(Profiles::builtin()));

/// The vendors' profiles, and those of the scenario's own. One that cannot be read is left out: its budget's responses are
/// read as the generic one reads them.
fn profiles(scenario: &Scenario) -> Arc<Profiles> {
    let own: Vec<&str> = scenario.budgets.iter().filter_map(|budget| budget.profile).collect();
    if own.is_empty() {
        return Arc::clone(&PROFILES);
    }
    let mut profiles = Profiles::clone(&PROFILES);
    for text in own {
        let _ = profiles.add_toml(text);
    }
    Arc::new(profiles)
}

/// What all actors share.
pub(crate) struct World {
    pub(crate) scenario: Scenario,
    pub(crate) seed: u64,
    pub(crate) clock: Arc<VirtualClock>,
    /// The store, asked directly: no message is lost, and nothing is remembered.
    pub(crate) ledger: ScriptLedger<Store>,
    pub(crate) replicas: Vec<Replica>,
    /// How many faults keep everybody from the store now.
    pub(crate) store_down: AtomicU32,
    /// Which server the store is: another each time that it lost something.
    pub(crate) server: watch::Sender<u64>,
    /// The load ends: who waits for a permit waits on, nobody begins anew.
    pub(crate) closing: CancellationToken,
    /// Nobody waits any more.
    pub(crate) stop: CancellationToken,
    pub(crate) profiles: Arc<Profiles>,
    pub(crate) tasks: Tasks,
    log: Mutex<Log>,
    upstreams: Vec<Mutex<Upstream>>,
    book: Mutex<Book>,
    /// Calls that were accepted, by worker.
    accepted: Mutex<Vec<u64>>,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("scenario", &self.scenario.name)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    /// Before anything happens. Within the simulation's runtime.
    pub(crate) fn new(scenario: &Scenario, seed: u64, keep: Keep) -> Self {
        let clock = Arc::new(VirtualClock::new());
        let store = Store::new(Arc::clone(&clock));
        let its_clock: Arc<dyn Clock> = clock.clone();
        let upstream = |(at, budget): (u64, &super::plan::BudgetPlan)| {
            Mutex::new(Upstream::new(&budget.upstream, Dice::of(seed, "upstream", at).bits()))
        };
        Self {
            ledger: ScriptLedger::new(store, PREFIX, its_clock),
            clock,
            replicas: (0..scenario.replicas.max(1)).map(|_| Replica::default()).collect(),
            store_down: AtomicU32::new(0),
            server: watch::Sender::new(0),
            closing: CancellationToken::new(),
            stop: CancellationToken::new(),
            profiles: profiles(scenario),
            tasks: Tasks::default(),
            log: Mutex::new(Log::new(keep)),
            upstreams: (0..).zip(&scenario.budgets).map(upstream).collect(),
            book: Mutex::new(Book::new(scenario)),
            accepted: Mutex::new(vec![0; usize::from(scenario.workers)]),
            scenario: scenario.clone(),
            seed,
        }
    }

    /// Virtual time since the start; whole milliseconds.
    pub(crate) fn now(&self) -> Duration {
        self.clock.monotonic()
    }

    pub(crate) fn store(&self) -> &Store {
        self.ledger.host()
    }

    /// An actor's own dice.
    pub(crate) fn dice(&self, name: &str, number: u64) -> Dice {
        Dice::of(self.seed, name, number)
    }

    /// Notes an event.
    pub(crate) fn note(&self, actor: fmt::Arguments<'_>, what: fmt::Arguments<'_>) {
        lock(&self.log).note(self.now(), actor, what);
    }

    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        lock(&self.book)
    }

    pub(crate) fn upstream(&self, budget: usize) -> MutexGuard<'_, Upstream> {
        lock(&self.upstreams[budget])
    }

    /// The log, so far.
    pub(crate) fn log(&self) -> MutexGuard<'_, Log> {
        lock(&self.log)
    }

    pub(crate) fn count_accepted(&self, worker: usize) {
        lock(&self.accepted)[worker] += 1;
    }

    /// Calls that were accepted, by worker.
    pub(crate) fn accepted(&self) -> Vec<u64> {
        lock(&self.accepted).clone()
    }

    /// Whether what goes wrong at random goes wrong now.
    pub(crate) fn is_faulty(&self) -> bool {
        self.now() < self.scenario.faults.heal_at
    }

    /// Whether something that goes wrong in `share` of a thousand cases goes wrong now.
    pub(crate) fn goes_wrong(&self, dice: &mut Dice, share: u32) -> bool {
        self.is_faulty() && dice.happens(share)
    }

    /// How long a message takes.
    pub(crate) fn way(&self, dice: &mut Dice, range: &Millis) -> Duration {
        let faults = &self.scenario.faults;
        let mut ms = dice.within(range);
        if self.goes_wrong(dice, faults.delayed) {
            ms += dice.within(&faults.delay_by);
        }
        Duration::from_millis(ms)
    }

    /// Lets time pass.
    pub(crate) async fn pass(&self, span: Duration) {
        if !span.is_zero() {
            tokio::time::sleep(span).await;
        }
    }

    /// Lets time pass until `then`, at once if it has.
    pub(crate) async fn until(&self, then: Duration) {
        self.pass(then.saturating_sub(self.now())).await;
    }
}

/// What is under way in the background.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    live: AtomicUsize,
    ended: Notify,
}

impl World {
    /// Does `work` in the background; [`Self::idle`] waits for it.
    pub(crate) fn spawn(self: &Arc<Self>, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.live.fetch_add(1, Ordering::Relaxed);
        let world = Arc::clone(self);
        tokio::spawn(async move {
            work.await;
            world.tasks.live.fetch_sub(1, Ordering::Relaxed);
            world.tasks.ended.notify_one();
        });
    }

    /// Waits until nothing is under way in the background.
    pub(crate) async fn idle(&self) {
        while self.tasks.live.load(Ordering::Relaxed) > 0 {
            self.tasks.ended.notified().await;
        }
    }
}
