//! Sessions: acquires, settlements and renewals over one stream, many at once.
//!
//! A session is no task: it is the answering stream itself, and works when the transport asks it for more. So a
//! client that does not read its answers is not read either, and when the call ends in whatever way, the stream is
//! dropped with all that is under way: waiting acquires give up their places, and what was granted but not handed to
//! the transport is given back.
//!
//! Bounds: `session_acquires` acquires under way, those beyond are answered with RESOURCE_EXHAUSTED (they may not hold
//! up the settlements behind them, which let the others go on); `SETTLING_MAX` settlements and renewals under way,
//! beyond which nothing is read until some are answered (they wait for the store alone); 256 of each kind a message
//! and ids unique among what is under way, or the session ends with INVALID_ARGUMENT, since it could not say whose
//! answer is whose.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bursar_wire::v1::{self, SessionAnswer, session_answer::Answer};
use futures_util::{Stream, StreamExt, stream::FuturesUnordered};
use tokio::sync::oneshot;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::Status;

use crate::{
    auth::Caller,
    desk::{Asked, Desk},
    failure::Failure,
    invalid::{Invalid, demand},
    metrics::Held,
};

/// The most of each kind in a message, and the most answers in one.
const MESSAGE_MAX: usize = 256;

/// The most settlements and renewals under way, give or take a message.
const SETTLING_MAX: usize = 4096;

/// The most messages read in a row: then others that run on the same thread have their turn.
const READS_MAX: usize = 32;

type Job = Pin<Box<dyn Future<Output = SessionAnswer> + Send>>;

/// What is under way under one id.
enum UnderWay {
    /// An acquire, and how to cancel it; `None` once it was cancelled.
    Acquire(Option<oneshot::Sender<()>>),
    /// A settlement or a renewal.
    Settling,
}

/// One session, from its first message to its last answer.
pub(crate) struct Session<S> {
    desk: Arc<Desk>,
    caller: Caller,
    /// What the client says; `None` once it says no more, or is no longer heard.
    inbound: Option<S>,
    jobs: FuturesUnordered<Job>,
    under_way: HashMap<u64, UnderWay>,
    acquires: usize,
    /// Answers that no job gives. Never a permit.
    ready: VecDeque<SessionAnswer>,
    /// Ends when the server does; `None` once it has.
    ending: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    deadline: Option<Pin<Box<tokio::time::Sleep>>>,
    over: bool,
    _held: Held,
}

