//! Leases of requests by id whose permits somebody took.

use std::collections::{HashSet, VecDeque};

use bursar_quota::LeaseId;

/// How many are remembered; the oldest go first. A request is asked for twice within seconds, if at all.
const MAX_DELIVERED: usize = 16_384;

/// What was handed out by request id and taken: it is not given back when the same request, asked for once more, is given up.
#[derive(Debug, Default)]
pub(super) struct Delivered {
    leases: HashSet<LeaseId>,
    order: VecDeque<LeaseId>,
}

impl Delivered {
    /// Somebody took a permit of it.
    pub(super) fn note(&mut self, lease: LeaseId) {
        if !self.leases.insert(lease) {
            return;
        }
        self.order.push_back(lease);
        if self.order.len() > MAX_DELIVERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.leases.remove(&oldest);
        }
    }

    /// Whether somebody took a permit of it, as far as is remembered.
    pub(super) fn has(&self, lease: LeaseId) -> bool {
        self.leases.contains(&lease)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten_first() {
        let class = bursar_quota::ClassName::new("reads").unwrap();
        let (mut delivered, lease) =
            (Delivered::default(), |n: usize| LeaseId::new(&class, (n as u128) << 32));
        for n in 0..=MAX_DELIVERED {
            delivered.note(lease(n));
            delivered.note(lease(n));
        }
        assert!(!delivered.has(lease(0)) && delivered.has(lease(1)) && delivered.has(lease(MAX_DELIVERED)));
        assert_eq!((delivered.leases.len(), delivered.order.len()), (MAX_DELIVERED, MAX_DELIVERED));
    }
}
