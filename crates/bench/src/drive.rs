//! Drives callers, in a closed or an open loop.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use bursar_quota::{Clock, SystemClock};
use tokio::{sync::Semaphore, task::JoinSet};

use crate::{
    BenchError, Load,
    call::Caller,
    recorder::{Latencies, Recorder},
};

/// What a drive shows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Driven {
    pub(crate) latencies: Latencies,
    /// Calls a second.
    pub(crate) per_second: f64,
    /// Calls of an open loop that were due and that nobody was free to make until long after; their latency so far is in
    /// the histogram.
    pub(crate) left: u64,
}

/// When calls may begin, and which of them count. All moments are of one monotonic clock.
#[derive(Debug, Clone, Copy)]
struct Times {
    begin: Duration,
    /// From when on calls count that begin (closed loop) or are due (open loop).
    from: Duration,
    /// Until when.
    until: Duration,
    /// When nobody takes up a call any more that is still due: a span after the end.
    given_up: Duration,
}

/// Arrivals of an open loop: evenly spaced, numbered from 0.
#[derive(Debug, Clone, Copy)]
struct Arrivals {
    rate: f64,
    total: u64,
}

impl Arrivals {
    #[allow(clippy::cast_precision_loss, reason = "at most 10^11 arrivals")]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive and bounded")]
    fn of(rate: f64, span: Duration) -> Self {
        Self { rate, total: (rate * span.as_secs_f64()).floor() as u64 }
    }

    /// When one is due, from the beginning.
    #[allow(clippy::cast_precision_loss, reason = "at most 10^11 arrivals")]
    fn due(self, index: u64) -> Duration {
        Duration::from_secs_f64(index as f64 / self.rate)
    }

    /// How many are due after `elapsed`.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive and bounded")]
    fn due_by(self, elapsed: Duration) -> u64 {
        ((elapsed.as_secs_f64() * self.rate).floor() as u64).saturating_add(1).min(self.total)
    }
}

struct Shared {
    clock: SystemClock,
    recorder: Recorder,
    times: Times,
    /// A call failed: all others end.
    failed: AtomicBool,
    arrivals: Option<Arrivals>,
    /// Arrivals that are due and that nobody has taken up.
    due: Semaphore,
    next: AtomicU64,
}

impl Shared {
    /// Waits for the next call to make: when its latency begins. `None`: there is none any more.
    async fn next(&self) -> Option<Duration> {
        let Some(arrivals) = self.arrivals else {
            let now = self.clock.monotonic();
            return (now < self.times.until).then_some(now);
        };
        self.due.acquire().await.ok()?.forget();
        if self.clock.monotonic() >= self.times.given_up {
            return None;
        }
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        (index < arrivals.total).then(|| self.times.begin + arrivals.due(index))
    }

    fn took(&self, caller: usize, since: Duration) {
        if (self.times.from..self.times.until).contains(&since) {
            self.recorder.record(caller, self.clock.monotonic().saturating_sub(since));
        }
    }

    /// What was due and never taken up has waited until now, and counts so: how many.
    fn leave(&self) -> u64 {
        let Some(arrivals) = self.arrivals else { return 0 };
        let first = self.next.load(Ordering::Relaxed).min(arrivals.total);
        let mut left = 0;
        for index in first..arrivals.total {
            let since = self.times.begin + arrivals.due(index);
            if since >= self.times.from {
                self.recorder.record(0, self.times.given_up.saturating_sub(since));
                left += 1;
            }
        }
        left
    }
}

/// Lets every caller call until the load's time is over. Beside them `watch` runs, which is given the moments from and until
/// which calls count, from now.
pub(crate) async fn drive<C: Caller, W: Future>(
    callers: Vec<C>,
    load: &Load,
    watch: impl FnOnce(Duration, Duration) -> W,
) -> Result<(Driven, W::Output), BenchError> {
    let clock = SystemClock::new();
    let begin = clock.monotonic();
    let from = begin + load.warmup;
    let until = from + load.span;
    let given_up = until + load.span.max(Duration::from_secs(1));
    let arrivals = load.rate.map(|rate| Arrivals::of(rate, load.warmup + load.span));
    let shared = Arc::new(Shared {
        clock,
        recorder: Recorder::new()?,
        times: Times { begin, from, until, given_up },
        failed: AtomicBool::new(false),
        arrivals,
        due: Semaphore::new(0),
        next: AtomicU64::new(0),
    });
    let many = callers.len();
    let mut calling = JoinSet::new();
    for (index, caller) in callers.into_iter().enumerate() {
        calling.spawn(call(Arc::clone(&shared), index, caller));
    }
    let pacer = arrivals.map(|arrivals| pacer(Arc::clone(&shared), arrivals, many)).transpose()?;
    let (ended, watched) =
        tokio::join!(all(&mut calling, &shared), watch(load.warmup, load.warmup + load.span));
    if let Some(pacer) = pacer {
        // It ends soon after the last caller: it looks at the same flag and the same clock.
        pacer.join().map_err(|_| BenchError::Task("the pacer".to_owned()))?;
    }
    ended?;
    let left = shared.leave();
    let latencies = shared.recorder.latencies()?;
    #[allow(clippy::cast_precision_loss, reason = "calls of a day at most")]
    let made = latencies.calls.saturating_sub(left) as f64;
    Ok((Driven { latencies, per_second: made / load.span.as_secs_f64(), left }, watched))
}