impl<S> Session<S>
where
    S: Stream<Item = Result<v1::SessionRequest, Status>> + Unpin,
{
    pub(crate) fn new(desk: Arc<Desk>, caller: Caller, deadline: Option<Duration>, inbound: S) -> Self {
        Self {
            inbound: Some(inbound),
            jobs: FuturesUnordered::new(),
            under_way: HashMap::new(),
            acquires: 0,
            ready: VecDeque::new(),
            ending: Some(Box::pin(desk.ending.clone().cancelled_owned())),
            deadline: deadline.map(|after| Box::pin(tokio::time::sleep(after))),
            over: false,
            _held: Held::of(&desk.metrics.sessions),
            desk,
            caller,
        }
    }

    /// Reads what has come, as far as there is room.
    fn read(&mut self, cx: &mut Context<'_>) -> Result<(), Status> {
        for _ in 0..READS_MAX {
            let settling = self.under_way.len() - self.acquires;
            if self.ready.len() >= MESSAGE_MAX || settling >= SETTLING_MAX {
                return Ok(());
            }
            let Some(inbound) = &mut self.inbound else { return Ok(()) };
            match inbound.poll_next_unpin(cx) {
                Poll::Ready(Some(Ok(message))) => {
                    self.take(message).map_err(|invalid| Failure::from(invalid).status())?;
                }
                Poll::Ready(Some(Err(status))) => return Err(status),
                Poll::Ready(None) => self.inbound = None,
                Poll::Pending => return Ok(()),
            }
        }
        cx.waker().wake_by_ref();
        Ok(())
    }

    /// Starts what a message asks for: settlements first, so that the acquires beside them find what they free.
    fn take(&mut self, message: v1::SessionRequest) -> Result<(), Invalid> {
        let v1::SessionRequest { acquires, settles, renews, cancels } = message;
        let counts = [
            ("acquires", acquires.len()),
            ("settles", settles.len()),
            ("renews", renews.len()),
            ("cancels", cancels.len()),
        ];
        for (field, count) in counts {
            demand(count <= MESSAGE_MAX, field, || format!("{count} are too many, at most {MESSAGE_MAX}"))?;
        }
        for (index, v1::SessionSettle { id, request }) in settles.into_iter().enumerate() {
            self.enter("settles", index, id, UnderWay::Settling)?;
            let (desk, caller) = (Arc::clone(&self.desk), self.caller.clone());
            self.jobs.push(Box::pin(async move {
                let result = desk.settle(request.unwrap_or_default(), &caller).await;
                desk.metrics.count("Session.Settle", &result);
                answer(id, result.map(Answer::Settled))
            }));
        }
        for (index, v1::SessionRenew { id, request }) in renews.into_iter().enumerate() {
            self.enter("renews", index, id, UnderWay::Settling)?;
            let (desk, caller) = (Arc::clone(&self.desk), self.caller.clone());
            self.jobs.push(Box::pin(async move {
                let result = desk.renew(&request.unwrap_or_default(), &caller).await;
                desk.metrics.count("Session.Renew", &result);
                answer(id, result.map(Answer::Renewed))
            }));
        }
        for (index, v1::SessionAcquire { id, request }) in acquires.into_iter().enumerate() {
            self.acquire(index, id, request.unwrap_or_default())?;
        }
        for id in cancels {
            // What is not under way has been answered already: the client holds the permit and settles it.
            if let Some(UnderWay::Acquire(cancel)) = self.under_way.get_mut(&id)
                && let Some(cancel) = cancel.take()
            {
                let _ = cancel.send(());
            }
        }
        Ok(())
    }

    fn acquire(&mut self, index: usize, id: u64, request: v1::AcquireRequest) -> Result<(), Invalid> {
        let max = self.desk.session_acquires;
        if self.acquires >= max {
            let full: Result<Answer, _> = Err(Failure::Full {
                subject: "session",
                bound: format!("{max} acquires are under way on it, the most that may be"),
            });
            self.desk.metrics.count("Session.Acquire", &full);
            demand(!self.under_way.contains_key(&id), field("acquires", index), || twice(id))?;
            self.ready.push_back(answer(id, full));
            return Ok(());
        }
        let (cancel, cancelled) = oneshot::channel();
        self.enter("acquires", index, id, UnderWay::Acquire(Some(cancel)))?;
        self.acquires += 1;
        let (desk, caller) = (Arc::clone(&self.desk), self.caller.clone());
        let asked = Asked::read(request, &caller, None);
        self.jobs.push(Box::pin(async move {
            let result = match asked {
                Ok(asked) => desk.acquire(asked, &caller, Some(cancelled)).await,
                Err(failure) => Err(failure),
            };
            desk.metrics.count("Session.Acquire", &result);
            answer(id, result.map(Answer::Acquired))
        }));
        Ok(())
    }

    fn enter(&mut self, kind: &str, index: usize, id: u64, what: UnderWay) -> Result<(), Invalid> {
        match self.under_way.entry(id) {
            Entry::Vacant(entry) => {
                entry.insert(what);
                Ok(())
            }
            Entry::Occupied(_) => Err(Invalid::new(field(kind, index), twice(id))),
        }
    }

    /// Collects what is ready, a message's worth at most.
    fn work(&mut self, cx: &mut Context<'_>) {
        while self.ready.len() < MESSAGE_MAX
            && let Poll::Ready(Some(answer)) = self.jobs.poll_next_unpin(cx)
        {
            if let Some(UnderWay::Acquire(_)) = self.under_way.remove(&answer.id) {
                self.acquires -= 1;
            }
            self.ready.push_back(answer);
        }
    }

    /// Whether it must end at once, with what.
    fn cut(&mut self, cx: &mut Context<'_>) -> Option<Failure> {
        let passed = |sleep: &mut Pin<Box<tokio::time::Sleep>>| sleep.as_mut().poll(cx).is_ready();
        self.deadline.as_mut().is_some_and(passed).then_some(Failure::DeadlinePassed)
    }

    /// Hears the client no longer once the server ends. What is under way is still answered.
    fn heed_ending(&mut self, cx: &mut Context<'_>) {
        if self.ending.as_mut().is_some_and(|ending| ending.as_mut().poll(cx).is_ready()) {
            self.ending = None;
            self.inbound = None;
        }
    }

    fn step(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<v1::SessionResponse, Status>>> {
        if let Some(failure) = self.cut(cx) {
            return Poll::Ready(Some(Err(failure.status())));
        }
        self.heed_ending(cx);
        if let Err(status) = self.read(cx) {
            return Poll::Ready(Some(Err(status)));
        }
        self.work(cx);
        if !self.ready.is_empty() {
            let answers = self.ready.drain(..self.ready.len().min(MESSAGE_MAX)).collect();
            return Poll::Ready(Some(Ok(v1::SessionResponse { answers })));
        }
        if self.inbound.is_some() || !self.jobs.is_empty() {
            return Poll::Pending;
        }
        match self.ending {
            Some(_) => Poll::Ready(None),
            None => Poll::Ready(Some(Err(Failure::Ending.status()))),
        }
    }
}

fn field(kind: &str, index: usize) -> String {
    format!("{kind}[{index}].id")
}

fn twice(id: u64) -> String {
    format!("{id} is under way already: ids are unique until they are answered")
}

fn answer(id: u64, result: Result<Answer, Failure>) -> SessionAnswer {
    let answer = result.unwrap_or_else(|failure| Answer::Error(failure.on_session()));
    SessionAnswer { id, answer: Some(answer) }
}

impl<S> Stream for Session<S>
where
    S: Stream<Item = Result<v1::SessionRequest, Status>> + Unpin,
{
    type Item = Result<v1::SessionResponse, Status>;

    // ## open => half closed (the client says no more) | ending (the server) => over
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.over {
            return Poll::Ready(None);
        }
        let step = self.step(cx);
        if matches!(step, Poll::Ready(None | Some(Err(_)))) {
            self.over = true;
            self.inbound = None;
            self.jobs.clear();
            self.under_way.clear();
        }
        step
    }
}
