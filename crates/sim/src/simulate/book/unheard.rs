//! Permits that nobody hears of: of requests that were sent twice, whose sender had given up meanwhile. Each keeps what it holds
//! from those who wait, until its time is over.

use std::time::Duration;

use super::{Book, PermitKey};

impl Book {
    /// A request that was sent once more was granted this permit, and nobody hears the answer; unless its sender has it already.
    pub(crate) fn unheard(&mut self, key: PermitKey) {
        let Some(permit) = self.permits.get(&key).filter(|permit| !permit.is_got) else { return };
        let unheard = &mut self.accounts[permit.budget].unheard;
        if !unheard.contains(&key) {
            unheard.push(key);
        }
    }

    /// Its sender has it after all.
    pub(super) fn heard(&mut self, budget: usize, key: PermitKey) {
        self.accounts[budget].unheard.retain(|unheard| *unheard != key);
    }

    /// By how much longer those who wait for a budget since then may have to, one of these permits after the other: a slot until
    /// its deadline, and its part of the first limit for a window.
    pub(super) fn kept_by_nobody(&self, budget: usize, since: Duration) -> Duration {
        let upstream = &self.scenario.budgets[budget].upstream;
        let at_once = upstream.slots.map(|slots| u32::try_from(slots.capacity).unwrap_or(u32::MAX).max(1));
        let capacity =
            upstream.rules.first().map_or(1, |rule| u32::try_from(rule.capacity).unwrap_or(u32::MAX).max(1));
        let each = |key: &PermitKey| {
            let permit = self.permits.get(key).filter(|permit| permit.deadline > since)?;
            let slot = at_once.map_or(Duration::ZERO, |slots| (permit.deadline - permit.granted_at) / slots);
            Some(slot + self.scenario.window / capacity)
        };
        self.accounts[budget].unheard.iter().filter_map(each).sum()
    }
}
