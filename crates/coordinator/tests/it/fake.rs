//! A ledger in memory with the simplest right accounting: what is granted weighs for a window, or until it is settled.
//! It can be slow, fail before it runs, and lose its reply.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bursar_quota::{
    BoxFuture, BoxStream, BudgetName, BudgetSpec, Clock, Commit, CommitReply, EventKind, Ledger, LedgerError,
    LedgerEvent, Put, Renewal, Requests, SettleKind, Settled, Stored, Trouble,
};
use futures_util::stream;
use tokio::{
    sync::broadcast,
    time::{Instant, sleep},
};

use crate::book::{Ahead, Book, Permit, check_bounds};

/// tokio's clock, which stands still in tests unless everybody sleeps.
#[derive(Debug)]
pub(crate) struct TokioClock {
    start: tokio::time::Instant,
}

impl TokioClock {
    #[allow(clippy::disallowed_methods, reason = "tests take their time from tokio's paused clock")]
    pub(crate) fn new() -> Self {
        Self { start: tokio::time::Instant::now() }
    }
}

impl Clock for TokioClock {
    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn unix(&self) -> Duration {
        Duration::from_secs(1_800_000_000) + self.start.elapsed()
    }
}

/// What goes wrong with one commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It does not run.
    Before(Duration),
    /// It runs and its reply is lost.
    After(Duration),
    /// It is answered by nonsense, and does not run.
    Corrupt,
}

#[derive(Debug, Default)]
struct State {
    books: HashMap<BudgetName, Book>,
    versions: HashMap<BudgetName, u64>,
    faults: VecDeque<Fault>,
    commits: Vec<Commit>,
    latency: Duration,
    /// Permits granted in all, and those settled as not sent.
    granted: u64,
    not_sent: u64,
}

/// The ledger. Clones share it.
#[derive(Clone)]
pub(crate) struct FakeLedger {
    state: Arc<Mutex<State>>,
    events: broadcast::Sender<LedgerEvent>,
    clock: Arc<TokioClock>,
    /// Whether this handle of it is cut off.
    cut: Arc<AtomicBool>,
    /// Whether this handle says that nothing runs through it.
    trouble: Arc<Mutex<Option<Instant>>>,
}

impl std::fmt::Debug for FakeLedger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FakeLedger")
    }
}

impl FakeLedger {
    pub(crate) fn new(clock: Arc<TokioClock>) -> Self {
        Self {
            state: Arc::default(),
            events: broadcast::channel(1024).0,
            clock,
            cut: Arc::default(),
            trouble: Arc::default(),
        }
    }

    /// The same ledger, which can be cut off by itself.
    pub(crate) fn handle(&self) -> Self {
        Self { cut: Arc::default(), trouble: Arc::default(), ..self.clone() }
    }

    /// Whether nothing runs through this handle from now on.
    pub(crate) fn cut(&self, cut: bool) {
        self.cut.store(cut, Ordering::Relaxed);
    }

    /// Whether this handle says from now on that nothing runs through it, be that so or not.
    #[allow(clippy::disallowed_methods, reason = "tests take their time from tokio's paused clock")]
    pub(crate) fn trouble(&self, trouble: bool) {
        *self.trouble.lock().unwrap() = trouble.then(Instant::now);
    }

