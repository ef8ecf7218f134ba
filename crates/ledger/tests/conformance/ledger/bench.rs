//! An engine with a ledger on it, and the few words in which the cases talk to it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bursar_ledger::{Embedded, RedisConfig, RedisHost, ScriptLedger, testing::RedisServer};
use bursar_quota::{
    AcquireGroup, BudgetName, BudgetSnapshot, BudgetSpec, ClassName, Commit, CommitReply, Decision, LeaseId,
    Ledger, LedgerError, LimitKind, LimitName, LimitReading, LimitSpec, ManualClock, Reason, RenewGroup,
    ReplicaName, Requests, SettleGroup, SettleKind, Settled, Span, SystemClock, TenantName, Tier, UnitName,
};

pub(crate) const PREFIX: &str = "bursar:";

/// A ledger on one of the engines.
pub(crate) struct Bench {
    pub(crate) ledger: Arc<dyn Ledger>,
    clock: Option<ManualClock>,
    _server: Option<RedisServer>,
    listening: Option<tokio::sync::watch::Receiver<bool>>,
    leases: AtomicU64,
}

pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

impl Bench {
    pub(crate) fn embedded() -> Self {
        let clock = ManualClock::at(Duration::from_secs(1_700_000_000));
        let host = Embedded::new(Arc::new(clock.clone())).unwrap();
        let ledger = Arc::new(ScriptLedger::new(host, PREFIX, Arc::new(clock.clone())));
        Self { ledger, clock: Some(clock), _server: None, listening: None, leases: AtomicU64::new(1) }
    }

    pub(crate) fn redis() -> Self {
        let server = RedisServer::start();
        let host = RedisHost::connect(RedisConfig::at(server.url())).unwrap();
        let listening = Some(host.listening());
        let ledger = Arc::new(ScriptLedger::new(host, PREFIX, Arc::new(SystemClock::new())));
        Self { ledger, clock: None, _server: Some(server), listening, leases: AtomicU64::new(1) }
    }

    /// Lets time pass: the injected clock's, or really.
    pub(crate) async fn pass(&self, span: Duration) {
        match &self.clock {
            Some(clock) => clock.advance(span),
            None => tokio::time::sleep(span).await,
        }
    }

    /// Waits until announcements are heard.
    pub(crate) async fn heard(&self) {
        if let Some(listening) = &self.listening {
            listening.clone().wait_for(|heard| *heard).await.unwrap();
        }
    }

    /// A lease nobody has.
    pub(crate) fn lease(&self) -> LeaseId {
        LeaseId(u128::from(self.leases.fetch_add(1, Ordering::Relaxed)))
    }

    /// Puts a budget with these limits.
    pub(crate) async fn budget(&self, limits: Vec<LimitSpec>) -> Account<'_> {
        self.put(spec(limits)).await
    }

    pub(crate) async fn put(&self, spec: BudgetSpec) -> Account<'_> {
        spec.validate().unwrap();
        let version = self.ledger.put(&spec).await.unwrap().version;
        Account { bench: self, spec, version, replica: "r1" }
    }
}

pub(crate) fn spec(limits: Vec<LimitSpec>) -> BudgetSpec {
    let mut spec = BudgetSpec::new(BudgetName::new("vendor/prod").unwrap(), limits);
    spec.send_within = ms(20);
    spec.ramp = Duration::ZERO;
    spec
}

fn limit(name: &str, kind: LimitKind) -> LimitSpec {
    LimitSpec::new(LimitName::new(name).unwrap(), kind)
}

/// A sliding window.
pub(crate) fn window(capacity: u64, window_ms: u64) -> LimitSpec {
    limit("requests", LimitKind::Window { capacity, window: ms(window_ms), aligned: false, on_clock: false })
}

/// A fixed window whose readings are promised.
pub(crate) fn aligned(capacity: u64, window_ms: u64) -> LimitSpec {
    let kind = LimitKind::Window { capacity, window: ms(window_ms), aligned: true, on_clock: false };
    LimitSpec { readings: true, ..limit("requests", kind) }
}

pub(crate) fn concurrency(capacity: u64, linger_ms: u64) -> LimitSpec {
    limit("concurrency", LimitKind::Concurrency { capacity, linger: ms(linger_ms) })
}

pub(crate) fn named(name: &str, spec: LimitSpec) -> LimitSpec {
    LimitSpec { name: LimitName::new(name).unwrap(), ..spec }
}

pub(crate) fn kind(kind: LimitKind) -> LimitSpec {
    limit("requests", kind)
}

/// A settlement of one permit, `index`, without readings.
pub(crate) fn settlement(lease: LeaseId, index: u16, kind: SettleKind) -> SettleGroup {
    SettleGroup {
        lease,
        indexes: vec![index],
        kind,
        costs: vec![],
        units: vec![],
        readings: vec![],
        pause: None,
        age_ms: 0,
    }
}

