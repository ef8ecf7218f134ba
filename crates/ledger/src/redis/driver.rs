//! Store drivers: each keeps one connection and pipelines the calls of many lanes through it.
//!
//! A driver is one task. Calls reach it through a bounded queue, leave it on its connection in the order in which they
//! came, and are answered as the server answers. It connects when there is something to send, and again whenever it lost a
//! server, rests after a failed attempt, and tries again what failed for a reason that passes. It never decides: only the
//! scripts do.

use std::{
    collections::VecDeque,
    mem,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bursar_quota::BoxFuture;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use redis::{Cmd, RedisResult, Value};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::coop::unconstrained,
    time::{Sleep, sleep, sleep_until},
};

use crate::{HostError, Script, ScriptCall};

use super::{
    failure::Verdict,
    jitter::Jitter,
    moves::{Moves, RETURN, Server},
    pool::{Checkout, Pool},
    reach::Reach,
    sentinels::{Address, Sentinels},
    target::MAX_IN_FLIGHT,
};

/// After so many failures without a success between them even a connection that mends itself is replaced.
const MAX_STRIKES: u32 = 16;

/// How many calls are taken from the queue while they wait at another server: behind them is what goes ahead. As many as a
/// queue holds by default.
const MAX_HELD: usize = 4096;

/// The least rest before a cluster's connection is renewed, for one that sees its masters anew.
const RENEWAL: Duration = Duration::from_millis(500);

/// What to send.
pub(super) enum Work {
    /// A script, by its hash; by its source if the server asks for that.
    Script(&'static Script, ScriptCall),
    /// A plain command.
    Command(Cmd),
}

/// A call and who waits for it. A caller that has gone away is noticed before the next try.
pub(super) struct Job {
    pub(super) work: Work,
    pub(super) answer: oneshot::Sender<Result<Value, HostError>>,
    /// Whether it goes ahead of what waits because the server is another.
    is_ahead: bool,
    tries: u32,
    with_source: bool,
}

impl Job {
    pub(super) fn new(work: Work, answer: oneshot::Sender<Result<Value, HostError>>) -> Self {
        Self { work, answer, is_ahead: false, tries: 0, with_source: false }
    }

    /// The same, ahead of what waits because the server is another.
    pub(super) fn ahead(self) -> Self {
        Self { is_ahead: true, ..self }
    }

    fn command(&self) -> Cmd {
        let (script, call) = match &self.work {
            Work::Command(command) => return command.clone(),
            Work::Script(script, call) => (script, call),
        };
        let mut command = match self.with_source {
            true => redis::cmd("EVAL").arg(&script.source).to_owned(),
            false => redis::cmd("EVALSHA").arg(&script.sha1).to_owned(),
        };
        command.arg(call.keys.len()).arg(&call.keys).arg(&call.args);
        command
    }
}

/// The connection's state.
enum Link {
    /// None, and nothing to send.
    Down,
    // ## Down => Dialing
    Dialing(Dialing),
    // ## Dialing => Up, if it was made
    Up(Checkout),
    // ## Dialing => Resting, if it was not
    Resting(Pin<Box<Sleep>>),
}

/// What became of a link that was waited for.
enum Change {
    Connected(Dialled),
    Failed(Verdict),
    Rested,
}

/// A connection, and which server it leads to, where that is one and says so.
type Dialled = (Checkout, Option<Server>);
type Dialing = BoxFuture<'static, Result<Dialled, Verdict>>;
type Sent = (Job, u64, RedisResult<Value>);

/// What all drivers of a host have in common.
#[derive(Clone)]
pub(super) struct Common {
    pub(super) jitter: Arc<Jitter>,
    /// Commands that were sent.
    pub(super) sent: Arc<AtomicU64>,
    /// Where they say whether they reach the server.
    pub(super) reach: Arc<Reach>,
    /// Where they say which server they are connected to.
    pub(super) moves: Arc<Moves>,
    /// Changes when announcements end, and so may have the server.
    pub(super) silences: watch::Receiver<u64>,
}

/// One driver. [`Self::run`] ends when nobody can call any more.
pub(super) struct Driver {
    pool: Pool,
    queue: mpsc::Receiver<Job>,
    jitter: Arc<Jitter>,
    retries: u32,
    sent: Arc<AtomicU64>,
    reach: Arc<Reach>,
    moves: Arc<Moves>,
    /// The server that it was connected to last.
    server: Option<Server>,
    silences: watch::Receiver<u64>,
    /// Until this is over only what goes ahead is sent.
    hold: Option<Pin<Box<Sleep>>>,
    link: Link,
    /// A connection that will take the place of the one that is used.
    renewal: Option<Dialing>,
    /// The master whom the sentinels name, where there are any.
    found: Option<watch::Receiver<Option<Address>>>,
    /// The one that they named last.
    named: Option<Address>,
    /// Counts the connections, so that a call's failure on an old one does not end its successor.
    round: u64,
    /// Attempts to connect that failed in a row.
    failures: u32,
    /// Calls that failed in a row.
    strikes: u32,
    waiting: VecDeque<Job>,
    in_flight: FuturesUnordered<BoxFuture<'static, Sent>>,
    delayed: FuturesUnordered<BoxFuture<'static, Job>>,
}

impl Driver {
    /// Takes its calls from `queue`, each tried again `retries` times at most.
    pub(super) fn new(pool: Pool, queue: mpsc::Receiver<Job>, retries: u32, common: Common) -> Self {
        let Common { jitter, sent, reach, moves, silences } = common;
        Self {
            found: pool.sentinels().map(Sentinels::found),
            named: None,
            pool,
            queue,
            jitter,
            retries,
            sent,
            reach,
            moves,
            server: None,
            silences,
            hold: None,
            link: Link::Down,
            renewal: None,
            round: 0,
            failures: 0,
            strikes: 0,
            waiting: VecDeque::new(),
            in_flight: FuturesUnordered::new(),
            delayed: FuturesUnordered::new(),
        }
    }

