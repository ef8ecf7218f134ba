//! Leave to make one call.

use std::time::Duration;

use bursar_wire::v1::{RenewRequest, RenewResult};

use crate::{
    acquire::{Rode, acquire},
    error::{AcquireError, CallError},
    link::Link,
    options::{AcquireOptions, millis},
    outcome::{Outcome, Settlement},
    retry::Attempts,
    ticket::Ticket,
};

/// Leave to make one call, once, within [`Permit::send_within`]. Settle it when the call is done: what the upstream
/// answered governs the next grant to everybody.
///
/// # What drop does
/// A permit that is dropped unsettled may have been sent; the client cannot know. So it is settled **as lost**, in the
/// background: its quota stays charged, its concurrency slot is given back. This is the right thing where a worker's
/// future is cancelled or panics in the middle of a call. Where the call was certainly not sent, [`Permit::not_sent`]
/// gives the quota back too. Dropping never blocks and never panics; if the client's runtime is gone, or as many dropped
/// permits as [`max_background`](crate::ClientConfig::max_background) are being settled already, the permit is left to its
/// deadline: then the server charges it and frees its slot. [`Permit::detach`] leaves it as it is.
///
/// A settlement whose future is dropped goes on in the background in the same way, with the outcome that was told.
#[must_use = "a permit that is dropped is charged: make the call and settle it, or give it back by `not_sent`"]
#[derive(Debug)]
pub struct Permit {
    ticket: Ticket,
    /// The earliest moment at which the message that granted it can have been made, by the client's clock.
    made: Duration,
    send_within: Duration,
    deadline: Duration,
    waited: Duration,
    rationed: bool,
}

/// What a settlement and the acquire that it rode on did.
#[derive(Debug)]
#[must_use = "it carries a permit"]
pub struct Next {
    /// What settling did; `None` if the server has not said, or did not take it: then it is being settled by itself, in the
    /// background.
    pub settled: Option<Settlement>,
    /// The next permit, or why there is none.
    pub permit: Result<Permit, AcquireError>,
}

impl Permit {
    pub(crate) fn new(
        ticket: Ticket,
        made: Duration,
        send_within: Duration,
        deadline: Duration,
        waited: Duration,
        rationed: bool,
    ) -> Self {
        Self { ticket, made, send_within, deadline, waited, rationed }
    }

    /// A permit that was acquired elsewhere, to be settled here. It cannot be sent any more.
    pub(crate) fn adopted(link: Link, budget: String, permit_id: String) -> Self {
        let made = link.core().now();
        let ticket = Ticket::new(link, budget, permit_id);
        Self::new(ticket, made, Duration::ZERO, Duration::ZERO, Duration::ZERO, false)
    }

    pub(crate) fn into_ticket(self) -> Ticket {
        self.ticket
    }

    /// Its id; opaque, at most 64 bytes.
    pub fn id(&self) -> &str {
        self.ticket.permit_id()
    }

    /// The budget it is of.
    pub fn budget(&self) -> &str {
        self.ticket.budget()
    }

    /// How long the acquire waited in Bursar.
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// Whether the replica could not reach the store and granted it by the budget's ration.
    pub fn is_rationed(&self) -> bool {
        self.rationed
    }

    fn left(&self, span: Duration) -> Duration {
        let elapsed = self.ticket.link().core().now().saturating_sub(self.made);
        span.saturating_sub(elapsed)
    }

    /// Within what time from now the call must have reached the upstream, at least; zero: it must not be sent any more.
    ///
    /// The server counts from the moment it made its answer. The client does not know that moment; it counts from the
    /// earliest that it can have been: when the request was sent, plus the time that the server says it waited (which is
    /// left out where the wait may have begun with an earlier attempt).
    pub fn send_within(&self) -> Duration {
        self.left(self.send_within)
    }

    /// Whether the call may still be sent, with the configured
    /// [`send_margin`](crate::ClientConfig::send_margin) for its way to the upstream. If not, it must not be: settle the
    /// permit by [`Permit::not_sent`].
    pub fn is_sendable(&self) -> bool {
        let margin = self.ticket.link().core().config.send_margin.min(self.send_within / 10);
        self.send_within() > margin
    }

    /// How long from now the permit can be settled before a concurrency slot it holds is given to others, at least.
    pub fn deadline(&self) -> Duration {
        self.left(self.deadline)
    }

    /// Settles with what the upstream answered: see [`Outcome::response`].
    ///
    /// An error means that Bursar could not be told within [`settle_within`](crate::ClientConfig::settle_within), or did
    /// not understand: then the permit stays charged, and its slot is freed at its deadline.
    pub async fn settle<N, V>(
        self,
        status: u16,
        headers: impl IntoIterator<Item = (N, V)>,
        body: &[u8],
    ) -> Result<Settlement, CallError>
    where
        N: AsRef<str>,
        V: AsRef<[u8]>,
    {
        let outcome = Outcome::response(status, headers, body);
        self.settle_as(outcome).await
    }