    fn reach(&self) -> Result<(), LedgerError> {
        let lost =
            LedgerError::Unavailable { cause: "cut off".into(), retry_after: Duration::from_millis(500) };
        if self.cut.load(Ordering::Relaxed) { Err(lost) } else { Ok(()) }
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap())
    }

    pub(crate) fn latency(&self, latency: Duration) {
        self.with(|state| state.latency = latency);
    }

    pub(crate) fn fault(&self, fault: Fault) {
        self.with(|state| state.faults.push_back(fault));
    }

    /// All commits that ran, in order.
    pub(crate) fn commits(&self) -> Vec<Commit> {
        self.with(|state| state.commits.clone())
    }

    /// How many permits were granted, how many of them given back, and how many are out now.
    pub(crate) fn counts(&self) -> (u64, u64, usize) {
        let now = self.clock.monotonic();
        self.with(|state| {
            let permits = state.books.values().flat_map(|book| book.leases.values().flatten());
            let out = permits.filter(|permit| permit.settled.is_none() && now < permit.deadline).count();
            (state.granted, state.not_sent, out)
        })
    }

    pub(crate) fn announce(&self, event: LedgerEvent) {
        let _ = self.events.send(event);
    }

    /// Changes a specification without telling anybody.
    pub(crate) fn put_silently(&self, spec: &BudgetSpec) -> Put {
        self.with(|state| {
            let version = state.versions.entry(spec.name.clone()).or_insert(0);
            if let Some(book) = state.books.get_mut(&spec.name) {
                if book.spec == *spec {
                    return Put { version: *version, changed: false };
                }
                *version += 1;
                (book.spec, book.version) = (spec.clone(), *version);
                return Put { version: *version, changed: true };
            }
            *version += 1;
            let book = Book {
                spec: spec.clone(),
                version: *version,
                leases: HashMap::new(),
                again: HashSet::new(),
                requests: HashMap::new(),
                paused: None,
                upstream: Vec::new(),
                waiting: HashMap::new(),
            };
            state.books.insert(spec.name.clone(), book);
            Put { version: *version, changed: true }
        })
    }

    pub(crate) fn delete_silently(&self, budget: &BudgetName) -> bool {
        self.with(|state| state.books.remove(budget).is_some())
    }

    /// Nothing goes wrong from now on.
    pub(crate) fn heal(&self) {
        self.with(|state| {
            state.latency = Duration::ZERO;
            state.faults.clear();
        });
    }

    pub(crate) fn faults_left(&self) -> usize {
        self.with(|state| state.faults.len())
    }

    /// Ends a pause without telling anybody.
    pub(crate) fn unpause_silently(&self, budget: &BudgetName) {
        self.with(|state| state.books.get_mut(budget).map(|book| book.paused = None));
    }

    fn run(&self, budget: &BudgetName, commit: &Commit) -> Result<CommitReply, LedgerError> {
        let now = self.clock.monotonic();
        let mut woken = false;
        let reply = self.with(|state| {
            let State { books, commits, granted, not_sent, .. } = state;
            let Some(book) = books.get_mut(budget) else {
                return Err(LedgerError::UnknownBudget(budget.clone()));
            };
            if book.version != commit.spec_version {
                return Err(LedgerError::StaleSpec { budget: budget.clone(), version: book.version });
            }
            check_bounds(commit);
            commits.push(commit.clone());
            let mut reply = CommitReply {
                settled: Vec::new(),
                renewed: Vec::new(),
                decisions: Vec::new(),
                paused_ms: Vec::new(),
                limits: Vec::new(),
                found: commit.looks.iter().map(|tag| book.requests.get(tag).copied()).collect(),
                resent: false,
            };
            for settle in &commit.settles {
                let mut results = Vec::new();
                for index in &settle.indexes {
                    let permit =
                        book.leases.get_mut(&settle.lease).and_then(|all| all.get_mut(usize::from(*index)));
                    results.push(match permit {
                        None => Settled::Unknown,
                        Some(Permit { settled: Some(_), .. }) => Settled::Already,
                        Some(_)
                            if settle.kind == SettleKind::Unclaimed
                                && book.again.contains(&(settle.lease, *index)) =>
                        {
                            Settled::Already
                        }
                        Some(permit) => {
                            permit.settled = Some((settle.kind, now));
                            *not_sent +=
                                u64::from(matches!(settle.kind, SettleKind::NotSent | SettleKind::Unclaimed));
                            woken = true;
                            Settled::Applied
                        }
                    });
                }
                let mut paused = 0;
                if let Some(pause) = &settle.pause {
                    let ms = pause.retry_after_ms.unwrap_or(1000);
                    book.upstream.push((pause.scope.clone(), now + Duration::from_millis(ms)));
                    paused = ms;
                }
                reply.settled.push(results);
                reply.paused_ms.push(paused);
            }
            for renew in &commit.renews {
                let permit =
                    book.leases.get_mut(&renew.lease).and_then(|all| all.get_mut(usize::from(renew.index)));
                reply.renewed.push(match permit {
                    None => Renewal::Unknown,
                    Some(permit) if permit.settled.is_some() => Renewal::Settled,
                    Some(permit) => {
                        permit.deadline = permit.deadline.max(now + Duration::from_millis(renew.ttl_ms));
                        let deadline_ms = u64::try_from((permit.deadline - now).as_millis()).unwrap();
                        Renewal::Renewed { deadline_ms }
                    }
                });
            }
            let mut ahead = Ahead::new();
            for group in &commit.acquires {
                if let Requests::Claim(tag, index) = group.requests {
                    reply.decisions.push(book.claim(group.lease, (tag, index), now));
                    continue;
                }
                let before: usize =
                    book.leases.get(&group.lease).filter(|_| book.is_used(group.lease)).map_or(0, Vec::len);
                let decision = book.decide(group, now, &mut ahead);
                *granted +=
                    u64::from(decision.granted) - u64::try_from(before).unwrap().min(decision.granted.into());
                reply.decisions.push(decision);
            }
            reply.limits = book.stand(now);
            book.waiting.insert(commit.replica.clone(), commit.waiting);
            woken = woken && book.waiting.iter().any(|(who, many)| *who != commit.replica && *many > 0);
            Ok(reply)
        });
        if woken && reply.is_ok() {
            self.announce(LedgerEvent { budget: budget.clone(), kind: EventKind::Wake });
        }
        reply
    }
}

