//! Whether the store can be reached, as the drivers found last.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

/// What the drivers of a host know together: the latest of their connections and answers counts.
#[derive(Debug, Default)]
pub(super) struct Reach {
    is_lost: AtomicBool,
    /// Whether a connection was ever made: then the address is right.
    is_met: AtomicBool,
    cause: Mutex<String>,
}

impl Reach {
    /// A connection could not be made, or was not answered on.
    // ## found => lost
    pub(super) fn lost(&self, cause: &str) {
        cause.clone_into(&mut self.cause.lock().unwrap_or_else(PoisonError::into_inner));
        self.is_lost.store(true, Ordering::Release);
    }

    /// A connection was made, or a call was answered.
    // ## lost => found
    pub(super) fn found(&self) {
        // Each answer says so: it writes nothing where nothing changes.
        if self.is_lost.load(Ordering::Relaxed) {
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
    pub(super) fn trouble(&self) -> Option<String> {
        let is_lost = self.is_lost.load(Ordering::Acquire);
        is_lost.then(|| self.cause.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_word_counts() {
        let reach = Reach::default();
        assert!(reach.trouble().is_none() && !reach.is_met());
        reach.lost("refused");
        assert_eq!(reach.trouble().as_deref(), Some("refused"));
        reach.found();
        assert!(reach.trouble().is_none() && reach.is_met());
        reach.lost("reset");
        assert!(reach.trouble().is_some() && reach.is_met());
    }
}
