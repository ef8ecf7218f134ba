//! What a load is: how many call, over what, how fast and for how long.

use std::time::Duration;

use crate::BenchError;

/// The most callers.
pub const MAX_CALLERS: usize = 65_536;
/// The most connections.
pub const MAX_CONNECTIONS: usize = 1_024;
/// The most budgets.
pub const MAX_BUDGETS: usize = 100_000;
/// The most calls a second of an open loop.
pub const MAX_RATE: f64 = 1_000_000.0;
/// The longest that is measured.
pub const MAX_SPAN: Duration = Duration::from_secs(86_400);
/// The most callers of a connection whose calls are unary: a server bounds the streams of a connection (4,096), and what of
/// them acquires may fill.
const MAX_UNARY: usize = 3_584;

/// A load. [`Load::default`] is 64 callers on 4 connections and one hot budget, for 5 s.
#[derive(Debug, Clone, PartialEq)]
pub struct Load {
    /// How many call at once, 1 to [`MAX_CALLERS`]; each has at most one call under way.
    pub callers: usize,
    /// Connections that they share evenly, 1 to [`MAX_CONNECTIONS`]; no more than callers are opened.
    pub connections: usize,
    /// Budgets that the calls are spread over evenly, 1 to [`MAX_BUDGETS`].
    pub budgets: usize,
    /// Calls that are due a second, above 0, at most [`MAX_RATE`]: an open loop. `None`: a closed one.
    pub rate: Option<f64>,
    /// What runs before, unmeasured; at most [`MAX_SPAN`].
    pub warmup: Duration,
    /// What is measured, 10 ms to [`MAX_SPAN`].
    pub span: Duration,
    /// Whether each acquire has a request id, so that a retry of it is granted once. Without, equal acquires fold.
    pub request_ids: bool,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            callers: 64,
            connections: 4,
            budgets: 1,
            rate: None,
            warmup: Duration::from_secs(1),
            span: Duration::from_secs(5),
            request_ids: true,
        }
    }
}

impl Load {
    /// Checks every bound; the error names the flag. `unary`: whether each call is a stream of its own.
    pub fn validate(&self, unary: bool) -> Result<(), BenchError> {
        count("--callers", self.callers, MAX_CALLERS)?;
        count("--connections", self.connections, MAX_CONNECTIONS)?;
        count("--budgets", self.budgets, MAX_BUDGETS)?;
        if let Some(rate) = self.rate
            && !(rate > 0.0 && rate <= MAX_RATE)
        {
            return Err(BenchError::flag("--rate", format!("{rate} is not above 0 and at most {MAX_RATE}")));
        }
        span("--warmup", self.warmup, Duration::ZERO)?;
        span("--seconds", self.span, Duration::from_millis(10))?;
        let each = self.callers.div_ceil(self.connections);
        if unary && each > MAX_UNARY {
            let problem =
                format!("{each} callers would share one connection, which takes {MAX_UNARY} unary calls");
            return Err(BenchError::flag("--connections", problem));
        }
        Ok(())
    }

    /// Connections that are opened: no more than there are callers.
    pub(crate) fn opened(&self) -> usize {
        self.connections.min(self.callers)
    }
}

/// `found` is 1 to `most`, or `flag` is wrong.
pub(crate) fn count(flag: &'static str, found: usize, most: usize) -> Result<(), BenchError> {
    if (1..=most).contains(&found) {
        return Ok(());
    }
    Err(BenchError::flag(flag, format!("{found} is not within 1 to {most}")))
}

/// `found` is `least` to [`MAX_SPAN`], or `flag` is wrong.
pub(crate) fn span(flag: &'static str, found: Duration, least: Duration) -> Result<(), BenchError> {
    if (least..=MAX_SPAN).contains(&found) {
        return Ok(());
    }
    Err(BenchError::flag(flag, format!("{found:?} is not within {least:?} to {MAX_SPAN:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bound_names_its_flag() {
        let wrong = |change: fn(&mut Load)| {
            let mut load = Load::default();
            assert!(load.validate(true).is_ok());
            change(&mut load);
            load.validate(true).unwrap_err().to_string()
        };
        let table = [
            ("--callers: 0 is not within 1 to 65536", wrong(|load| load.callers = 0)),
            ("--connections: 1025 is not within", wrong(|load| load.connections = 1025)),
            ("--budgets: 0 is not within", wrong(|load| load.budgets = 0)),
            ("--rate: 0 is not above 0", wrong(|load| load.rate = Some(0.0))),
            ("--rate: NaN is not above 0", wrong(|load| load.rate = Some(f64::NAN))),
            ("--seconds: 9ms is not within 10ms", wrong(|load| load.span = Duration::from_millis(9))),
            ("--warmup: 86401s is not within", wrong(|load| load.warmup = Duration::from_secs(86_401))),
            ("--connections: 4000 callers would share", wrong(|load| load.callers = 16_000)),
        ];
        for (wanted, found) in table {
            assert!(found.starts_with(wanted), "{found:?} instead of {wanted:?}");
        }
        assert!(Load { callers: 16_000, ..Load::default() }.validate(false).is_ok());
    }
}