impl Ledger for FakeLedger {
    fn commit<'a>(
        &'a self,
        budget: &'a BudgetName,
        commit: &'a Commit,
    ) -> BoxFuture<'a, Result<CommitReply, LedgerError>> {
        Box::pin(async move {
            self.reach()?;
            let (latency, fault) = self.with(|state| (state.latency, state.faults.pop_front()));
            if !latency.is_zero() {
                sleep(latency / 2).await;
            }
            let lost = |retry_after| LedgerError::Unavailable { cause: "a fault".into(), retry_after };
            let result = match fault {
                Some(Fault::Before(after)) => Err(lost(after)),
                Some(Fault::Corrupt) => Err(LedgerError::Corrupt("a fault".into())),
                Some(Fault::After(after)) => self.run(budget, commit).and(Err(lost(after))),
                None => self.run(budget, commit),
            };
            if !latency.is_zero() {
                sleep(latency / 2).await;
            }
            result
        })
    }

    fn put<'a>(&'a self, spec: &'a BudgetSpec) -> BoxFuture<'a, Result<Put, LedgerError>> {
        Box::pin(async move {
            let put = self.put_silently(spec);
            if put.changed {
                let kind = EventKind::SpecChanged { version: put.version };
                self.announce(LedgerEvent { budget: spec.name.clone(), kind });
            }
            Ok(put)
        })
    }

    fn get<'a>(&'a self, budget: &'a BudgetName) -> BoxFuture<'a, Result<Option<Stored>, LedgerError>> {
        let stored = |book: &Book| Stored {
            spec: book.spec.clone(),
            version: book.version,
            snapshot: book.snapshot(),
        };
        let found = self.with(|state| state.books.get(budget).map(stored));
        Box::pin(async move { self.reach().map(|()| found) })
    }

    fn list<'a>(
        &'a self,
        after: Option<&'a BudgetName>,
        most: usize,
    ) -> BoxFuture<'a, Result<Vec<BudgetName>, LedgerError>> {
        let mut names: Vec<BudgetName> = self.with(|state| state.books.keys().cloned().collect());
        names.sort();
        names.retain(|name| after.is_none_or(|after| name > after));
        names.truncate(most);
        Box::pin(async move { Ok(names) })
    }

    fn delete<'a>(&'a self, budget: &'a BudgetName) -> BoxFuture<'a, Result<bool, LedgerError>> {
        let deleted = self.delete_silently(budget);
        if deleted {
            self.announce(LedgerEvent { budget: budget.clone(), kind: EventKind::Deleted });
        }
        Box::pin(async move { Ok(deleted) })
    }

    fn pause<'a>(
        &'a self,
        budget: &'a BudgetName,
        span: Option<Duration>,
    ) -> BoxFuture<'a, Result<(), LedgerError>> {
        let until = span.map(|span| self.clock.monotonic() + span);
        let known =
            self.with(|state| state.books.get_mut(budget).map(|book| book.paused = Some(until)).is_some());
        Box::pin(async move { known.then_some(()).ok_or_else(|| LedgerError::UnknownBudget(budget.clone())) })
    }

    fn resume<'a>(&'a self, budget: &'a BudgetName) -> BoxFuture<'a, Result<(), LedgerError>> {
        let known = self.with(|state| {
            let book = state.books.get_mut(budget);
            book.map(|book| (book.paused, book.upstream) = (None, Vec::new())).is_some()
        });
        let kind = EventKind::Resumed { scope: "budget".into() };
        self.announce(LedgerEvent { budget: budget.clone(), kind });
        Box::pin(async move { known.then_some(()).ok_or_else(|| LedgerError::UnknownBudget(budget.clone())) })
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(async { self.reach() })
    }

    fn trouble(&self) -> Option<Trouble> {
        let since = *self.trouble.lock().unwrap();
        since.map(|since| Trouble { cause: "cut off".to_owned(), lasts: since.elapsed() })
    }

    fn events(&self) -> BoxStream<LedgerEvent> {
        let events = self.events.subscribe();
        Box::pin(stream::unfold(events, |mut events| async move {
            loop {
                match events.recv().await {
                    Ok(event) => return Some((event, events)),
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return None,
                }
            }
        }))
    }
}
