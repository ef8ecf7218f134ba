//! How soon one replica hears what was settled at another: a slot that is free again, and a pause.

use std::{sync::Arc, time::Duration};

use bursar_client::{AcquireError, AcquireOptions, Client, Permit};
use bursar_quota::{Clock, SystemClock};
use serde::Serialize;
use tokio::time::sleep;

use crate::{
    Bench, BenchError, Load, Stage,
    load::count,
    measure::{Shape, clients, declare},
    recorder::{Latencies, Recorder},
};

/// The most times.
const MOST: usize = 100_000;
/// How long a waiter has until the store knows of it; the time that is measured begins after it.
const REST: Duration = Duration::from_millis(10);
/// How long a waiter waits: far longer than any waking takes.
const WAIT: Duration = Duration::from_secs(30);
/// What the refusal asks for, seconds: longer than the measurement takes.
const RETRY_AFTER: &str = "3600";

/// How soon the other replica acts on it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Wake {
    /// `slot` or `pause`.
    pub what: &'static str,
    /// `redis`, `cluster`, or `target` for what ran already.
    pub store: &'static str,
    /// How many times.
    pub many: u64,
    /// Microseconds: the median.
    pub p50_us: f64,
    /// 99 of a hundred took no longer.
    pub p99_us: f64,
    /// The longest.
    pub max_us: f64,
    /// Permits that the other replica granted after the settlement was answered that pauses; of `slot` null.
    pub granted_inside: Option<u64>,
}

impl Wake {
    fn of(what: &'static str, stage: &Stage, found: Latencies, granted_inside: Option<u64>) -> Self {
        let Latencies { calls, p50_us, p99_us, max_us, .. } = found;
        Self { what, store: stage.store, many: calls, p50_us, p99_us, max_us, granted_inside }
    }
}

/// From a settlement at one replica to the permit of who waits at the other for its slot, `many` times (1 to 100,000), to and
/// fro.
pub async fn slots(bench: Bench, stage: &Stage, many: usize) -> Result<Wake, BenchError> {
    count("--many", many, MOST)?;
    let sides = sides(stage)?;
    let names = bench.names(1);
    let name = names.first().map_or("bench", String::as_str);
    declare(&sides, &names, Shape::One).await?;
    let (clock, recorder) = (Arc::new(SystemClock::new()), Recorder::new()?);
    let [here, there] = &sides;
    let mut held = here.acquire(AcquireOptions::new(name)).await?;
    for other in [there, here].into_iter().cycle().take(many) {
        let (waiter, options) = (other.clone(), AcquireOptions::new(name).max_wait(WAIT));
        let told = Arc::clone(&clock);
        let waiting = tokio::spawn(async move {
            let permit = waiter.acquire(options).await;
            (permit, told.monotonic())
        });
        sleep(REST).await;
        let settled_at = clock.monotonic();
        answer(held, 200, None).await?;
        let (permit, woken_at) = waiting.await.map_err(|error| BenchError::Task(error.to_string()))?;
        held = permit?;
        recorder.record(0, woken_at.saturating_sub(settled_at));
    }
    answer(held, 200, None).await?;
    Ok(Wake::of("slot", stage, recorder.latencies()?, None))
}

/// From a settlement with a Retry-After at one replica to its answer, `many` times (1 to 100,000): from there on the other,
/// which granted just before, grants nothing.
pub async fn pauses(bench: Bench, stage: &Stage, many: usize) -> Result<Wake, BenchError> {
    count("--many", many, MOST)?;
    let sides = sides(stage)?;
    let [here, there] = &sides;
    let names = Bench { tag: bench.tag ^ 1 }.names(many);
    declare(&sides, &names, Shape::Endless).await?;
    let (clock, recorder, mut granted) = (SystemClock::new(), Recorder::new()?, 0);
    for name in names.iter() {
        let refused = here.acquire(AcquireOptions::new(name)).await?;
        answer(there.acquire(AcquireOptions::new(name)).await?, 200, None).await?;
        let settled_at = clock.monotonic();
        answer(refused, 429, Some(("retry-after", RETRY_AFTER))).await?;
        recorder.record(0, clock.monotonic().saturating_sub(settled_at));
        match there.acquire(AcquireOptions::new(name).max_wait(Duration::ZERO)).await {
            Err(AcquireError::Refused(_)) => {}
            Err(error) => return Err(error.into()),
            Ok(permit) => {
                granted += 1;
                permit.not_sent().await?;
            }
        }
    }
    Ok(Wake::of("pause", stage, recorder.latencies()?, Some(granted)))
}

/// A client of one replica, and one of another.
fn sides(stage: &Stage) -> Result<[Client; 2], BenchError> {
    let load = Load { callers: 2, connections: 2, ..Load::default() };
    let found = clients(stage, &load)?;
    let [here, there] = found.as_slice() else {
        return Err(BenchError::Task("two clients".to_owned()));
    };
    if stage.target.endpoints.len() < 2 {
        return Err(BenchError::flag("--replicas", "one replica wakes nobody at another: give 2"));
    }
    Ok([here.clone(), there.clone()])
}

async fn answer(permit: Permit, status: u16, header: Option<(&str, &str)>) -> Result<(), BenchError> {
    permit.settle(status, header, &[]).await?;
    Ok(())
}
