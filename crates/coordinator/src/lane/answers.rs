//! The one place where callers are answered.

use std::time::Duration;

use bursar_quota::{BudgetName, LeaseId, PermitId, Refusal, Tier};

use super::waiter::Waiter;
use crate::{AcquireError, CoordinatorError, Granted, metrics::Metrics};

/// Answers callers and counts what they were told.
pub(crate) struct Answers<'a> {
    pub(super) budget: &'a BudgetName,
    pub(super) metrics: &'a Metrics,
    pub(super) now: Duration,
    /// Whether what is granted is granted by the ration.
    pub(super) rationed: bool,
    waits: [Vec<Duration>; 3],
}

impl<'a> Answers<'a> {
    pub(super) fn new(budget: &'a BudgetName, metrics: &'a Metrics, now: Duration) -> Self {
        Self { budget, metrics, now, rationed: false, waits: Default::default() }
    }

    /// Gives a permit; whether its caller was still there to take it.
    pub(super) fn grant(
        &mut self,
        waiter: Waiter,
        lease: LeaseId,
        index: u16,
        send_within: Duration,
        deadline: Duration,
    ) -> bool {
        let waited = self.now.saturating_sub(waiter.arrived);
        let permit = PermitId::new(self.budget, lease, index);
        let rationed = self.rationed;
        let granted = Granted { permit, send_within, deadline, waited, rationed };
        let taken = waiter.answer.send(Ok(granted)).is_ok();
        if taken {
            self.waits[waiter.tier.index()].push(waited);
        }
        taken
    }

    pub(super) fn refuse(&mut self, waiter: Waiter, refusal: Refusal) {
        self.metrics.refused(self.budget, &waiter.tenant, waiter.tier, &waiter.kind.class, refusal.reason);
        // A caller who went away needs no answer.
        let _ = waiter.answer.send(Err(AcquireError::Refused(refusal)));
    }

    pub(super) fn fail(&mut self, waiter: Waiter, error: CoordinatorError) {
        let _ = waiter.answer.send(Err(AcquireError::Failed(error)));
    }
}

impl Drop for Answers<'_> {
    fn drop(&mut self) {
        for tier in Tier::ALL {
            self.metrics.waited(self.budget, tier, &self.waits[tier.index()]);
        }
    }
}
