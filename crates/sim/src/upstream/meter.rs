//! Counting by windows.

use std::{collections::VecDeque, time::Duration};

use super::{
    truth::{LimitTruth, MAX_WINDOWS, WindowTruth},
    vendor::WindowRule,
};

#[derive(Debug, Clone, Copy, Default)]
struct Count {
    accepted: u64,
    refused: u64,
    foreign: u64,
}

impl Count {
    fn add(&mut self, what: Counted) {
        match what {
            Counted::Accepted => self.accepted += 1,
            Counted::Refused => self.refused += 1,
            Counted::Foreign => self.foreign += 1,
        }
    }
}

/// What became of a call.
#[derive(Debug, Clone, Copy)]
pub(super) enum Counted {
    Accepted,
    Refused,
    Foreign,
}

/// Counts what one limit of one token did, in windows on a clock with the limit's phase.
#[derive(Debug)]
pub(super) struct Meter {
    /// In nanoseconds.
    window: u128,
    /// In nanoseconds.
    phase: u128,
    /// Of the token's first call. Windows are numbered from the one that ends at `phase`.
    first: u128,
    /// Of the last in `windows`.
    current: u128,
    sum: Count,
    /// The latest, without a gap.
    windows: VecDeque<Count>,
}

impl Meter {
    /// Nothing was counted before `now`.
    pub(super) fn new(rule: &WindowRule, now: Duration) -> Self {
        let (window, phase) = (rule.window.as_nanos(), rule.phase.as_nanos());
        let first = index(now, window, phase);
        let windows = VecDeque::from([Count::default()]);
        Self { window, phase, first, current: first, sum: Count::default(), windows }
    }

    /// Opens the windows up to the one of `now`.
    fn turn(&mut self, now: Duration) {
        let index = index(now, self.window, self.phase);
        if index <= self.current {
            return;
        }
        let passed = usize::try_from(index - self.current).unwrap_or(usize::MAX);
        for _ in 0..passed.min(MAX_WINDOWS) {
            if self.windows.len() >= MAX_WINDOWS {
                self.windows.pop_front();
            }
            self.windows.push_back(Count::default());
        }
        self.current = index;
    }

    pub(super) fn count(&mut self, now: Duration, what: Counted) {
        self.turn(now);
        self.sum.add(what);
        if let Some(window) = self.windows.back_mut() {
            window.add(what);
        }
    }

    /// What was counted up to `now`.
    pub(super) fn truth(&mut self, rule: &WindowRule, now: Duration) -> LimitTruth {
        self.turn(now);
        let oldest = self.current + 1 - self.windows.len() as u128;
        let windows = self.windows.iter().zip(oldest..).map(|(count, index)| {
            // The window before the one that ends at `phase` began before the clock's zero.
            let end = self.phase + index * self.window;
            WindowTruth {
                start_ms: ms(end.saturating_sub(self.window)),
                end_ms: ms(end),
                complete: index < self.current,
                accepted: count.accepted,
                refused: count.refused,
                foreign: count.foreign,
            }
        });
        let passed = u64::try_from(self.current - self.first + 1).unwrap_or(u64::MAX);
        LimitTruth {
            name: rule.name.to_owned(),
            capacity: rule.capacity,
            offers: rule.offers,
            offered: rule.capacity.saturating_mul(passed),
            accepted: self.sum.accepted,
            refused: self.sum.refused,
            foreign: self.sum.foreign,
            windows: windows.collect(),
        }
    }

    /// How long after `now` the window ends.
    pub(super) fn ends_in(rule: &WindowRule, now: Duration) -> Duration {
        let (window, phase) = (rule.window.as_nanos(), rule.phase.as_nanos());
        let end = phase + index(now, window, phase) * window;
        Duration::from_nanos(u64::try_from(end - now.as_nanos()).unwrap_or(u64::MAX))
    }
}

fn index(now: Duration, window: u128, phase: u128) -> u128 {
    (now.as_nanos() + window - phase) / window
}

/// Nanoseconds as milliseconds, to the microsecond.
fn ms(nanos: u128) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "microseconds of centuries are exact in a double")]
    let micros = (nanos / 1000) as f64;
    micros / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::{UpstreamConfig, VendorProfile, vendor::Vendor};

    #[test]
    fn windows_are_counted_from_the_first_call_on_and_the_latest_are_kept() {
        let second = Duration::from_secs(1);
        let config = UpstreamConfig {
            window: Some(10 * second),
            phase: Some(3 * second),
            capacity: Some(7),
            ..UpstreamConfig::new(VendorProfile::Generic)
        };
        let rule = Vendor::new(&config).rules[0].clone();
        let mut meter = Meter::new(&rule, 2 * second);
        assert_eq!(Meter::ends_in(&rule, 2 * second), second);
        assert_eq!(Meter::ends_in(&rule, 3 * second), 10 * second);
        meter.count(2 * second, Counted::Accepted);
        meter.count(3 * second, Counted::Refused);
        meter.count(24 * second, Counted::Foreign);
        let truth = meter.truth(&rule, 33 * second);
        let kept: Vec<_> = truth
            .windows
            .iter()
            .map(|w| (w.start_ms, w.end_ms, w.complete, w.accepted, w.refused, w.foreign))
            .collect();
        let expected = vec![
            (0.0, 3000.0, true, 1, 0, 0),
            (3000.0, 13000.0, true, 0, 1, 0),
            (13000.0, 23000.0, true, 0, 0, 0),
            (23000.0, 33000.0, true, 0, 0, 1),
            (33000.0, 43000.0, false, 0, 0, 0),
        ];
        assert_eq!(kept, expected);
        assert_eq!((truth.offered, truth.accepted, truth.refused, truth.foreign), (35, 1, 1, 1));
        let later = meter.truth(&rule, 1_000_000 * second);
        assert_eq!(later.windows.len(), MAX_WINDOWS);
        assert_eq!((later.offered, later.accepted), (7 * 100_001, 1));
    }
}
