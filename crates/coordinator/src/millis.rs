//! Durations in whole milliseconds.

use std::time::Duration;

/// Rounded down; what does not fit is the most that does.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Rounded up to the next millisecond.
pub(crate) fn ceil(duration: Duration) -> Duration {
    let nanos = duration.subsec_nanos() % 1_000_000;
    if nanos == 0 {
        duration
    } else {
        duration.saturating_add(Duration::from_nanos(u64::from(1_000_000 - nanos)))
    }
}
