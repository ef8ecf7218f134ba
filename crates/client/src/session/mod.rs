//! Sessions: what many tasks ask shares the messages of one stream.

mod driver;
mod state;

use std::{fmt, sync::Arc, sync::Mutex, task::Waker};

use bursar_wire::v1::{
    AcquireResponse, RenewRequest, RenewResponse, SettleResponse, acquire_response::Result as Decided,
};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};

use self::state::{Body, Reply, Said, State};
use crate::{
    acquire::acquire,
    core::{Core, lock},
    endpoints::Turn,
    error::{AcquireError, CallError, Fault},
    link::{Answer, Asking, Link, Settling},
    options::AcquireOptions,
    outcome::Outcome,
    permit::Permit,
    ticket::Ticket,
};

/// A stream to Bursar that many tasks share. Cheap to clone.
///
/// Nothing waits for anything else: what callers ask while a message is being written shares the next one, and answers
/// come in any order. It opens with the first request, and opens again, on another endpoint if need be, when it breaks: what
/// had no answer is asked again with the same request id, within its deadline. It closes when the last clone, and the last permit
/// that was acquired over it, is gone.
///
/// Where many tasks share it, a session carries more than as many calls of their own, several times as much with
/// [`request_ids`](crate::ClientConfig::request_ids) off. A worker that makes one call at a time gains nothing by it.
#[derive(Debug, Clone)]
pub struct Session {
    handle: Arc<Handle>,
}

impl Session {
    pub(crate) fn open(core: Arc<Core>) -> Self {
        let slots = core.config.max_in_flight;
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Notify::new(),
            acquires: Arc::new(Semaphore::new(slots)),
            others: Arc::new(Semaphore::new(slots)),
            core,
        });
        shared.core.spawn(driver::drive(Arc::clone(&shared)));
        Self { handle: Arc::new(Handle { shared }) }
    }

    /// Waits for a permit, as long as the options allow. Its settlement goes over this session too.
    ///
    /// Dropping the future cancels the request; a permit that comes all the same is given back.
    pub async fn acquire(&self, options: AcquireOptions) -> Result<Permit, AcquireError> {
        acquire(&Link::Session(Arc::clone(&self.handle)), &options, None).await.1
    }
}

/// What the session's handles, its driver and its connections share.
struct Shared {
    core: Arc<Core>,
    state: Mutex<State>,
    /// Tells the driver.
    changed: Notify,
    /// Acquires wait in the server; were there one bound for all, those that wait would keep out the settlements they
    /// wait for.
    acquires: Arc<Semaphore>,
    others: Arc<Semaphore>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("core", &self.core).finish_non_exhaustive()
    }
}

/// Keeps a session open.
#[derive(Debug)]
pub(crate) struct Handle {
    shared: Arc<Shared>,
}

impl Handle {
    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.shared.core
    }

    pub(crate) async fn acquire(self: &Arc<Self>, asking: &Asking) -> Result<Answer<AcquireResponse>, Fault> {
        let slot = slot(&self.shared.acquires).await?;
        let body = Body::Acquire(Box::new(asking.clone()));
        let answer = self.ask(body, &asking.request.budget, slot).await?;
        match answer.message {
            Said::Acquired(message) => Ok(Answer { message, sent_at: answer.sent_at, via: answer.via }),
            _ => Err(mixed_up()),
        }
    }

    pub(crate) async fn settle(
        self: &Arc<Self>,
        settling: &Arc<Settling>,
    ) -> Result<Answer<SettleResponse>, Fault> {
        let slot = slot(&self.shared.others).await?;
        let answer = self.ask(Body::Settle(Arc::clone(settling)), "", slot).await?;
        match answer.message {
            Said::Settled(message) => Ok(Answer { message, sent_at: answer.sent_at, via: answer.via }),
            _ => Err(mixed_up()),
        }
    }

    pub(crate) async fn renew(
        self: &Arc<Self>,
        request: &RenewRequest,
    ) -> Result<Answer<RenewResponse>, Fault> {
        let slot = slot(&self.shared.others).await?;
        let answer = self.ask(Body::Renew(Box::new(request.clone())), "", slot).await?;
        match answer.message {
            Said::Renewed(message) => Ok(Answer { message, sent_at: answer.sent_at, via: answer.via }),
            _ => Err(mixed_up()),
        }
    }

    /// New requests go to another endpoint than that of connection `epoch`.
    pub(crate) fn leave(&self, epoch: u64) {
        let turn = lock(&self.shared.state).retire(epoch);
        if let Some(turn) = turn {
            self.core().endpoints.failed(turn.number);
            self.shared.changed.notify_one();
        }
    }

    /// The turn of the connection that new requests are written on, or of who will be asked for one.
    pub(crate) fn turn(&self) -> Option<Turn> {
        let connected = lock(&self.shared.state).current().map(|(_, turn)| turn);
        connected.or_else(|| self.core().endpoints.current())
    }

    /// The same as [`Self::leave`], if this is the turn of the connection that new requests are written on.
    pub(crate) fn leave_turn(&self, turn: u64) {
        let connected = lock(&self.shared.state).current();
        if let Some((epoch, _)) = connected.filter(|(_, connected)| connected.number == turn) {
            self.leave(epoch);
        }
    }

    async fn ask(self: &Arc<Self>, body: Body, budget: &str, slot: OwnedSemaphorePermit) -> Reply {
        let (sender, receiver) = oneshot::channel();
        let (id, waker) = lock(&self.shared.state).ask(body, Some(sender), slot);
        self.wake(waker);
        let mut waiting = Waiting { handle: self, id, budget, receiver: Some(receiver) };
        let Some(receiver) = waiting.receiver.as_mut() else { return Err(mixed_up()) };
        let reply = receiver.await;
        waiting.receiver = None;
        reply.unwrap_or_else(|_| Err(Fault::Elsewhere("the session ended".to_owned())))
    }

    fn wake(&self, waker: Option<Waker>) {
        match waker {
            Some(waker) => waker.wake(),
            None => self.shared.changed.notify_one(),
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let wakers = lock(&self.shared.state).close();
        wakers.into_iter().for_each(Waker::wake);
        self.shared.changed.notify_one();
    }
}

async fn slot(slots: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Fault> {
    let closed = |_| Fault::Elsewhere("the session is closed".to_owned());
    Arc::clone(slots).acquire_owned().await.map_err(closed)
}

/// The state matches answers with requests, so this does not happen.
fn mixed_up() -> Fault {
    let message = "an answer of another kind than the request".to_owned();
    Fault::Final(CallError::Protocol { message, retry_after: None })
}

/// A caller that waits for its answer. If it goes away, its request is cancelled and its permit given back.
struct Waiting<'a> {
    handle: &'a Arc<Handle>,
    id: u64,
    budget: &'a str,
    /// `None`: answered.
    receiver: Option<oneshot::Receiver<Reply>>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Some(mut receiver) = self.receiver.take() else { return };
        let (under_way, waker) = lock(&self.handle.shared.state).abandon(self.id, self.budget);
        if let Some(waker) = waker {
            waker.wake();
        }
        if under_way {
            return;
        }
        let Ok(Ok(Answer { message: Said::Acquired(response), .. })) = receiver.try_recv() else { return };
        if let Some(Decided::Permit(permit)) = response.result {
            let link = Link::Session(Arc::clone(self.handle));
            let mut ticket = Ticket::new(link, self.budget.to_owned(), permit.permit_id);
            ticket.told(Outcome::not_sent());
        }
    }
}