/// A reading of the first limit: what remains, and a window that ends between the two, ms from now.
pub(crate) fn reading(remaining: u64, reset: Option<(i64, i64)>) -> LimitReading {
    LimitReading {
        limit: 0,
        remaining_least: Some(remaining),
        remaining_last: Some(remaining),
        capacity: None,
        reset: reset.map(|(earliest_ms, latest_ms)| Span { earliest_ms, latest_ms }),
    }
}

/// A budget that was put, as one replica sees it.
pub(crate) struct Account<'a> {
    pub(crate) bench: &'a Bench,
    pub(crate) spec: BudgetSpec,
    pub(crate) version: u64,
    pub(crate) replica: &'static str,
}

impl Account<'_> {
    pub(crate) fn name(&self) -> &BudgetName {
        &self.spec.name
    }

    /// A commit of nothing.
    pub(crate) fn commit(&self) -> Commit {
        Commit {
            replica: ReplicaName::new(self.replica).unwrap(),
            spec_version: self.version,
            contenders: Vec::new(),
            looks: Vec::new(),
            waiting: 0,
            jitter: 0.5,
            settles: vec![],
            renews: vec![],
            acquires: vec![],
        }
    }

    pub(crate) async fn send(&self, commit: &Commit) -> Result<CommitReply, LedgerError> {
        self.bench.ledger.commit(self.name(), commit).await
    }

    /// An acquire group of the default class with default costs.
    pub(crate) fn group(&self, count: u16) -> AcquireGroup {
        self.group_of(count, "default", &[])
    }

    pub(crate) fn group_of(&self, count: u16, class: &str, costs: &[(&str, u64)]) -> AcquireGroup {
        let class = ClassName::new(class).unwrap();
        let units: Vec<_> = costs.iter().map(|(unit, cost)| (UnitName::new(unit).unwrap(), *cost)).collect();
        AcquireGroup {
            lease: self.bench.lease(),
            requests: Requests::None,
            costs: self.spec.costs(&class, &units).unwrap(),
            class,
            tenant: TenantName::default_tenant(),
            tier: Tier::Standard,
            units: if units.is_empty() { vec![(UnitName::requests(), 1)] } else { units },
            count,
            ttl_ms: 60_000,
        }
    }

    /// Acquires one group in a commit of its own.
    pub(crate) async fn take(&self, group: AcquireGroup) -> (LeaseId, Decision) {
        let lease = group.lease;
        let commit = Commit { acquires: vec![group], ..self.commit() };
        (lease, self.send(&commit).await.unwrap().decisions.remove(0))
    }

    pub(crate) async fn acquire(&self, count: u16) -> (LeaseId, Decision) {
        self.take(self.group(count)).await
    }

    /// Acquires so many, all of which must be granted.
    pub(crate) async fn granted(&self, count: u16) -> LeaseId {
        let (lease, decision) = self.acquire(count).await;
        assert_eq!((decision.granted, &decision.refusal), (count, &None));
        lease
    }

    /// Settles one group in a commit of its own.
    pub(crate) async fn settle(&self, group: SettleGroup) -> (Settled, u64) {
        let reply = self.send(&Commit { settles: vec![group], ..self.commit() }).await.unwrap();
        (reply.settled[0][0], reply.paused_ms[0])
    }

    pub(crate) async fn settle_as(&self, lease: LeaseId, index: u16, kind: SettleKind) -> Settled {
        self.settle(settlement(lease, index, kind)).await.0
    }

    pub(crate) async fn renew(&self, lease: LeaseId, index: u16, ttl_ms: u64) -> bursar_quota::Renewal {
        let renews = vec![RenewGroup { lease, index, ttl_ms }];
        self.send(&Commit { renews, ..self.commit() }).await.unwrap().renewed.remove(0)
    }

    pub(crate) async fn snapshot(&self) -> BudgetSnapshot {
        self.bench.ledger.get(self.name()).await.unwrap().unwrap().snapshot
    }

    /// What is available, out and paid in the first limit.
    pub(crate) async fn stand(&self) -> (i64, u64, u64) {
        let limit = self.snapshot().await.limits.remove(0);
        (limit.available, limit.out, limit.paid)
    }
}

/// Asserts a refusal for `reason` whose time to come back is within `ms`.
#[track_caller]
pub(crate) fn refused(
    decision: &Decision,
    granted: u16,
    reason: Reason,
    within: std::ops::RangeInclusive<u128>,
) {
    assert_eq!(decision.granted, granted, "{decision:?}");
    let refusal = decision.refusal.as_ref().unwrap();
    assert_eq!(refusal.reason, reason, "{decision:?}");
    let after = refusal.retry_after.unwrap_or_else(|| panic!("no time: {decision:?}")).as_millis();
    assert!(within.contains(&after), "{after} ms is outside {within:?}: {decision:?}");
}
