//! What is under way on a session, without any I/O: requests queue, are written, are answered, break.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    task::Waker,
    time::Duration,
};

use bursar_wire::v1::{
    self, SessionAnswer, SessionRequest, acquire_response::Result as Decided, session_answer::Answer as Wire,
};
use prost::Message;
use tokio::sync::{Notify, OwnedSemaphorePermit, oneshot};

use crate::{
    endpoints::Turn,
    error::{CallError, Fault},
    link::{Answer, Asking, Settling},
    outcome::Outcome,
};

/// The most requests of a kind in a message, as the wire has it.
const MOST_OF_A_KIND: usize = 256;
/// The most bytes of the requests in a message: servers take 1 MiB unless they are told otherwise, and a settlement of
/// the largest response has about 100,000.
const MOST_BYTES: usize = 768 << 10;

/// The most bytes that a message adds to a request: its id, its times, what rides along, and what frames them.
const MOST_ADDED: usize = 64;

/// After so many answers in a row that say "later", another replica is tried: it may reach the store.
const ENOUGH_PUT_OFF: u32 = 8;

/// What a caller asks.
#[derive(Debug)]
pub(super) enum Body {
    Acquire(Box<Asking>),
    Settle(Arc<Settling>),
    Renew(Box<v1::RenewRequest>),
}

impl Body {
    fn kind(&self) -> Kind {
        match self {
            Self::Acquire(_) => Kind::Acquire,
            Self::Settle(_) => Kind::Settle,
            Self::Renew(_) => Kind::Renew,
        }
    }

    /// Bytes of its message at most.
    fn size(&self) -> usize {
        let told = match self {
            Self::Acquire(asking) => {
                let riding = asking.riding.as_ref().map_or(0, |settling| settling.request.encoded_len());
                asking.request.encoded_len() + riding
            }
            Self::Settle(settling) => settling.request.encoded_len(),
            Self::Renew(request) => request.encoded_len(),
        };
        told + MOST_ADDED
    }
}

/// What sort of request it is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Acquire,
    Settle,
    Renew,
}

/// What it is answered.
#[derive(Debug)]
pub(super) enum Said {
    Acquired(v1::AcquireResponse),
    Settled(v1::SettleResponse),
    Renewed(v1::RenewResponse),
}

pub(super) type Reply = Result<Answer<Said>, Fault>;

/// A request that has no answer yet. It occupies its slot until then, whether or not anybody still waits for it.
#[derive(Debug)]
struct Ask {
    kind: Kind,
    /// `None`: it has been written. Who asked asks again if need be.
    body: Option<Body>,
    asker: Asker,
    /// On which connection it was written, and when.
    sent: Option<(u64, Duration)>,
    slot: OwnedSemaphorePermit,
}

/// Who wants an answer. Replies are sent under the session's lock: a caller that goes away then either finds its request
/// here or has its answer.
#[derive(Debug)]
enum Asker {
    Waits(oneshot::Sender<Reply>),
    /// It went away: a permit of this budget is given back.
    Gone(String),
    /// Nobody ever waited.
    Nobody,
}

/// One connection, current or retiring.
#[derive(Debug)]
struct Line {
    epoch: u64,
    /// Of its replica.
    turn: Turn,
    waker: Option<Waker>,
    cancels: VecDeque<u64>,
    unanswered: usize,
    done: Arc<Notify>,
}

/// What is under way. Bounded by the session's slots: an ask is in `asks` only with one.
#[derive(Debug, Default)]
pub(super) struct State {
    next: u64,
    epochs: u64,
    queue: VecDeque<u64>,
    asks: HashMap<u64, Ask>,
    lines: Vec<Line>,
    /// The connection that new requests are written on.
    current: Option<u64>,
    closed: bool,
    /// Connections that failed since the last answer.
    pub(super) failures: u32,
    /// Answers in a row that put the caller off.
    put_off: u32,
    /// Answers that came with the last message and whose callers have not asked again.
    expected: usize,
}

/// What the stream to the server shall do.
pub(super) enum Write {
    Message(SessionRequest),
    Wait,
    End,
}

impl State {
    // ## A caller's side

    /// Queues a request; its id, and whom to wake: the stream that writes, or (`None`) the driver.
    pub(super) fn ask(
        &mut self,
        body: Body,
        reply: Option<oneshot::Sender<Reply>>,
        slot: OwnedSemaphorePermit,
    ) -> (u64, Option<Waker>) {
        self.next += 1;
        let id = self.next;
        self.expected = self.expected.saturating_sub(1);
        let (kind, asker) = (body.kind(), reply.map_or(Asker::Nobody, Asker::Waits));
        self.asks.insert(id, Ask { kind, body: Some(body), asker, sent: None, slot });
        // Requests that were given up before they were written leave their ids behind.
        if self.queue.len() > 2 * self.asks.len() + 64 {
            let asks = &self.asks;
            self.queue.retain(|id| asks.contains_key(id));
        }
        self.queue.push_back(id);
        (id, self.waker(self.current))
    }

