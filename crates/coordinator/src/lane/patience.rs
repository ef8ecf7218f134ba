//! The ends of patience, and what else is due when.

use std::time::Duration;

use bursar_quota::{LedgerError, Reason, Refusal};

use super::{answers::Answers, plan::Batch, queue::Queues, waiter::Waiter};
use crate::{CoordinatorError, slab::Key, spec::SpecView};

/// How long one whose patience ends while it is being asked for is given, so that a grant on its way is not wasted.
pub(crate) const GRACE: Duration = Duration::from_millis(100);

/// How often those who wait for their first decision are looked through at most.
const FRESH_STEP: Duration = Duration::from_millis(20);

impl Queues {
    pub(super) fn set_timer(&mut self, key: Key, end: Duration) {
        let Some(waiter) = self.waiters.get_mut(key) else { return };
        let (old, class) = (waiter.place.timer.replace(end), waiter.place.class);
        if old == Some(end) {
            return;
        }
        if let Some(class) = self.class_mut(class) {
            if let Some(old) = old {
                class.timers.remove(&(old, key));
            }
            class.timers.insert((end, key));
        }
    }

    /// Watches the patience of those in a batch that takes long.
    pub(crate) fn watch(&mut self, batch: &mut Batch, now: Duration) {
        if std::mem::replace(&mut batch.watched, true) {
            return;
        }
        for key in &batch.waiters {
            let untimed = self.waiters.get(*key).filter(|waiter| waiter.place.timer.is_none());
            if let Some(end) = untimed.map(|waiter| waiter.undecided.max(now + GRACE)) {
                self.set_timer(*key, end);
            }
        }
    }

    /// Answers those whose patience is over. `down` is why nothing could be asked lately, if so.
    pub(crate) fn expire(&mut self, down: Option<&LedgerError>, answers: &mut Answers<'_>) {
        let now = answers.now;
        let mut due = Vec::new();
        for at in 0..self.classes.len() {
            let Some(class) = self.classes.get_mut(at).and_then(Option::as_mut) else { continue };
            while let Some(timer) = class.timers.first().copied().filter(|(end, _)| *end <= now) {
                class.timers.remove(&timer);
                due.push(timer.1);
            }
            if class.fresh_due <= now {
                let mut next = Duration::MAX;
                let waiters = &self.waiters;
                class.fresh.retain(|key| {
                    let waiter = waiters.get(*key).filter(|w| !w.place.decided && !w.place.in_flight);
                    let Some(waiter) = waiter else { return false };
                    if waiter.undecided <= now {
                        due.push(*key);
                        return false;
                    }
                    next = next.min(waiter.undecided);
                    true
                });
                class.fresh_due = next.max(now + FRESH_STEP);
            }
        }
        for key in due {
            let Some(waiter) = self.waiters.get_mut(key) else { continue };
            waiter.place.timer = None;
            let end = if waiter.place.decided { waiter.patience } else { waiter.undecided };
            if waiter.place.in_flight && now < end + GRACE {
                self.set_timer(key, end + GRACE);
                continue;
            }
            let class = self.class(waiter_class(self.waiters.get(key)));
            let told = class.and_then(|class| class.told.clone());
            let Some(waiter) = self.take(key) else { continue };
            let own = waiter.place.told.clone();
            // Of one moment, its own is the better.
            let latest = told.into_iter().chain(own).max_by_key(|told| told.at);
            match (latest, down) {
                (_, Some(error)) => answers.fail(waiter, CoordinatorError::Ledger(error.clone())),
                (Some(told), None) => answers.refuse(waiter, told.at(now)),
                (None, None) => answers
                    .refuse(waiter, Refusal { reason: Reason::WaitTooLong, limit: None, retry_after: None }),
            }
        }
    }

