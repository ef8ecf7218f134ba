//! What the tests say often.

use std::{sync::Arc, time::Duration};

use bursar_coordinator::{Acquire, AcquireError, Config, Coordinator, Granted, Outcome, Settle};
use bursar_dialect::Profiles;
use bursar_quota::{
    BudgetName, BudgetSpec, ClassName, LimitKind, LimitName, LimitSpec, Refusal, ReplicaName, TenantName,
};
use tokio::task::JoinHandle;

use crate::fake::{FakeLedger, TokioClock};

pub(crate) const BUDGET: &str = "b";

pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(crate) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(crate) fn name() -> BudgetName {
    BudgetName::new(BUDGET).unwrap()
}

pub(crate) fn limit(name: &str, kind: LimitKind) -> LimitSpec {
    LimitSpec::new(LimitName::new(name).unwrap(), kind)
}

pub(crate) fn window(capacity: u64, window: Duration) -> LimitKind {
    LimitKind::Window { capacity, window, aligned: false, on_clock: false }
}

pub(crate) fn at_once(capacity: u64) -> LimitKind {
    LimitKind::Concurrency { capacity, linger: Duration::ZERO }
}

pub(crate) fn class(name: &str) -> ClassName {
    ClassName::new(name).unwrap()
}

pub(crate) fn of_class(mut limit: LimitSpec, name: &str) -> LimitSpec {
    limit.classes = vec![class(name)];
    limit
}

pub(crate) fn budget(limits: Vec<LimitSpec>) -> BudgetSpec {
    BudgetSpec::new(name(), limits)
}

/// A ledger and its clock; coordinators over it are made as needed.
pub(crate) struct World {
    pub(crate) ledger: FakeLedger,
    pub(crate) clock: Arc<TokioClock>,
}

impl World {
    pub(crate) fn new(specs: &[BudgetSpec]) -> Self {
        let clock = Arc::new(TokioClock::new());
        let ledger = FakeLedger::new(Arc::clone(&clock));
        for spec in specs {
            spec.validate().unwrap();
            ledger.put_silently(spec);
        }
        Self { ledger, clock }
    }

    pub(crate) fn config(replica: &str) -> Config {
        Config::new(ReplicaName::new(replica).unwrap(), 7)
    }

    pub(crate) fn replica(&self, replica: &str) -> Coordinator {
        self.with(Self::config(replica))
    }

    pub(crate) fn with(&self, config: Config) -> Coordinator {
        self.over(&self.ledger, config)
    }

    pub(crate) fn over(&self, ledger: &FakeLedger, config: Config) -> Coordinator {
        let ledger = Arc::new(ledger.clone());
        Coordinator::new(ledger, Arc::new(Profiles::builtin()), self.clock.clone(), config)
    }
}

/// One limit of a window, and one replica over it.
pub(crate) fn one(limits: Vec<LimitSpec>) -> (World, Coordinator) {
    let world = World::new(&[budget(limits)]);
    let coordinator = world.replica("r1");
    (world, coordinator)
}

pub(crate) fn ask() -> Acquire {
    Acquire::new(name())
}

pub(crate) fn patient(max_wait: Duration) -> Acquire {
    Acquire { max_wait, ..ask() }
}

pub(crate) fn tenant(name: &str) -> TenantName {
    TenantName::new(name).unwrap()
}

pub(crate) fn not_sent(granted: &Granted) -> Settle {
    settle(granted, Outcome::NotSent)
}

pub(crate) fn settle(granted: &Granted, outcome: Outcome) -> Settle {
    Settle { budget: name(), permit: granted.permit, outcome, costs: Vec::new(), age: Duration::ZERO }
}

pub(crate) fn answered(status: u16, headers: &[(&str, &str)]) -> Outcome {
    let headers =
        headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
    Outcome::Response { status, headers, body: Vec::new() }
}

pub(crate) type Asked = JoinHandle<Result<Granted, AcquireError>>;

/// Asks from a task of its own, and lets it get as far as it can without time passing.
pub(crate) async fn spawn(coordinator: &Coordinator, acquire: Acquire) -> Asked {
    let coordinator = coordinator.clone();
    let asked = tokio::spawn(async move { coordinator.acquire(acquire).await });
    settle_down().await;
    asked
}

/// Lets all tasks run until none can go on without time passing.
pub(crate) async fn settle_down() {
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
}

pub(crate) fn refused(result: Result<Granted, AcquireError>) -> Refusal {
    match result {
        Err(AcquireError::Refused(refusal)) => refusal,
        other => panic!("not refused but {other:?}"),
    }
}

impl World {
    pub(crate) fn clock_is_before(&self, moment: Duration) -> bool {
        use bursar_quota::Clock;
        self.clock.monotonic() < moment
    }
}
