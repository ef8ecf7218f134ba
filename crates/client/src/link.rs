//! How a request reaches Bursar: as a call of its own, or over a session.

use std::{sync::Arc, time::Duration};

use bursar_wire::v1::{
    AcquireRequest, AcquireResponse, RenewRequest, RenewResponse, SettleRequest, SettleResponse,
};
use tonic::{Request, Response, Status};

use crate::{core::Core, endpoints::Turn, error::Fault, options::millis, session::Handle};

/// The way of a client's or of a session's requests.
#[derive(Debug, Clone)]
pub(crate) enum Link {
    /// Each request is a call of its own.
    Unary(Arc<Core>),
    /// Requests share messages of a stream.
    Session(Arc<Handle>),
}

/// An answer, and what is needed to judge it.
#[derive(Debug)]
pub(crate) struct Answer<T> {
    pub(crate) message: T,
    /// When the request was written, by the client's clock: the answer cannot be older.
    pub(crate) sent_at: Duration,
    /// Who answered: the number of a turn, or of a session's connection.
    pub(crate) via: u64,
}

/// A settlement, and when the response that it tells of was received.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Settling {
    pub(crate) request: SettleRequest,
    /// By the client's clock; earlier than any message that tells of it.
    pub(crate) received_at: Duration,
    /// How old the response was then.
    pub(crate) age: Duration,
}

impl Settling {
    /// The message, if it is made at `now`. Rounded down: an age is never more than it was.
    pub(crate) fn at(&self, now: Duration) -> SettleRequest {
        let age = self.age.saturating_add(now.saturating_sub(self.received_at));
        let age_ms = millis(age).min(86_400_000);
        SettleRequest { age_ms, ..self.request.clone() }
    }
}

/// An acquire, and until when it waits.
#[derive(Debug, Clone)]
pub(crate) struct Asking {
    pub(crate) request: AcquireRequest,
    /// By the client's clock.
    pub(crate) waits_until: Duration,
    /// What rides along.
    pub(crate) riding: Option<Arc<Settling>>,
}

impl Asking {
    /// The message, if it is made at `now`: of the wait, what is left.
    pub(crate) fn at(&self, now: Duration) -> AcquireRequest {
        self.clone().into_message(now)
    }

    /// The same, of an acquire that is not asked again.
    pub(crate) fn into_message(self, now: Duration) -> AcquireRequest {
        AcquireRequest {
            max_wait_ms: millis(self.waits_until.saturating_sub(now)),
            settle: self.riding.map(|settling| settling.at(now)),
            ..self.request
        }
    }
}

/// What a call is answered.
type Answered<T> = Result<Answer<T>, Fault>;

impl Link {
    pub(crate) fn core(&self) -> &Arc<Core> {
        match self {
            Self::Unary(core) => core,
            Self::Session(handle) => handle.core(),
        }
    }

    /// Whose turn it is to be asked; `None` while no name has led anywhere.
    pub(crate) fn turn(&self) -> Option<Turn> {
        match self {
            Self::Unary(core) => core.endpoints.current(),
            Self::Session(handle) => handle.turn(),
        }
    }

    /// Asks another replica than this turn's from now on, if it is the one that is asked.
    pub(crate) fn leave_turn(&self, turn: u64) {
        self.core().endpoints.failed(turn);
        if let Self::Session(handle) = self {
            handle.leave_turn(turn);
        }
    }

    /// One attempt at an acquire, within `limit`.
    pub(crate) async fn acquire(&self, asking: &Asking, limit: Duration) -> Answered<AcquireResponse> {
        match self {
            Self::Unary(core) => {
                let (turn, limit) = ready(core, limit).await?;
                let mut client = turn.replica.acquires();
                let sent_at = core.now();
                let request = timed(asking.at(sent_at), limit);
                unary(core, &turn, sent_at, limit, async move { client.acquire(request).await }).await
            }
            Self::Session(handle) => bounded(handle, limit, handle.acquire(asking)).await,
        }
    }

    /// One attempt at a settlement, within `limit`.
    pub(crate) async fn settle(&self, settling: &Arc<Settling>, limit: Duration) -> Answered<SettleResponse> {
        match self {
            Self::Unary(core) => {
                let (turn, limit) = ready(core, limit).await?;
                settle_at(core, &turn, settling, limit).await
            }
            Self::Session(handle) => bounded(handle, limit, handle.settle(settling)).await,
        }
    }

    /// One attempt at a renewal, within `limit`.
    pub(crate) async fn renew(&self, renewing: &RenewRequest, limit: Duration) -> Answered<RenewResponse> {
        match self {
            Self::Unary(core) => {
                let (turn, limit) = ready(core, limit).await?;
                let mut client = turn.replica.settles();
                let sent_at = core.now();
                let request = timed(renewing.clone(), limit);
                unary(core, &turn, sent_at, limit, async move { client.renew(request).await }).await
            }
            Self::Session(handle) => bounded(handle, limit, handle.renew(renewing)).await,
        }
    }

    /// Asks another replica from now on than the one that answered so.
    pub(crate) fn leave(&self, via: u64) {
        match self {
            Self::Unary(core) => core.endpoints.failed(via),
            Self::Session(handle) => handle.leave(via),
        }
    }
}

/// Whose turn it is, and what is then left of `limit`.
async fn ready(core: &Core, limit: Duration) -> Result<(Turn, Duration), Fault> {
    let began = core.now();
    let turn = tokio::time::timeout(limit, core.endpoints.ready()).await.map_err(|_| silent(limit))??;
    Ok((turn, limit.saturating_sub(core.now().saturating_sub(began))))
}

/// One attempt at a settlement, as a call of its own to this turn's replica. If it fails, and is who is asked now, others are
/// asked from now on.
pub(crate) async fn settle_at(
    core: &Core,
    turn: &Turn,
    settling: &Settling,
    limit: Duration,
) -> Result<Answer<SettleResponse>, Fault> {
    let mut client = turn.replica.settles();
    let sent_at = core.now();
    let request = timed(settling.at(sent_at), limit);
    unary(core, turn, sent_at, limit, async move { client.settle(request).await }).await
}

/// The server learns how long it has, so that it does not work for nobody.
fn timed<T>(message: T, limit: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(limit);
    request
}

async fn unary<T>(
    core: &Core,
    turn: &Turn,
    sent_at: Duration,
    limit: Duration,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Answered<T> {
    let fault = match tokio::time::timeout(limit, call).await {
        Ok(Ok(response)) => {
            return Ok(Answer { message: response.into_inner(), sent_at, via: turn.number });
        }
        Ok(Err(status)) => Fault::read(&status),
        Err(_) => silent(limit),
    };
    // One that was put off may find another replica that reaches the store.
    if !matches!(fault, Fault::Final(_)) {
        core.endpoints.failed(turn.number);
    }
    Err(fault)
}

async fn bounded<T>(
    handle: &Handle,
    limit: Duration,
    call: impl Future<Output = Answered<T>>,
) -> Answered<T> {
    let asked = handle.turn();
    match tokio::time::timeout(limit, call).await {
        Ok(answer) => answer,
        Err(_) => {
            // Or the next attempt would be written on the connection that keeps silent.
            if let Some(asked) = asked {
                handle.core().endpoints.failed(asked.number);
                handle.leave_turn(asked.number);
            }
            Err(silent(limit))
        }
    }
}

fn silent(limit: Duration) -> Fault {
    Fault::Elsewhere(format!("no answer within {} ms", limit.as_millis()))
}