    /// Serves calls until all senders of the queue are gone.
    pub(super) async fn run(mut self) {
        loop {
            self.advance();
            let taken = self.waiting.len() + self.in_flight.len() + self.delayed.len();
            let most = if self.hold.is_some() { MAX_HELD } else { MAX_IN_FLIGHT };
            tokio::select! {
                Some(sent) = self.in_flight.next(), if !self.in_flight.is_empty() => self.sent(sent),
                Some(job) = self.delayed.next(), if !self.delayed.is_empty() => self.waiting.push_back(job),
                change = changed(&mut self.link) => self.changed(change),
                Some(renewed) = renewed(&mut self.renewal) => self.renewed(renewed),
                Some(master) = found(&mut self.found) => self.found(master),
                () = silence(&mut self.silences) => self.silenced(),
                () = over(&mut self.hold) => self.hold = None,
                job = self.queue.recv(), if taken < most => match job {
                    Some(job) => self.waiting.push_back(job),
                    None => return,
                },
            }
        }
    }

    /// Sends what waits, or begins to connect: for it, or because the server that was lost may come back as another.
    fn advance(&mut self) {
        self.waiting.retain(|job| !job.answer.is_closed());
        match &self.link {
            Link::Up(checkout) if !self.waiting.is_empty() => {
                let mut goes = mem::take(&mut self.waiting);
                if self.hold.is_some() {
                    (goes, self.waiting) = goes.into_iter().partition(|job| job.is_ahead);
                }
                let room = MAX_IN_FLIGHT.saturating_sub(self.in_flight.len());
                if goes.len() > room {
                    let mut rest = goes.split_off(room);
                    rest.append(&mut self.waiting);
                    self.waiting = rest;
                }
                for job in goes.drain(..) {
                    let (mut wire, round) = (checkout.wire(), self.round);
                    self.sent.fetch_add(1, Ordering::Relaxed);
                    // Not interrupted by the scheduler's budget: a call that paused before it is written would be
                    // overtaken by the next. The connection's queue holds all that can be in flight.
                    self.in_flight.push(Box::pin(unconstrained(async move {
                        let answer = wire.send(&job.command()).await;
                        (job, round, answer)
                    })));
                }
                if self.waiting.is_empty() {
                    // Its room is used again.
                    self.waiting = goes;
                }
            }
            Link::Down if !self.waiting.is_empty() || self.server.is_some() => self.link = self.dial(),
            Link::Down | Link::Up(_) | Link::Dialing(_) | Link::Resting(_) => {}
        }
    }

    fn dial(&self) -> Link {
        let (pool, reach) = (self.pool.clone(), Arc::clone(&self.reach));
        Link::Dialing(Box::pin(async move {
            let checkout = pool.get(reach.is_met()).await?;
            let server = checkout.server().await?;
            Ok((checkout, server))
        }))
    }

    fn changed(&mut self, change: Change) {
        self.link = match change {
            Change::Rested => Link::Down,
            Change::Connected((checkout, server)) => {
                let until = self.moves.met(self.server.as_ref(), server.as_ref());
                self.hold = until.map(|until| Box::pin(sleep_until(until)));
                self.server = server.or(self.server.take());
                if self.failures > 0 {
                    tracing::info!(after = self.failures, "the store is reachable again");
                }
                self.reach.found();
                self.failures = 0;
                self.strikes = 0;
                self.round += 1;
                Link::Up(checkout)
            }
            Change::Failed(verdict) => {
                self.failures = self.failures.saturating_add(1);
                self.reach.lost(verdict.cause());
                if self.failures == 1 {
                    tracing::warn!(cause = verdict.cause(), "the store is unreachable");
                }
                // Each call has had its try at this connection; those with tries left wait for the next.
                for job in mem::take(&mut self.waiting) {
                    if let Some(job) = self.tried(job, &verdict) {
                        self.waiting.push_back(job);
                    }
                }
                let rest = self.jitter.backoff(self.failures);
                let is_lost = self.server.is_some();
                Link::Resting(Box::pin(sleep(if is_lost { rest.min(RETURN) } else { rest })))
            }
        };
    }

