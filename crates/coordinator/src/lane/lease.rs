//! Lease ids, and the tags of requests by id.

use bursar_quota::{BudgetName, ClassName, LeaseId, ReplicaName, RequestTag, TenantName};
use rand::{Rng, SeedableRng, rngs::StdRng};
use sha2::{Digest, Sha256};

/// A lane's source of lease ids and jitter.
#[derive(Debug)]
pub(crate) struct Leases {
    random: StdRng,
}

/// Hashes parts so that no two lists of parts look alike.
fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

impl Leases {
    /// Ids that differ by coordinator, budget and `turn`: a lane that is made anew repeats none.
    pub(crate) fn new(seed: u64, replica: &ReplicaName, budget: &BudgetName, turn: u64) -> Self {
        let parts: [&[u8]; 4] = [
            &seed.to_be_bytes(),
            replica.as_str().as_bytes(),
            budget.as_str().as_bytes(),
            &turn.to_be_bytes(),
        ];
        Self { random: StdRng::from_seed(digest(&parts)) }
    }

    /// A new lease for permits of `class`.
    pub(crate) fn next(&mut self, class: &ClassName) -> LeaseId {
        LeaseId::new(class, self.random.random())
    }

    /// A uniform random number in `[0, 1)`.
    pub(crate) fn jitter(&mut self) -> f64 {
        self.random.random()
    }

    /// The tag of a request id: the same on every replica, whenever it is asked for.
    pub(crate) fn tag(
        budget: &BudgetName,
        tenant: &TenantName,
        class: &ClassName,
        request_id: &str,
    ) -> RequestTag {
        let parts = [budget.as_str(), tenant.as_str(), class.as_str(), request_id];
        let hash = digest(&parts.map(str::as_bytes));
        RequestTag(hash.iter().take(16).fold(0, |bits, byte| (bits << 8) | u128::from(*byte)))
    }

    /// The lease by which a ration grants a request: the same on every replica.
    pub(crate) fn of_request(class: &ClassName, request: RequestTag) -> LeaseId {
        LeaseId::new(class, request.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_its_tag_and_no_other() {
        let budget = BudgetName::new("b").unwrap();
        let (a, ab) = (TenantName::new("a").unwrap(), TenantName::new("ab").unwrap());
        let class = ClassName::default_class();
        let tag = Leases::tag(&budget, &ab, &class, "c");
        assert_eq!(tag, Leases::tag(&budget, &ab, &class, "c"));
        assert_ne!(tag, Leases::tag(&budget, &a, &class, "bc"));
        assert_ne!(tag, Leases::tag(&budget, &ab, &ClassName::new("other").unwrap(), "c"));
        assert_eq!(Leases::of_request(&class, tag).class_tag(), bursar_quota::class_tag(&class));
    }

    #[test]
    fn a_lane_made_anew_repeats_no_lease() {
        let (budget, replica) = (BudgetName::new("b").unwrap(), ReplicaName::new("r").unwrap());
        let class = ClassName::default_class();
        let first = Leases::new(7, &replica, &budget, 0).next(&class);
        assert_ne!(first, Leases::new(7, &replica, &budget, 1).next(&class));
        assert_eq!(first, Leases::new(7, &replica, &budget, 0).next(&class));
    }
}
