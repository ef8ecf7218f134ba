//! Settlements on their way: told again until somebody has understood.

use std::{sync::Arc, time::Duration};

use bursar_coordinator::{Outcome, Settle, SettleReport};
use bursar_quota::{BudgetName, PermitId, UnitName};
use tokio::time::sleep;

use super::{
    dice::Dice,
    upstream::Answer,
    worker::{AGAIN, TRIES},
    world::World,
};

/// Actual costs as a worker tells them.
pub(crate) fn costs(answer: &Answer) -> Vec<(UnitName, u64)> {
    let unit = |(unit, cost): &(String, u64)| Some((UnitName::new(unit).ok()?, *cost));
    answer.costs.iter().filter_map(unit).collect()
}

/// One telling of what became of a permit.
#[derive(Debug, Clone)]
pub(crate) struct Settlement {
    pub(crate) world: Arc<World>,
    pub(crate) worker: usize,
    pub(crate) budget: BudgetName,
    pub(crate) permit: PermitId,
    pub(crate) outcome: Outcome,
    pub(crate) costs: Vec<(UnitName, u64)>,
    /// When the response came, if that is told.
    pub(crate) received: Option<Duration>,
    pub(crate) replica: usize,
    pub(crate) after: Duration,
    pub(crate) dice: Dice,
}

impl Settlement {
    /// Tells it to one replica after the other until one has understood.
    pub(crate) async fn tell(mut self) {
        self.world.pass(self.after).await;
        for attempt in 0..TRIES * 4 {
            let settle = self.settle();
            let world = Arc::clone(&self.world);
            let told = world.call(self.replica, &mut self.dice, true, |coordinator| async move {
                coordinator.settle(settle).await
            });
            match told.await {
                Ok(Ok(report)) => {
                    let paused = report.paused_for.as_millis();
                    let result = report.result;
                    return self
                        .note(format_args!("settles {}: {result:?}, paused {paused} ms", self.permit));
                }
                Ok(Err(error)) => self.note(format_args!("cannot settle {}: {error}", self.permit)),
                Err(_) => self.note(format_args!("cannot settle {}: r{} is lost", self.permit, self.replica)),
            }
            self.replica = (self.replica + 1) % self.world.replicas.len();
            let most = (AGAIN.1 << attempt.min(5)).min(2_000);
            sleep(Duration::from_millis(self.dice.within(&(AGAIN.0..=most)))).await;
        }
        self.note(format_args!("gives up settling {}", self.permit));
    }

    /// The message that tells it now.
    pub(crate) fn settle(&self) -> Settle {
        let age = self.received.map_or(Duration::ZERO, |received| self.world.now().saturating_sub(received));
        Settle {
            budget: self.budget.clone(),
            permit: self.permit,
            outcome: self.outcome.clone(),
            costs: self.costs.clone(),
            age,
        }
    }

    pub(crate) fn settled(&self, report: &SettleReport) {
        let SettleReport { result, paused_for, .. } = report;
        self.note(format_args!("settles {}: {result:?}, paused {} ms", self.permit, paused_for.as_millis()));
    }

    pub(crate) fn note(&self, what: std::fmt::Arguments<'_>) {
        self.world.note(format_args!("w{}", self.worker), what);
    }
}