    /// When something is to be done next if nothing happens: a refusal to be asked again, or patience that ends.
    pub(crate) fn next_due(&self, now: Duration) -> Option<Duration> {
        let mut due = self.parties_due.unwrap_or(Duration::MAX);
        for class in self.classes.iter().flatten() {
            if let Some((end, _)) = class.timers.first() {
                due = due.min(*end);
            }
            if class.queued > 0 {
                due = due.min(class.fresh_due);
                if let Some(block) = class.block.as_ref().filter(|block| block.holds(self.epoch, now)) {
                    due = due.min(block.until);
                }
            }
        }
        (due < Duration::MAX).then_some(due)
    }

    /// Finds when a tenant's own block ends next, once the one that was known has passed.
    pub(crate) fn refresh_parties_due(&mut self, now: Duration) {
        if self.parties_due.is_none_or(|due| due > now) {
            return;
        }
        let epoch = self.epoch;
        let parties = self.tiers.iter_mut().flat_map(|tier| tier.all_parties());
        let blocks = parties.flat_map(|party| &party.queues).filter_map(|queue| queue.block.as_ref());
        self.parties_due = blocks.filter(|block| block.holds(epoch, now)).map(|block| block.until).min();
    }

    /// So many went away: they are dropped once they are enough to be worth looking through all.
    pub(crate) fn went_away(&mut self, count: usize) {
        self.gone += count;
        if self.gone * 2 > self.waiters.len() || self.gone > 1024 {
            self.drop_closed();
        }
    }

    /// Drops those who went away, if anybody did.
    pub(crate) fn drop_closed(&mut self) {
        if std::mem::take(&mut self.gone) == 0 {
            return;
        }
        for key in self.waiters.keys_of(|waiter| waiter.answer.is_closed() && !waiter.place.in_flight) {
            self.take(key);
        }
        self.sweep_stale();
    }

    /// Tells those who cannot wait until `until` that the ledger gives no answer. Of those in flight too: their commit
    /// has failed.
    pub(crate) fn fail_impatient(&mut self, until: Duration, error: &LedgerError, answers: &mut Answers<'_>) {
        for key in self.waiters.keys_of(|waiter| waiter.patience < until || waiter.answer.is_closed()) {
            if let Some(waiter) = self.take(key) {
                answers.fail(waiter, CoordinatorError::Ledger(error.clone()));
            }
        }
    }

    /// Refuses everybody; those in flight only where `in_flight` says so, since their answer is on its way.
    pub(crate) fn refuse_all(&mut self, reason: Reason, in_flight: bool, answers: &mut Answers<'_>) {
        for key in self.waiters.keys_of(|waiter| in_flight || !waiter.place.in_flight) {
            if let Some(waiter) = self.take(key) {
                answers.refuse(waiter, Refusal { reason, limit: None, retry_after: None });
            }
        }
    }

    /// Answers those of `keys` that are still here with an error.
    pub(crate) fn fail(&mut self, keys: &[Key], error: &CoordinatorError, answers: &mut Answers<'_>) {
        for key in keys {
            if let Some(waiter) = self.take(*key) {
                answers.fail(waiter, error.clone());
            }
        }
    }

    /// Costs everybody anew, by another version of the specification. Whose call cannot be any more is told so.
    pub(crate) fn recost(&mut self, view: &SpecView, answers: &mut Answers<'_>) {
        for key in self.waiters.keys_of(|_| true) {
            let Some(waiter) = self.waiters.get_mut(key) else { continue };
            match view.kind(&waiter.kind.class, &waiter.kind.named) {
                Ok(kind) => waiter.kind = kind,
                Err(error) => {
                    if let Some(waiter) = self.take(key) {
                        answers.fail(waiter, error.into());
                    }
                }
            }
        }
        for class in self.live_classes() {
            // What was told is of limits that may be no more.
            (class.block, class.told) = (None, None);
        }
        self.bump();
    }

    /// How many of `keys` are still here.
    pub(crate) fn present(&self, keys: &[Key]) -> usize {
        keys.iter().filter(|key| self.waiters.get(**key).is_some_and(|w| !w.answer.is_closed())).count()
    }
}

fn waiter_class(waiter: Option<&Waiter>) -> u32 {
    waiter.map_or(u32::MAX, |waiter| waiter.place.class)
}
