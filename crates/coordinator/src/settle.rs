//! The way of a settlement and of a renewal from its caller into a lane and back.

use std::{sync::Arc, time::Duration};

use bursar_quota::{BudgetName, PermitId, Renewal, ResponseView, SettleKind, Settled, SpecError};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::{
    CoordinatorError, Outcome, Renew, Settle, SettleReport,
    core::Core,
    lane::{Lane, Pending, PendingRenew, Statement},
    millis::millis,
    spec::SpecView,
    spec_cell::Missing,
};

/// What a caller is told to wait where a queue is full.
const FULL_FOR: Duration = Duration::from_millis(100);

/// Settles; see [`crate::Coordinator::settle`].
pub(crate) async fn settle(core: &Arc<Core>, request: Settle) -> Result<SettleReport, CoordinatorError> {
    let Settle { budget, permit, outcome, costs, age } = request;
    check(&budget, permit)?;
    let arrived = core.clock.monotonic();
    let unknown = SettleReport { result: Settled::Unknown, paused_for: Duration::ZERO, malformed: 0 };
    let mut lane = open(core, &budget)?;
    let Some(view) = view(core, &lane).await? else { return Ok(unknown) };
    if let Err(error) = view.check_actual(&costs) {
        lane.unused(core);
        return Err(error.into());
    }
    let (kind, seen) = match outcome {
        Outcome::NotSent => (SettleKind::NotSent, None),
        Outcome::Lost => (SettleKind::Lost, None),
        Outcome::Response { status, headers, body } => {
            let received = core.clock.unix().saturating_sub(age);
            let response =
                ResponseView { status, headers: &headers, body: &body, received_unix_ms: millis(received) };
            (SettleKind::Accepted, Some(Box::new(view.profile.observe(&response))))
        }
    };
    let statement = Statement { lease: permit.lease(), index: permit.index(), kind, seen, costs, age };
    let (answer, waiting) = oneshot::channel();
    let mut pending = Pending::new(statement, &view, arrived);
    (pending.answer, pending.slot) = (Some(answer), Some(room(&lane)?));
    while let Err(back) = lane.settle(core, pending) {
        core.forget_lane(&lane);
        lane = open(core, &budget)?;
        pending = *back;
        pending.slot = Some(room(&lane)?);
    }
    waiting.await.unwrap_or(Err(CoordinatorError::Stopped))
}

/// Renews; see [`crate::Coordinator::renew`].
pub(crate) async fn renew(core: &Arc<Core>, request: Renew) -> Result<Renewal, CoordinatorError> {
    let Renew { budget, permit, ttl } = request;
    check(&budget, permit)?;
    let mut lane = open(core, &budget)?;
    let Some(view) = view(core, &lane).await? else { return Ok(Renewal::Unknown) };
    let ttl_ms = view.ttl_ms(ttl).inspect_err(|_| lane.unused(core))?;
    let (answer, waiting) = oneshot::channel();
    let slot = Some(room(&lane)?);
    let mut renew = PendingRenew { lease: permit.lease(), index: permit.index(), ttl_ms, answer, slot };
    while let Err(back) = lane.renew(core, renew) {
        core.forget_lane(&lane);
        lane = open(core, &budget)?;
        renew = *back;
        renew.slot = Some(room(&lane)?);
    }
    waiting.await.unwrap_or(Err(CoordinatorError::Stopped))
}

/// A permit of another budget would be looked for where it cannot be.
fn check(budget: &BudgetName, permit: PermitId) -> Result<(), SpecError> {
    if PermitId::new(budget, permit.lease(), permit.index()) == permit {
        return Ok(());
    }
    // The text of the error names its field first, as that of a specification does.
    let problem = format!("this permit belongs to another budget than {budget}");
    Err(SpecError { field: "permit_id".into(), problem })
}

fn open(core: &Arc<Core>, budget: &BudgetName) -> Result<Arc<Lane>, CoordinatorError> {
    let full = || CoordinatorError::Overloaded { budget: budget.clone(), retry_after: FULL_FOR };
    core.lane(budget).ok_or_else(full)
}

/// `None`: there is no such budget.
async fn view(core: &Arc<Core>, lane: &Arc<Lane>) -> Result<Option<Arc<SpecView>>, CoordinatorError> {
    match lane.spec.get(core, &lane.name).await {
        Ok(view) => Ok(Some(view)),
        Err(missing) => {
            lane.unused(core);
            match missing {
                Missing::Unknown => Ok(None),
                Missing::Failed(error) => Err(CoordinatorError::Ledger(error)),
            }
        }
    }
}

fn room(lane: &Arc<Lane>) -> Result<OwnedSemaphorePermit, CoordinatorError> {
    let full = |_| CoordinatorError::Overloaded { budget: lane.name.clone(), retry_after: FULL_FOR };
    Arc::clone(&lane.room).try_acquire_owned().map_err(full)
}
