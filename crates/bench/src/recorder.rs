//! Latencies of many callers, in histograms that they seldom wait for.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::BenchError;

/// Callers are spread over so many histograms.
const SHARDS: usize = 16;
/// The longest latency that is told apart, ns: a day.
const LONGEST_NS: u64 = 86_400_000_000_000;
/// Decimal digits that are kept.
const DIGITS: u8 = 3;

/// Takes in latencies.
pub(crate) struct Recorder {
    shards: Vec<Mutex<Histogram<u64>>>,
}

/// What was taken in.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Latencies {
    /// How many calls.
    pub(crate) calls: u64,
    /// Microseconds: half of the calls took no longer; then 99 and 99.9 of a hundred; then all.
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    pub(crate) max_us: f64,
}

impl Recorder {
    pub(crate) fn new() -> Result<Self, BenchError> {
        let shard = || {
            Histogram::new_with_bounds(1, LONGEST_NS, DIGITS)
                .map(Mutex::new)
                .map_err(|error| BenchError::Task(error.to_string()))
        };
        Ok(Self { shards: (0..SHARDS).map(|_| shard()).collect::<Result<_, _>>()? })
    }

    /// Takes in one latency of this caller; what is longer than a day counts as one.
    pub(crate) fn record(&self, caller: usize, latency: Duration) {
        if let Some(shard) = self.shards.get(caller % SHARDS) {
            let ns = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
            shard.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(ns);
        }
    }

    /// All that was taken in.
    pub(crate) fn latencies(&self) -> Result<Latencies, BenchError> {
        let mut all = Histogram::new_with_bounds(1, LONGEST_NS, DIGITS)
            .map_err(|error| BenchError::Task(error.to_string()))?;
        for shard in &self.shards {
            all.add(&*shard.lock().unwrap_or_else(PoisonError::into_inner))
                .map_err(|error| BenchError::Task(error.to_string()))?;
        }
        if all.is_empty() {
            return Ok(Latencies::default());
        }
        let at = |quantile| micros(all.value_at_quantile(quantile));
        Ok(Latencies {
            calls: all.len(),
            p50_us: at(0.5),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: micros(all.max()),
        })
    }
}

/// Microseconds with one decimal.
#[allow(clippy::cast_precision_loss, reason = "below 2^53 for anything shorter than 100 days")]
fn micros(ns: u64) -> f64 {
    ((ns as f64) / 100.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_all_callers() {
        let recorder = Recorder::new().unwrap();
        for n in 1..=1000_u64 {
            recorder.record(usize::try_from(n).unwrap(), Duration::from_micros(n));
        }
        let told = recorder.latencies().unwrap();
        assert_eq!(told.calls, 1000);
        for (found, wanted) in
            [(told.p50_us, 500.0), (told.p99_us, 990.0), (told.p999_us, 999.0), (told.max_us, 1000.0)]
        {
            assert!((found - wanted).abs() <= wanted / 500.0, "{found} instead of {wanted}");
        }
        assert_eq!(Recorder::new().unwrap().latencies().unwrap(), Latencies::default());
    }
}
