//! One script by itself: what a commit of one settlement and one acquire takes, one after the other, without a server.
//!
//! Beside the latency of a caller that is alone it shows how much of that is the store's. The ledger comes from outside: this
//! room knows no store.

use std::{sync::Arc, time::Duration};

use bursar_quota::{
    AcquireGroup, BudgetName, ClassName, Clock, Commit, LeaseId, Ledger, LedgerError, ReplicaName, Requests,
    SettleGroup, SettleKind, Settled, SystemClock, TenantName, Tier, UnitName,
};
use serde::Serialize;

use crate::{
    Bench, BenchError,
    load::span,
    measure::Shape,
    recorder::{Latencies, Recorder},
};

/// How one script by itself did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Alone {
    /// `script`.
    pub kind: &'static str,
    /// `embedded` or `redis`.
    pub store: &'static str,
    /// How many ran.
    pub runs: u64,
    /// Microseconds: the median.
    pub p50_us: f64,
    /// 99 of a hundred took no longer.
    pub p99_us: f64,
    /// 999 of a thousand took no longer.
    pub p999_us: f64,
    /// The longest.
    pub max_us: f64,
}

/// Runs the script of a steady worker on `ledger`, one run after the other, for `lasts` after a `warmup`.
pub async fn alone(
    bench: Bench,
    ledger: Arc<dyn Ledger>,
    store: &'static str,
    warmup: Duration,
    lasts: Duration,
) -> Result<Alone, BenchError> {
    span("--warmup", warmup, Duration::ZERO)?;
    span("--seconds", lasts, Duration::from_millis(10))?;
    let names = bench.names(1);
    let spec = Shape::Endless.spec(names.first().map_or("bench", String::as_str))?;
    let budget = spec.name.clone();
    let put = ledger.put(&spec).await.map_err(told)?;
    let mut worker = Steady { ledger, budget, version: put.version, random: bench.tag, last: None };
    let (clock, recorder) = (SystemClock::new(), Recorder::new()?);
    loop {
        let began = clock.monotonic();
        if began >= warmup + lasts {
            break;
        }
        let commit = worker.next()?;
        let sent = clock.monotonic();
        let lease = worker.run(&commit).await?;
        if began >= warmup {
            recorder.record(0, clock.monotonic().saturating_sub(sent));
        }
        worker.last = Some(lease);
    }
    worker.ledger.delete(&worker.budget).await.map_err(told)?;
    let Latencies { calls, p50_us, p99_us, p999_us, max_us } = recorder.latencies()?;
    Ok(Alone { kind: "script", store, runs: calls, p50_us, p99_us, p999_us, max_us })
}

fn told(error: LedgerError) -> BenchError {
    BenchError::Script(error.to_string())
}

/// A worker that settles its last permit and acquires the next.
struct Steady {
    ledger: Arc<dyn Ledger>,
    budget: BudgetName,
    version: u64,
    random: u64,
    last: Option<LeaseId>,
}

impl Steady {
    /// The next commit, with a lease that nobody else has.
    fn next(&mut self) -> Result<Commit, BenchError> {
        let class = ClassName::new("default")?;
        // SplitMix64: leases differ, which is all that is asked of them here.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let lease = LeaseId::new(&class, u128::from(mixed) << 64 | u128::from(self.random));
        let settle = |lease| SettleGroup {
            lease,
            indexes: vec![0],
            kind: SettleKind::Accepted,
            costs: Vec::new(),
            units: Vec::new(),
            readings: Vec::new(),
            pause: None,
            age_ms: 0,
        };
        let acquire = AcquireGroup {
            lease,
            requests: Requests::None,
            class,
            tenant: TenantName::new("default")?,
            tier: Tier::Standard,
            costs: vec![1],
            units: vec![(UnitName::requests(), 1)],
            count: 1,
            ttl_ms: 60_000,
        };
        Ok(Commit {
            replica: ReplicaName::new("bench")?,
            spec_version: self.version,
            waiting: 0,
            contenders: Vec::new(),
            looks: Vec::new(),
            jitter: 0.5,
            settles: self.last.map(settle).into_iter().collect(),
            renews: Vec::new(),
            acquires: vec![acquire],
        })
    }

    /// Runs it; the lease that holds the new permit.
    async fn run(&self, commit: &Commit) -> Result<LeaseId, BenchError> {
        let reply = self.ledger.commit(&self.budget, commit).await.map_err(told)?;
        let granted = reply.decisions.first().is_some_and(|decision| decision.granted == 1);
        let settled = reply.settled.iter().flatten().all(|settled| *settled == Settled::Applied);
        match commit.acquires.first() {
            Some(group) if granted && settled => Ok(group.lease),
            _ => Err(BenchError::Script(format!("{reply:?}"))),
        }
    }
}