    fn sent(&mut self, (mut job, round, answer): Sent) {
        let error = match answer {
            Ok(value) => {
                self.strikes = 0;
                self.reach.found();
                let _ = job.answer.send(Ok(value));
                return;
            }
            Err(error) => error,
        };
        let verdict = match Verdict::of(&error) {
            Verdict::Script(error) => {
                self.strikes = 0;
                let _ = job.answer.send(Err(error));
                return;
            }
            Verdict::NoScript if !job.with_source => {
                job.with_source = true;
                self.waiting.push_back(job);
                return;
            }
            verdict => verdict,
        };
        self.strikes = self.strikes.saturating_add(1);
        match &verdict {
            Verdict::Reconnect(cause) if round == self.round => self.hang_up(cause),
            Verdict::Deposed(_) if round == self.round => self.look_around(),
            _ => {}
        }
        if let Some(job) = self.tried(job, &verdict) {
            let rest = sleep(self.jitter.backoff(job.tries));
            self.delayed.push(Box::pin(async move {
                rest.await;
                job
            }));
        }
    }

    /// The master may be another one by now: has that looked into, while what is connected stays.
    fn look_around(&mut self) {
        if let Some(sentinels) = self.pool.sentinels() {
            sentinels.hurry();
        }
        // A cluster's connection sees that a slot is elsewhere only if it is told so, or loses a node.
        if let Link::Up(Checkout::Cluster(_)) = &self.link
            && self.renewal.is_none()
        {
            let (pool, rest) = (self.pool.clone(), RENEWAL + self.jitter.come_back());
            self.renewal = Some(Box::pin(async move {
                sleep(rest).await;
                Ok((pool.get(true).await?, None))
            }));
        }
    }

    fn renewed(&mut self, renewed: Result<Dialled, Verdict>) {
        if let (Ok((new, _)), Link::Up(_)) = (renewed, &self.link)
            && let Link::Up(old) = mem::replace(&mut self.link, Link::Up(new))
        {
            self.round += 1;
            // Calls under way on it are answered.
            old.discard();
        }
    }

    /// Leaves a master that is none any more. Calls under way there are answered.
    fn found(&mut self, master: Address) {
        let is_news = self.named.as_ref().is_some_and(|named| *named != master);
        match &self.link {
            Link::Up(checkout) if checkout.master().is_none_or(|connected| *connected == master) => {}
            Link::Up(_) => {
                self.hang_up("the sentinels name another master");
                self.link = self.dial();
            }
            // At once, though there may be nothing to send: what is remembered is to be told there. An attempt that is under
            // way may be to reach the one before.
            _ if is_news && self.server.is_some() => self.link = self.dial(),
            _ => {}
        }
        self.named = Some(master);
    }

    /// Looks at once whether the server is still there, and the same: what it was told it may have lost, and who has nothing
    /// to ask would not notice.
    fn silenced(&mut self) {
        if let Link::Up(checkout) = &self.link
            && !checkout.mends_itself()
        {
            self.hang_up("announcements from the server have ended");
        }
    }

    /// Ends the connection: the next call makes another one. Calls under way on it end by themselves, soon.
    fn hang_up(&mut self, cause: &str) {
        if let Link::Up(checkout) = &self.link
            && (!checkout.mends_itself() || self.strikes >= MAX_STRIKES)
            && let Link::Up(checkout) = mem::replace(&mut self.link, Link::Down)
        {
            tracing::debug!(cause, "the connection to the store is given up");
            checkout.discard();
        }
    }

    /// Counts a try; answers a call that has no further one.
    fn tried(&self, mut job: Job, verdict: &Verdict) -> Option<Job> {
        job.tries += 1;
        if job.tries <= self.retries && !matches!(verdict, Verdict::Never(_)) {
            return Some(job);
        }
        let cause = verdict.cause().to_owned();
        let retry_after = self.jitter.come_back();
        let _ = job.answer.send(Err(HostError::Unavailable { cause, retry_after }));
        None
    }
}

/// Waits for a link that will change by itself.
async fn changed(link: &mut Link) -> Change {
    match link {
        Link::Dialing(dialing) => match dialing.await {
            Ok(dialled) => Change::Connected(dialled),
            Err(verdict) => Change::Failed(verdict),
        },
        Link::Resting(rest) => {
            rest.await;
            Change::Rested
        }
        Link::Down | Link::Up(_) => std::future::pending().await,
    }
}

/// Waits for a connection that is renewed.
async fn renewed(renewal: &mut Option<Dialing>) -> Option<Result<Dialled, Verdict>> {
    let renewed = renewal.as_mut()?.await;
    *renewal = None;
    Some(renewed)
}

/// Waits for the end of a hold.
async fn over(hold: &mut Option<Pin<Box<Sleep>>>) {
    match hold {
        Some(hold) => hold.await,
        None => std::future::pending().await,
    }
}

/// Waits until announcements end.
async fn silence(silences: &mut watch::Receiver<u64>) {
    if silences.changed().await.is_err() {
        std::future::pending().await
    }
}

/// Waits for the next look at who is master.
async fn found(found: &mut Option<watch::Receiver<Option<Address>>>) -> Option<Address> {
    let found = found.as_mut()?;
    found.changed().await.ok()?;
    found.borrow_and_update().clone()
}
