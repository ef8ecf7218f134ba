//! Requests by id that arrive and are not asked for at once: a retry whose first try was granted by another replica needs
//! nothing that others wait for, so it does not wait behind them to be told.

use bursar_quota::{LeaseId, MAX_LOOKS, RequestTag};

use super::queue::{MAX_ASK, Queues};
use crate::slab::Key;

impl Queues {
    /// Has a waiter's request looked up with the next commit.
    pub(super) fn look_up(&mut self, key: Key) {
        if self.to_look.len() > 2 * self.waiters.len() + MAX_LOOKS {
            // No commit can be made, and many have gone.
            let waiters = &self.waiters;
            self.to_look.retain(|key| waiters.get(*key).is_some());
        }
        self.to_look.push_back(key);
    }

    /// Takes those whose requests the next commit is to look up: who has come since the last one and is not asked for
    /// by it. Each once; those beyond [`MAX_LOOKS`] with the commits that follow.
    pub(super) fn looks(&mut self) -> Vec<(Key, RequestTag)> {
        let mut looks = Vec::new();
        while looks.len() < MAX_LOOKS
            && let Some(key) = self.to_look.pop_front()
        {
            // Who is in flight is looked up by being asked for.
            if let Some(waiter) = self.waiters.get(key)
                && !waiter.place.in_flight
                && !waiter.answer.is_closed()
                && let Some(tag) = waiter.request
            {
                looks.push((key, tag));
            }
        }
        looks
    }

    /// Looks these up with another commit: the one that did has failed.
    pub(super) fn look_again(&mut self, looked: &[Key]) {
        looked.iter().rev().for_each(|key| self.to_look.push_front(*key));
    }

    /// Takes those out of their queues who were granted before, so that nothing else is decided on them; in the order
    /// in which they came.
    pub(super) fn found(&mut self, looked: &[Key], found: &[Option<(LeaseId, u16)>]) -> Vec<Key> {
        let mut taken = Vec::new();
        for (key, permit) in looked.iter().zip(found) {
            let (Some(permit), Some(waiter)) = (permit, self.waiters.get_mut(*key)) else { continue };
            if waiter.place.in_flight {
                continue;
            }
            waiter.claim = Some(Box::new(*permit));
            waiter.place.in_flight = true;
            let (class_at, party_at, tier) = (waiter.place.class, waiter.place.party, waiter.tier);
            if let Some(class) = self.class_mut(class_at) {
                class.queued -= 1;
            }
            if let Some(party) = self.tiers[tier.index()].party_mut(party_at) {
                party.queue_mut(class_at).keys.retain(|other| other != key);
            }
            taken.push(*key);
        }
        taken
    }

    /// Has those who were found asked for with the next commit, before those of their tenants who were not.
    pub(super) fn claim_soon(&mut self, found: &[Key]) {
        self.put_back(found);
        self.unblock(found);
        for key in found {
            let class = self.waiters.get(*key).map(|waiter| waiter.place.class);
            if let Some(class) = class.and_then(|at| self.class_mut(at)) {
                // Wherever among the tenants their turn is.
                class.ask = MAX_ASK;
            }
        }
    }
}