    /// Settles with the status and the headers of an [`http::Response`]; errors as of [`Permit::settle`]. Where the body
    /// says more (a refusal's often does), use [`Permit::settle`].
    pub async fn settle_response<B>(self, response: &http::Response<B>) -> Result<Settlement, CallError> {
        let outcome = Outcome::from(response);
        self.settle_as(outcome).await
    }

    /// Settles with an [`http::Response`], as [`Permit::settle_response`], and what the call really cost by unit: names,
    /// and 1 to 1,000,000,000,000 each.
    pub async fn settle_with_cost<B, U: Into<String>>(
        self,
        response: &http::Response<B>,
        costs: impl IntoIterator<Item = (U, u64)>,
    ) -> Result<Settlement, CallError> {
        let outcome = Outcome::from(response);
        let outcome = costs.into_iter().fold(outcome, |outcome, (unit, amount)| outcome.cost(unit, amount));
        self.settle_as(outcome).await
    }

    /// Gives the permit back: the call was not sent, and will not be. Errors as of [`Permit::settle`].
    pub async fn not_sent(self) -> Result<Settlement, CallError> {
        self.settle_as(Outcome::not_sent()).await
    }

    /// The call was sent, or may have been, and no answer came: it is charged. Errors as of [`Permit::settle`].
    pub async fn lost(self) -> Result<Settlement, CallError> {
        self.settle_as(Outcome::lost()).await
    }

    /// Settles with `outcome`; errors as of [`Permit::settle`].
    pub async fn settle_as(mut self, outcome: Outcome) -> Result<Settlement, CallError> {
        self.ticket.told(outcome);
        self.ticket.settle().await
    }

    /// Settles with `outcome` and acquires the next permit, in one call: the settlement rides on the acquire, is applied
    /// before it is decided, and its answer comes with it.
    pub async fn settle_and_acquire(mut self, outcome: Outcome, options: AcquireOptions) -> Next {
        self.ticket.told(outcome);
        let link = self.ticket.link().clone();
        let (settled, permit): (Rode, _) = acquire(&link, &options, Some(self.ticket)).await;
        Next { settled, permit }
    }

    /// Moves the deadline on to `ttl` from now, 1 ms to the budget's maximum; zero: the budget's usual. It never moves
    /// back. Answers the deadline from now, zero if the permit is settled or not known any more: then its slot is gone.
    pub async fn renew(&mut self, ttl: Duration) -> Result<Duration, CallError> {
        let link = self.ticket.link().clone();
        let core = link.core();
        let ttl_ms = if ttl.is_zero() { 0 } else { millis(ttl).max(1) };
        let request =
            RenewRequest { budget: self.budget().to_owned(), permit_id: self.id().to_owned(), ttl_ms };
        let mut attempts = Attempts::new(core, core.config.settle_within);
        loop {
            let left = attempts.begin()?;
            match link.renew(&request, left.min(core.config.rpc_timeout)).await {
                Ok(answer) => {
                    let deadline = match answer.message.result() {
                        RenewResult::Renewed => Duration::from_millis(answer.message.deadline_ms),
                        _ => Duration::ZERO,
                    };
                    // The deadline is kept as a span from the moment that the rest counts from.
                    self.deadline = answer.sent_at.saturating_sub(self.made).saturating_add(deadline);
                    return Ok(self.deadline());
                }
                Err(fault) => attempts.failed(fault).await?,
            }
        }
    }

    /// Makes a call that may take longer than the permit's deadline: renews it by `ttl` each time half of what is left
    /// has passed, for as long as `call` runs. A renewal that fails is tried again with the next, and disturbs the call
    /// in no way.
    pub async fn hold<F: Future>(&mut self, ttl: Duration, call: F) -> F::Output {
        const LEAST: Duration = Duration::from_millis(100);
        let mut call = std::pin::pin!(call);
        loop {
            let pause = (self.deadline() / 2).max(LEAST);
            tokio::select! {
                output = &mut call => return output,
                () = tokio::time::sleep(pause) => {}
            }
            tokio::select! {
                output = &mut call => return output,
                renewed = self.renew(ttl) => match renewed {
                    // There is nothing left to renew.
                    Ok(Duration::ZERO) => return call.await,
                    Ok(_) => {}
                    Err(error) => {
                        tracing::warn!(budget = %self.budget(), permit = %self.id(), %error, "a permit was not renewed");
                    }
                }
            }
        }
    }

    /// Leaves the permit as it is and answers its id: to be settled elsewhere ([`Client::adopt`](crate::Client::adopt)), or
    /// by its deadline.
    #[must_use = "without its id nobody can settle it"]
    pub fn detach(mut self) -> String {
        self.ticket.disarm();
        self.ticket.permit_id().to_owned()
    }
}