/// Waits for all callers; the first failure ends the others after their calls.
async fn all(calling: &mut JoinSet<Result<(), BenchError>>, shared: &Shared) -> Result<(), BenchError> {
    let mut first = Ok(());
    while let Some(ended) = calling.join_next().await {
        let ended = ended.unwrap_or_else(|error| Err(BenchError::Task(error.to_string())));
        if ended.is_err() && first.is_ok() {
            first = ended;
            shared.failed.store(true, Ordering::Relaxed);
            shared.due.close();
        }
    }
    first
}

async fn call<C: Caller>(shared: Arc<Shared>, index: usize, mut caller: C) -> Result<(), BenchError> {
    while let Some(since) = shared.next().await {
        if shared.failed.load(Ordering::Relaxed) {
            break;
        }
        caller.call().await?;
        shared.took(index, since);
    }
    caller.finish().await
}

/// Hands out arrivals when they are due. A thread of its own, since the runtime's timers tell milliseconds apart and no less.
fn pacer(
    shared: Arc<Shared>,
    arrivals: Arrivals,
    callers: usize,
) -> Result<thread::JoinHandle<()>, BenchError> {
    let pace = move || {
        let mut handed = 0;
        while handed < arrivals.total && !shared.failed.load(Ordering::Relaxed) {
            let elapsed = shared.clock.monotonic().saturating_sub(shared.times.begin);
            let due = arrivals.due_by(elapsed);
            let more = usize::try_from(due.saturating_sub(handed)).unwrap_or(usize::MAX);
            shared.due.add_permits(more.min(Semaphore::MAX_PERMITS / 2));
            handed = handed.max(due);
            let next = (shared.times.begin + arrivals.due(handed)).saturating_sub(shared.clock.monotonic());
            // In steps, so that a failure is seen soon.
            thread::sleep(next.min(Duration::from_millis(100)));
        }
        // One for each caller, which then finds that nothing is left.
        shared.due.add_permits(callers);
    };
    thread::Builder::new()
        .name("pacer".to_owned())
        .spawn(pace)
        .map_err(|error| BenchError::Task(format!("the pacer: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so long for each call; fails at the one that is counted down to.
    struct Slow {
        takes: Duration,
        fails_in: Option<u32>,
    }

    impl Caller for Slow {
        async fn call(&mut self) -> Result<(), BenchError> {
            if let Some(left) = &mut self.fails_in {
                *left = left.checked_sub(1).ok_or_else(|| BenchError::Script("it fails".to_owned()))?;
            }
            tokio::time::sleep(self.takes).await;
            Ok(())
        }

        async fn finish(self) -> Result<(), BenchError> {
            Ok(())
        }
    }

    async fn driven(rate: Option<f64>, takes: u64, fails_in: Option<u32>) -> Result<Driven, BenchError> {
        let warmup = Duration::ZERO;
        let load = Load { rate, warmup, span: Duration::from_millis(200), ..Load::default() };
        let callers = vec![Slow { takes: Duration::from_millis(takes), fails_in }];
        drive(callers, &load, |_, _| async {}).await.map(|(driven, ())| driven)
    }

    #[tokio::test]
    async fn a_stall_is_seen_by_all_that_it_holds_up() {
        // 100 are due in 200 ms; each takes 50 ms, one at a time, and nobody is free for most until long after.
        let driven = driven(Some(500.0), 50, None).await.unwrap();
        assert_eq!(driven.latencies.calls, 100, "each counts, made or not");
        assert!(driven.left > 50, "{driven:?}");
        assert!(driven.latencies.p50_us > 500_000.0, "not the 50 ms of a call: {driven:?}");
    }

    #[tokio::test]
    async fn a_closed_loop_waits_for_itself() {
        let driven = driven(None, 50, None).await.unwrap();
        assert!((1..=4).contains(&driven.latencies.calls) && driven.left == 0, "{driven:?}");
    }

    #[tokio::test]
    async fn one_failed_call_fails_the_run() {
        for rate in [None, Some(100.0)] {
            let error = driven(rate, 1, Some(2)).await.unwrap_err().to_string();
            assert!(error.contains("it fails"), "{error}");
        }
    }

    #[test]
    fn arrivals_are_due_evenly_and_each_once() {
        let arrivals = Arrivals::of(1000.0, Duration::from_secs(2));
        assert_eq!(arrivals.total, 2000);
        assert_eq!(arrivals.due(0), Duration::ZERO);
        assert_eq!(arrivals.due(1500), Duration::from_millis(1500));
        assert_eq!(arrivals.due_by(Duration::ZERO), 1);
        assert_eq!(arrivals.due_by(Duration::from_micros(1500)), 2);
        assert_eq!(arrivals.due_by(Duration::from_secs(9)), 2000);
    }
}
