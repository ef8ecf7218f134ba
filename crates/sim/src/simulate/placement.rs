//! Who a worker works for, and which replica is nearest to it.

use super::plan::{Placement, Scenario};

impl Scenario {
    /// Which tenant a worker works for.
    pub fn tenant(&self, worker: usize) -> usize {
        match self.load.placement {
            Placement::Crowd => usize::from(worker > 0),
            Placement::Spread | Placement::ByTenant => worker % usize::from(self.load.tenants.max(1)),
        }
    }

    /// The replica that is nearest to a worker: as many workers each as the plan says.
    pub(crate) fn home(&self, worker: usize) -> usize {
        let replicas = usize::from(self.replicas.max(1));
        let tenants = usize::from(self.load.tenants.max(1));
        match (self.load.placement, self.tenant(worker)) {
            (Placement::Spread, _) => {}
            (Placement::ByTenant, tenant) if tenant + 1 == tenants => return worker / tenants % replicas,
            (Placement::ByTenant, tenant) if tenant + 2 < tenants => return 0,
            (Placement::Crowd, 1..) => return 0,
            (Placement::ByTenant | Placement::Crowd, _) => return replicas - 1,
        }
        let shares: Vec<usize> = (0..replicas)
            .map(|at| self.network.replicas.get(at).map_or(1, |plan| plan.share as usize))
            .collect();
        let all: usize = shares.iter().sum();
        let mut turn = if all == 0 { worker } else { worker % all };
        // Worker after worker goes round the shares.
        for (at, share) in shares.iter().enumerate() {
            if turn < *share {
                return at;
            }
            turn -= share;
        }
        worker % replicas
    }
}
