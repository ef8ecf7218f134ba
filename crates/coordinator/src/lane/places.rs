//! Where the permits of requests by id are.

use std::time::Duration;

use bursar_quota::{Decision, Place, Requests};

use super::{answers::Answers, decide::Terms, plan::Group, queue::Queues, settle::Unclaimed};
use crate::slab::Key;

/// What became of a group's requests by id.
#[derive(Default)]
pub(super) struct Placed {
    pub(super) granted: usize,
    /// Those that were refused.
    pub(super) left: Vec<Key>,
    /// Those that are to be asked for otherwise: their permit is elsewhere, or no more where it was.
    pub(super) moved: Vec<Key>,
}

impl Queues {
    /// Hands out what a group's requests by id were granted: to each its own permit, since a retry will ask for that one.
    pub(super) fn grant_placed(
        &mut self,
        group: &Group,
        keys: &[Key],
        decision: &Decision,
        terms: &Terms<'_>,
        answers: &mut Answers<'_>,
        unclaimed: &mut Vec<Unclaimed>,
    ) -> Placed {
        let left = |ms: u64| Duration::from_millis(ms).saturating_sub(terms.age);
        let (send_within, deadline) = (left(decision.send_within_ms), left(decision.deadline_ms));
        let mut placed = Placed::default();
        for (at, key) in (0_u16..).zip(keys) {
            let in_order = if at < decision.granted { Place::Here(at) } else { Place::Nowhere };
            let place = decision.places.get(usize::from(at)).copied().unwrap_or(in_order);
            let claim = match place {
                Place::Here(index) => {
                    placed.granted += 1;
                    let lease = group.lease;
                    let claimed = self
                        .take(*key)
                        .is_some_and(|waiter| answers.grant(waiter, lease, index, send_within, deadline));
                    if !claimed {
                        unclaimed.push(Unclaimed { lease, index, requested: true });
                    }
                    continue;
                }
                Place::Elsewhere(lease, index) => Some(Box::new((lease, index))),
                Place::Nowhere if matches!(group.requests, Requests::Claim(..)) => None,
                Place::Nowhere => {
                    placed.left.push(*key);
                    continue;
                }
            };
            if let Some(waiter) = self.waiters.get_mut(*key) {
                waiter.claim = claim;
                placed.moved.push(*key);
            }
        }
        if placed.granted > 0 {
            let (granted, weights) =
                (u64::try_from(placed.granted).unwrap_or(u64::MAX), terms.view.spec.weights);
            self.served(group.tier, &group.tenant, group.party, granted, weights);
            // What is claimed was counted where it was granted.
            if !matches!(group.requests, Requests::Claim(..)) {
                answers.metrics.granted(
                    answers.budget,
                    &group.tenant,
                    group.tier,
                    &group.kind.class,
                    granted,
                );
            }
        }
        placed
    }

    /// Whose permit is elsewhere is asked for at once: it needs nothing that others wait for.
    pub(super) fn unblock(&mut self, moved: &[Key]) {
        for key in moved {
            let Some(waiter) = self.waiters.get(*key) else { continue };
            let (class, party, tier) = (waiter.place.class, waiter.place.party, waiter.tier);
            if let Some(class) = self.class_mut(class) {
                class.block = None;
            }
            if let Some(party) = self.tiers[tier.index()].party_mut(party) {
                party.queue_mut(class).block = None;
            }
        }
    }
}
