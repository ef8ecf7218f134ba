//! What stands behind a permit until it is settled, and settles it if its holder goes away.

use std::{sync::Arc, time::Duration};

use crate::{
    alone::Alone,
    error::CallError,
    link::{Link, Settling},
    outcome::{Outcome, Settlement},
    retry::Attempts,
};

/// An unsettled permit. While it is armed, dropping it settles it in the background: as it was told to, or as lost.
#[derive(Debug)]
pub(crate) struct Ticket {
    link: Link,
    settling: Arc<Settling>,
    armed: bool,
}

impl Ticket {
    /// A permit that has just been received; lost unless it is told otherwise.
    pub(crate) fn new(link: Link, budget: String, permit_id: String) -> Self {
        let (request, age) = Outcome::lost().into_request(budget, permit_id);
        Self { settling: Arc::new(Settling { request, received_at: Duration::MAX, age }), link, armed: true }
    }

    pub(crate) fn link(&self) -> &Link {
        &self.link
    }

    pub(crate) fn budget(&self) -> &str {
        &self.settling.request.budget
    }

    pub(crate) fn permit_id(&self) -> &str {
        &self.settling.request.permit_id
    }

    /// Tells what became of the permit; its age is counted from here.
    pub(crate) fn told(&mut self, outcome: Outcome) {
        let settling = Arc::make_mut(&mut self.settling);
        let (budget, permit_id) =
            (std::mem::take(&mut settling.request.budget), std::mem::take(&mut settling.request.permit_id));
        (settling.request, settling.age) = outcome.into_request(budget, permit_id);
        settling.received_at = self.link.core().now();
    }

    /// The settlement, to ride along with an acquire.
    pub(crate) fn settling(&self) -> Arc<Settling> {
        Arc::clone(&self.settling)
    }

    /// Nothing is left to do.
    pub(crate) fn disarm(&mut self) {
        self.armed = false;
    }

    /// Settles as it was told, with new attempts as long as the client allows. If the caller goes away meanwhile, it is
    /// settled in the background.
    pub(crate) async fn settle(mut self) -> Result<Settlement, CallError> {
        let result = deliver(&self.link, &self.settling).await;
        self.armed = false;
        result
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        let (link, mut settling) = (self.link.clone(), self.settling());
        let now = link.core().now();
        if settling.received_at > now {
            Arc::make_mut(&mut settling).received_at = now;
        }
        let core = link.core().clone();
        let (budget, permit) = (settling.request.budget.clone(), settling.request.permit_id.clone());
        let started = core.in_background(async move {
            if let Err(error) = deliver(&link, &settling).await {
                let request = &settling.request;
                tracing::warn!(budget = %request.budget, permit = %request.permit_id, %error, "a dropped permit was not settled");
            }
        });
        if !started {
            tracing::warn!(%budget, %permit, "too many permits were dropped unsettled: this one is left to its deadline");
        }
    }
}

/// Delivers a settlement over its link and, where the answer is late, by itself as well.
async fn deliver(link: &Link, settling: &Arc<Settling>) -> Result<Settlement, CallError> {
    let asked = link.turn();
    let over = std::pin::pin!(over(link, settling));
    match Alone::new(link, Arc::clone(settling)).beside(over).await {
        Ok(delivered) => delivered,
        Err(settlement) => {
            // A settlement does not wait. Whoever has not answered by now, while another has, is not asked again at once.
            if let Some(asked) = asked {
                link.leave_turn(asked.number);
            }
            Ok(settlement)
        }
    }
}

async fn over(link: &Link, settling: &Arc<Settling>) -> Result<Settlement, CallError> {
    let core = link.core();
    let mut attempts = Attempts::new(core, core.config.settle_within);
    loop {
        let left = attempts.begin()?;
        match link.settle(settling, left.min(core.config.rpc_timeout)).await {
            Ok(answer) => return Settlement::read(answer.message),
            Err(fault) => attempts.failed(fault).await?,
        }
    }
}
