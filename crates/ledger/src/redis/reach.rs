//! Whether the store can be reached, as the drivers found last.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use bursar_quota::Trouble;
use tokio::time::Instant;

/// What the drivers of a host know together: the latest of their connections and answers counts.
#[derive(Debug, Default)]
pub(super) struct Reach {
    is_lost: AtomicBool,
    /// Whether a connection was ever made: then the address is right.
    is_met: AtomicBool,
    /// Why it was lost, and since when.
    lost: Mutex<Option<(String, Instant)>>,
}

impl Reach {
    /// A connection could not be made, or was not answered on.
    // ## found => lost
    #[allow(
        clippy::disallowed_methods,
        reason = "told as a span, by the clock that the drivers' timers go by"
    )]
    pub(super) fn lost(&self, cause: &str) {
        let mut lost = self.why();
        let since = lost.take().map_or_else(Instant::now, |(_, since)| since);
        *lost = Some((cause.to_owned(), since));
        self.is_lost.store(true, Ordering::Release);
    }

    /// A connection was made, or a call was answered.
    // ## lost => found
    pub(super) fn found(&self) {
        // Each answer says so: it writes nothing where nothing changes.
        if self.is_lost.load(Ordering::Relaxed) {
            // Under one lock, as in `lost`: a moment that stayed behind would count as the next loss's.
            let mut lost = self.why();
            *lost = None;
            self.is_lost.store(false, Ordering::Release);
        }
        if !self.is_met.load(Ordering::Relaxed) {
            self.is_met.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it was ever reached.
    pub(super) fn is_met(&self) -> bool {
        self.is_met.load(Ordering::Relaxed)
    }

    /// Why it cannot be reached; `None`: it can, or nobody has tried.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        if !self.is_lost.load(Ordering::Acquire) {
            return None;
        }
        self.why().as_ref().map(|(cause, since)| Trouble { cause: cause.clone(), lasts: since.elapsed() })
    }

    fn why(&self) -> MutexGuard<'_, Option<(String, Instant)>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_latest_word_counts_since_the_first_of_its_kind() {
        let reach = Reach::default();
        assert!(reach.trouble().is_none() && !reach.is_met());
        let trouble = |cause: &str, seconds| {
            Some(Trouble { cause: cause.to_owned(), lasts: Duration::from_secs(seconds) })
        };
        reach.lost("refused");
        tokio::time::advance(Duration::from_secs(2)).await;
        reach.lost("reset");
        assert_eq!(reach.trouble(), trouble("reset", 2));
        reach.found();
        assert!(reach.trouble().is_none() && reach.is_met());
        reach.lost("reset");
        assert_eq!(reach.trouble(), trouble("reset", 0));
        assert!(reach.is_met());
    }
}
