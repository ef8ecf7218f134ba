//! Asking for a permit until there is an answer.

use std::{
    pin::{Pin, pin},
    time::Duration,
};

use bursar_quota::Reason;
use bursar_wire::v1::{self, acquire_response::Result as Decided};

use crate::{
    alone::Alone,
    error::{AcquireError, CallError, Fault, Refusal},
    link::{Answer, Asking, Link},
    options::AcquireOptions,
    outcome::{Outcome, Settlement},
    permit::Permit,
    retry::Attempts,
    ticket::Ticket,
};

/// What riding along did, if it is known.
pub(crate) type Rode = Option<Settlement>;

/// Asks until there is an answer, at the latest until the deadline. A settlement that rides along is disarmed as soon
/// as the server has taken it, whatever becomes of the acquire.
pub(crate) async fn acquire(
    link: &Link,
    options: &AcquireOptions,
    mut riding: Option<Ticket>,
) -> (Rode, Result<Permit, AcquireError>) {
    let mut rode = None;
    let result = Box::pin(ask(link, options, &mut riding, &mut rode)).await;
    (rode, result)
}

async fn ask(
    link: &Link,
    options: &AcquireOptions,
    riding: &mut Option<Ticket>,
    rode: &mut Rode,
) -> Result<Permit, AcquireError> {
    let core = link.core();
    let mut attempts = Attempts::new(core, options.total(&core.config));
    let mut asking = Asking {
        request: options.request(&core.config, || core.request_id()),
        waits_until: attempts.started().saturating_add(options.waits(&core.config)),
        riding: riding.as_ref().map(Ticket::settling),
    };
    // A request id that was used before may be answered with a wait that began before this attempt.
    let mut fresh = !options.has_own_id();
    let mut alone = asking.riding.clone().map_or_else(Alone::none, |settling| Alone::new(link, settling));
    loop {
        let left = attempts.begin()?;
        let waits = asking.waits_until.saturating_sub(core.now());
        let limit = left.min(waits.saturating_add(core.config.rpc_timeout));
        let attempt = {
            let call = pin!(link.acquire(&asking, limit));
            carried(&mut alone, call, riding, rode).await
        };
        let mut answer = match attempt {
            Ok(answer) => answer,
            Err(fault) => {
                fresh = false;
                let pause = pin!(attempts.failed(fault));
                carried(&mut alone, pause, riding, rode).await?;
                asking.riding = riding.as_ref().map(Ticket::settling);
                continue;
            }
        };
        if let Some(settled) = answer.message.settled.take().filter(|_| riding.is_some()) {
            taken(settled, riding, rode);
            alone = Alone::none();
        }
        asking.riding = riding.as_ref().map(Ticket::settling);
        match decided(&mut answer)? {
            Decided::Permit(granted) => {
                let permit = receive(link, options, granted, answer.sent_at, fresh);
                if permit.is_sendable() {
                    return Ok(permit);
                }
                drop(permit.given_back());
                if options.has_own_id() || attempts.made() >= core.config.retry.attempts {
                    return Err(AcquireError::TooLate);
                }
                // The same id would get the same permit.
                if !asking.request.request_id.is_empty() {
                    asking.request.request_id = core.request_id();
                }
                fresh = true;
            }
            Decided::Refusal(refusal) => {
                let refusal = Refusal::read(refusal).map_err(AcquireError::Failed)?;
                // Draining is an answer about the replica and not about the budget.
                if refusal.reason != Reason::Draining || attempts.made() >= core.config.retry.attempts {
                    return Err(AcquireError::Refused(refusal));
                }
                link.leave(answer.via);
                let drained = refusal.clone();
                if attempts.failed(Fault::Elsewhere(refusal.message)).await.is_err() {
                    return Err(AcquireError::Refused(drained));
                }
            }
        }
    }
}

/// Waits for `call`; meanwhile the settlement that rides along goes out by itself, if its answer is late.
async fn carried<T>(
    alone: &mut Alone<'_>,
    mut call: Pin<&mut (impl Future<Output = T> + Send)>,
    riding: &mut Option<Ticket>,
    rode: &mut Rode,
) -> T {
    loop {
        match alone.beside(call.as_mut()).await {
            Ok(answer) => return answer,
            Err(settlement) => {
                *rode = Some(settlement);
                if let Some(mut ticket) = riding.take() {
                    ticket.disarm();
                }
            }
        }
    }
}

/// The settlement that rode along was answered.
fn taken(settled: v1::SettleResponse, riding: &mut Option<Ticket>, rode: &mut Rode) {
    match Settlement::read(settled) {
        Ok(settlement) => {
            *rode = Some(settlement);
            if let Some(ticket) = riding.as_mut() {
                ticket.disarm();
            }
        }
        // Still armed, so that dropping it settles it by itself, which tells what is wrong with it.
        Err(error) => tracing::debug!(%error, "a settlement that rode along was not taken"),
    }
    *riding = None;
}

fn decided(answer: &mut Answer<v1::AcquireResponse>) -> Result<Decided, CallError> {
    answer.message.result.take().ok_or_else(|| CallError::Protocol {
        message: "an answer to an acquire with neither a permit nor a refusal".to_owned(),
        retry_after: None,
    })
}

/// The permit, with its moments by our own clock: they count from the earliest moment at which the answer can have
/// been made. That is when the request was sent and, where the wait certainly began after that, has waited.
fn receive(
    link: &Link,
    options: &AcquireOptions,
    granted: v1::Permit,
    sent_at: Duration,
    fresh: bool,
) -> Permit {
    let now = link.core().now();
    let waited = Duration::from_millis(granted.waited_ms);
    let certainly = if fresh { waited } else { Duration::ZERO };
    let made = sent_at.saturating_add(certainly).min(now);
    let ticket = Ticket::new(link.clone(), options.budget().to_owned(), granted.permit_id);
    let send_within = Duration::from_millis(granted.send_within_ms);
    let deadline = Duration::from_millis(granted.deadline_ms);
    Permit::new(ticket, made, send_within, deadline, waited, granted.rationed)
}

impl Permit {
    /// Nobody saw it: it cannot have been sent.
    fn given_back(self) -> Ticket {
        let mut ticket = self.into_ticket();
        ticket.told(Outcome::not_sent());
        ticket
    }
}
