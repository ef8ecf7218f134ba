//! What all services share: they validate, ask the coordinator, and answer.

use std::{future::pending, sync::Arc, time::Duration};

use bursar_coordinator::{Acquire, AcquireError, Coordinator, Granted, Outcome, Settle};
use bursar_dialect::Profiles;
use bursar_quota::{BudgetName, Clock, LimitSnapshot, Reason, Refusal};
use bursar_wire::v1::{self, acquire_response};
use futures_util::future::{OptionFuture, join};
use tokio::{
    sync::{Notify, oneshot},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use crate::{auth::Caller, convert, failure::Failure, metrics::Metrics};

/// The oldest that a settlement may say it is, in ms.
const AGE_MAX_MS: u64 = 86_400_000;

/// The least rest between two tries of a settlement that rides along.
const LEAST_REST: Duration = Duration::from_millis(10);

/// What the services of one server share.
pub(crate) struct Desk {
    pub(crate) coordinator: Coordinator,
    pub(crate) profiles: Arc<Profiles>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Arc<Metrics>,
    /// The most acquires under way on a session.
    pub(crate) session_acquires: usize,
    /// The most unary acquires under way on a connection.
    pub(crate) connection_acquires: usize,
    /// Cancelled when the drain is over: streams end.
    pub(crate) ending: CancellationToken,
}

/// An acquire that is valid, and the settlement that rides along.
pub(crate) struct Asked {
    acquire: Box<Acquire>,
    rider: Option<Box<v1::SettleRequest>>,
}

impl Asked {
    /// Validates the acquire; the settlement is, when it is carried out.
    pub(crate) fn read(
        mut request: v1::AcquireRequest,
        caller: &Caller,
        deadline: Option<Duration>,
    ) -> Result<Self, Failure> {
        let rider = request.settle.take().map(Box::new);
        Ok(Self { acquire: Box::new(convert::acquire::acquire(request, caller, deadline)?), rider })
    }
}

/// Told when the caller of an acquire wants it no longer.
pub(crate) type Cancelled = oneshot::Receiver<()>;

impl Desk {
    /// Settles what rides along, then acquires. `cancelled` drops what waits and gives back what was just granted. Ten
    /// thousand may wait here: what few of them need is in boxes.
    pub(crate) async fn acquire(
        &self,
        Asked { acquire, rider }: Asked,
        caller: &Caller,
        cancelled: Option<Cancelled>,
    ) -> Result<v1::AcquireResponse, Failure> {
        let budget = acquire.budget.clone();
        // Both are under way at once, the settlement handed in first: a lane's commit settles before it grants, so one
        // call to the store does for both.
        let decided = Notify::new();
        let riding =
            OptionFuture::from(rider.map(|rider| Box::pin(self.settle_rider(*rider, caller, &decided))));
        let deciding = async {
            let result = self.decide(acquire, cancelled).await;
            decided.notify_one();
            result
        };
        let (settled, result) = join(riding, deciding).await;
        let result = match result {
            Ok(granted) => acquire_response::Result::Permit(convert::acquire::permit(&granted)),
            Err(AcquireError::Refused(refusal)) => {
                let mut answer = convert::refusal::refusal(&budget, &refusal);
                if refusal.reason == Reason::CostAboveCapacity {
                    answer.message.push_str(&Box::pin(self.bound_of(&budget, &refusal)).await);
                }
                acquire_response::Result::Refusal(answer)
            }
            Err(AcquireError::Failed(error)) => return Err(error.into()),
        };
        Ok(v1::AcquireResponse { settled, result: Some(result) })
    }

    /// What a limit can give at most, for a message; empty where that cannot be read.
    async fn bound_of(&self, budget: &BudgetName, refusal: &Refusal) -> String {
        let Ok(stored) = self.coordinator.get_budget(budget).await else { return String::new() };
        let of = |limit: &&LimitSnapshot| Some(&limit.limit) == refusal.limit.as_ref();
        let unit = |limit: &LimitSnapshot| {
            let spec = stored.spec.limits.iter().find(|spec| spec.name == limit.limit);
            spec.map_or_else(String::new, |spec| format!("costs[{}]", spec.unit))
        };
        let found = stored.snapshot.limits.iter().find(of);
        found.map_or_else(String::new, |limit| {
            format!("; {} is at most {}, less what is reserved for others", unit(limit), limit.capacity)
        })
    }

    /// A settlement that rides along fails by itself: the acquire goes on. Its caller hears of it when the acquire is
    /// decided, and what it would free may be what the acquire waits for: so while that waits, what passes is tried again.
    async fn settle_rider(
        &self,
        rider: v1::SettleRequest,
        caller: &Caller,
        decided: &Notify,
    ) -> v1::SettleResponse {
        let began = self.clock.monotonic();
        loop {
            let grown = convert::to_millis(self.clock.monotonic().saturating_sub(began));
            let age_ms = rider.age_ms.max(rider.age_ms.saturating_add(grown).min(AGE_MAX_MS));
            let request = v1::SettleRequest { age_ms, ..rider.clone() };
            let result = match convert::settle::settle(request, caller) {
                Ok(settle) => self.coordinator.settle(settle).await.map_err(Failure::from),
                Err(Failure::Invalid(invalid)) => Err(invalid.under("settle").into()),
                Err(failure) => Err(failure),
            };
            let failure = match result {
                Ok(report) => return convert::settle::report(&report),
                Err(failure) => failure,
            };
            let Some(rest) = failure.passes_in() else { return convert::settle::failed(&failure) };
            tokio::select! {
                biased;
                () = decided.notified() => return convert::settle::failed(&failure),
                () = sleep(rest.max(LEAST_REST)) => {}
            }
        }
    }

    // ## waiting => granted | refused | cancelled
    async fn decide(
        &self,
        acquire: Box<Acquire>,
        mut cancelled: Option<Cancelled>,
    ) -> Result<Granted, AcquireError> {
        let budget = acquire.budget.clone();
        let result = tokio::select! {
            biased;
            result = self.acquiring(acquire) => result,
            // Dropping the acquire gives up its place, and what it was granted meanwhile is given back.
            () = told(&mut cancelled) => return Err(no_longer_wanted()),
        };
        match result {
            Ok(granted) if cancelled.is_some_and(|mut cancelled| cancelled.try_recv().is_ok()) => {
                Box::pin(self.give_back(budget, &granted)).await;
                Err(no_longer_wanted())
            }
            result => result,
        }
    }

    /// Not `async`: the box is gone before anybody waits.
    #[allow(clippy::boxed_local, reason = "a future that waits would hold it; this does not")]
    fn acquiring(
        &self,
        acquire: Box<Acquire>,
    ) -> impl Future<Output = Result<Granted, AcquireError>> + Send + use<'_> {
        self.coordinator.acquire(*acquire)
    }

    async fn give_back(&self, budget: BudgetName, granted: &Granted) {
        let permit = granted.permit;
        let unsent =
            Settle { budget, permit, outcome: Outcome::NotSent, costs: Vec::new(), age: Duration::ZERO };
        if let Err(error) = self.coordinator.settle(unsent).await {
            // Its deadline gives the slot back, later.
            tracing::debug!(%error, "a permit that nobody wants was not given back");
        }
    }

    /// Says what became of a permit.
    pub(crate) async fn settle(
        &self,
        request: v1::SettleRequest,
        caller: &Caller,
    ) -> Result<v1::SettleResponse, Failure> {
        let settle = convert::settle::settle(request, caller)?;
        Ok(convert::settle::report(&self.coordinator.settle(settle).await?))
    }

    /// Moves a permit's deadline on.
    pub(crate) async fn renew(
        &self,
        request: &v1::RenewRequest,
        caller: &Caller,
    ) -> Result<v1::RenewResponse, Failure> {
        let renew = convert::settle::renew(request, caller)?;
        Ok(convert::settle::renewal(self.coordinator.renew(renew).await?))
    }
}

/// Ends when the caller says so, and never if it cannot or does not.
async fn told(cancelled: &mut Option<Cancelled>) {
    let said = match cancelled {
        Some(cancelled) => cancelled.await.is_ok(),
        None => false,
    };
    if !said {
        pending().await
    }
}

/// The caller's patience ended: the closed enumeration's word for it.
fn no_longer_wanted() -> AcquireError {
    AcquireError::Refused(Refusal { reason: Reason::WaitTooLong, limit: None, retry_after: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of<F: Future>(_: impl Fn(&'static Desk, Asked, &'static Caller) -> F) -> usize {
        std::mem::size_of::<F>()
    }

    #[test]
    fn an_acquire_that_waits_holds_little() {
        // Ten thousand of them may wait, with whatever their futures have room for.
        let bytes = size_of(|desk, asked, caller| desk.acquire(asked, caller, None));
        assert!(bytes <= 640, "{bytes} bytes");
    }
}