    /// The caller went away, who asked for `budget`. Whether the request was still under way; then whom to wake.
    pub(super) fn abandon(&mut self, id: u64, budget: &str) -> (bool, Option<Waker>) {
        let Some(ask) = self.asks.get_mut(&id) else {
            return (false, None);
        };
        let Some((epoch, _)) = ask.sent else {
            self.asks.remove(&id);
            return (true, None);
        };
        ask.asker = Asker::Gone(budget.to_owned());
        let acquire = ask.kind == Kind::Acquire;
        if let Some(line) = self.lines.iter_mut().find(|line| line.epoch == epoch && acquire) {
            line.cancels.push_back(id);
            return (true, line.waker.take());
        }
        (true, None)
    }

    /// No caller is left.
    pub(super) fn close(&mut self) -> Vec<Waker> {
        self.closed = true;
        self.lines.iter_mut().filter_map(|line| line.waker.take()).collect()
    }

    // ## The driver's side

    /// Whether a connection is needed and there is none.
    pub(super) fn wants_connection(&self) -> bool {
        self.current.is_none() && self.queue.iter().any(|id| self.asks.contains_key(id))
    }

    /// The connection that new requests are written on, and its turn.
    pub(super) fn current(&self) -> Option<(u64, Turn)> {
        let line = self.lines.iter().find(|line| Some(line.epoch) == self.current)?;
        Some((line.epoch, line.turn.clone()))
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(super) fn is_empty(&self) -> bool {
        self.asks.is_empty()
    }

    /// A connection to this turn's replica is being opened, and requests may be written on it: its number, and who is told
    /// when it is done with.
    pub(super) fn open(&mut self, turn: Turn) -> (u64, Arc<Notify>) {
        self.epochs += 1;
        let (epoch, done) = (self.epochs, Arc::new(Notify::new()));
        let (waker, cancels) = (None, VecDeque::new());
        self.lines.push(Line { epoch, turn, waker, cancels, unanswered: 0, done: Arc::clone(&done) });
        self.current = Some(epoch);
        (epoch, done)
    }

    /// New requests go elsewhere; what was written here may still be answered here. Its turn, if it was current.
    pub(super) fn retire(&mut self, epoch: u64) -> Option<Turn> {
        if self.current != Some(epoch) {
            return None;
        }
        self.current = None;
        let line = self.lines.iter().find(|line| line.epoch == epoch)?;
        if line.unanswered == 0 {
            line.done.notify_one();
        }
        Some(line.turn.clone())
    }

    /// The oldest connection, if more than `most` are there.
    pub(super) fn surplus(&self, most: usize) -> Option<u64> {
        if self.lines.len() > most { self.lines.first().map(|line| line.epoch) } else { None }
    }

    /// A connection is gone, or given up: what was written on it fails, and, if none could be opened (`unsent`), what
    /// waits for one.
    pub(super) fn broken(&mut self, epoch: u64, fault: &Fault, unsent: bool) {
        if self.current == Some(epoch) {
            self.current = None;
        }
        for line in self.lines.extract_if(.., |line| line.epoch == epoch) {
            line.done.notify_one();
        }
        let fails = |ask: &Ask| ask.sent.map_or(unsent, |(sent, _)| sent == epoch);
        for (_, ask) in self.asks.extract_if(|_, ask| fails(ask)) {
            if let Asker::Waits(reply) = ask.asker {
                let _ = reply.send(Err(fault.clone()));
            }
        }
        if unsent {
            self.queue.clear();
        }
    }

    // ## The connection's side

    /// Whether something is to be written, and callers that were answered at once may soon ask for more.
    pub(super) fn may_grow(&self) -> bool {
        self.expected > 0 && !self.queue.is_empty() && self.queue.len() < MOST_OF_A_KIND
    }

    /// What is to be written next on a connection, at `now`.
    pub(super) fn write(&mut self, epoch: u64, now: Duration, waker: &Waker) -> Write {
        let mut message = SessionRequest::default();
        if self.current == Some(epoch) {
            self.fill(epoch, now, &mut message);
        }
        let current = self.current == Some(epoch);
        let idle = self.closed && self.asks.is_empty();
        let Some(line) = self.lines.iter_mut().find(|line| line.epoch == epoch) else {
            return Write::End;
        };
        let written = message.acquires.len() + message.settles.len() + message.renews.len();
        line.unanswered += written;
        let cancels = line.cancels.len().min(MOST_OF_A_KIND);
        message.cancels = line.cancels.drain(..cancels).collect();
        if written + cancels > 0 {
            return Write::Message(message);
        }
        if idle || (!current && line.unanswered == 0) {
            return Write::End;
        }
        line.waker = Some(waker.clone());
        Write::Wait
    }

    fn fill(&mut self, epoch: u64, now: Duration, message: &mut SessionRequest) {
        let mut bytes = 0;
        while let Some(&id) = self.queue.front() {
            if let Some(ask) = self.asks.get_mut(&id)
                && let Some(body) = &ask.body
            {
                let beside = match ask.kind {
                    Kind::Acquire => message.acquires.len(),
                    Kind::Settle => message.settles.len(),
                    Kind::Renew => message.renews.len(),
                };
                let size = body.size();
                if beside >= MOST_OF_A_KIND || (bytes > 0 && bytes + size > MOST_BYTES) {
                    return;
                }
                bytes += size;
                ask.sent = Some((epoch, now));
                put(message, id, ask.body.take(), now);
            }
            self.queue.pop_front();
        }
    }

    /// Answers came; whom to wake. Where they say that the replica is of no use, its connection retires.
    pub(super) fn answered(
        &mut self,
        epoch: u64,
        answers: Vec<SessionAnswer>,
        now: Duration,
    ) -> (Option<Waker>, Option<Turn>) {
        self.failures = 0;
        self.expected = answers.len();
        let (mut waker, mut useless) = (None, false);
        for SessionAnswer { id, answer } in answers {
            let sent = self.asks.get(&id).and_then(|ask| ask.sent);
            let Some((_, sent_at)) = sent.filter(|(sent, _)| *sent == epoch) else {
                tracing::debug!(id, "an answer to nothing that is under way");
                continue;
            };
            let Some(ask) = self.asks.remove(&id) else { continue };
            if let Some(line) = self.lines.iter_mut().find(|line| line.epoch == epoch) {
                line.unanswered = line.unanswered.saturating_sub(1);
                if line.unanswered == 0 && self.current != Some(epoch) {
                    line.done.notify_one();
                }
            }
            let said = read(ask.kind, answer);
            match &said {
                Ok(_) | Err(Fault::Final(_)) => self.put_off = 0,
                Err(Fault::Later { .. }) => self.put_off += 1,
                Err(Fault::Elsewhere(_)) => useless = true,
            }
            match (ask.asker, said) {
                (Asker::Waits(reply), said) => {
                    let _ = reply.send(said.map(|message| Answer { message, sent_at, via: epoch }));
                }
                (Asker::Gone(budget), Ok(Said::Acquired(response))) => {
                    let wake = self.give_back(budget, response, ask.slot, now);
                    waker = waker.or(wake);
                }
                (Asker::Gone(_) | Asker::Nobody, _) => {}
            }
        }
        let left = if useless || self.put_off >= ENOUGH_PUT_OFF { self.retire(epoch) } else { None };
        if left.is_some() {
            self.put_off = 0;
        }
        (waker, left)
    }

    /// A permit came for a caller that has gone: nobody can have sent its call. Its settlement takes the acquire's slot.
    /// Whom to wake.
    fn give_back(
        &mut self,
        budget: String,
        response: v1::AcquireResponse,
        slot: OwnedSemaphorePermit,
        now: Duration,
    ) -> Option<Waker> {
        let Some(Decided::Permit(permit)) = response.result else {
            return None;
        };
        let (request, age) = Outcome::not_sent().into_request(budget, permit.permit_id);
        self.ask(Body::Settle(Arc::new(Settling { request, received_at: now, age })), None, slot).1
    }

    fn waker(&mut self, epoch: Option<u64>) -> Option<Waker> {
        let line = self.lines.iter_mut().find(|line| Some(line.epoch) == epoch)?;
        line.waker.take()
    }
}

/// Puts a request into a message that is made at `now`.
fn put(message: &mut SessionRequest, id: u64, body: Option<Body>, now: Duration) {
    match body {
        Some(Body::Acquire(asking)) => {
            message.acquires.push(v1::SessionAcquire { id, request: Some(asking.into_message(now)) });
        }
        Some(Body::Settle(settling)) => {
            message.settles.push(v1::SessionSettle { id, request: Some(settling.at(now)) });
        }
        Some(Body::Renew(request)) => {
            message.renews.push(v1::SessionRenew { id, request: Some(*request) });
        }
        None => {}
    }
}

/// The answer to a request, if it is one to a request of this kind.
fn read(kind: Kind, answer: Option<Wire>) -> Result<Said, Fault> {
    match (kind, answer) {
        (Kind::Acquire, Some(Wire::Acquired(response))) => Ok(Said::Acquired(response)),
        (Kind::Settle, Some(Wire::Settled(response))) => Ok(Said::Settled(response)),
        (Kind::Renew, Some(Wire::Renewed(response))) => Ok(Said::Renewed(response)),
        (_, Some(Wire::Error(error))) => Err(Fault::of_session(error)),
        _ => {
            let message = "an answer of another kind than the request".to_owned();
            Err(Fault::Final(CallError::Protocol { message, retry_after: None }))
        }
    }
}
