//! A replica's way to the store: slow, lossy, cut off, or dead. It finds out, as the driver of a real server does, that the
//! store is another server than before, tells that what the replica remembers, and holds back everything else meanwhile.

use std::{
    borrow::Cow,
    fmt,
    future::pending,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::Duration,
};

use bursar_ledger::{HostError, Reply, Script, ScriptCall, ScriptHost, ScriptLedger, codec::decode_commit};
use bursar_quota::{
    BoxFuture, BoxStream, BudgetName, BudgetSpec, Clock, Commit, CommitReply, Ledger, LedgerError,
    LedgerEvent, Put, SettleGroup, SettleKind, Stored,
};
use futures_util::{StreamExt, stream};
use tokio::sync::watch;

use super::{
    book::{CLOCK_DOUBT, Ran},
    dice::Dice,
    exact,
    plan::Millis,
    replica::Life,
    store::PREFIX,
    world::World,
};

/// What a store that cannot be reached costs before a replica gives up on a call.
const GIVES_UP_AFTER: Duration = Duration::from_millis(500);
/// When it is told to come back.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// Within so long a replica looks for a store that it lost, in ms; and so long it holds calls back that tell nothing of what it
/// remembers, where the store is another server.
const RETURN: u64 = 300;
const HOLD: Duration = Duration::from_millis(500);
/// After so long a call that is not answered is sent once more; and the first may be on its way for so long still, in ms.
const RESENDS_AFTER: Duration = Duration::from_millis(250);
const STUCK: u64 = 2_000;
/// Announcements on their way to a replica at once.
const ON_THEIR_WAY: usize = 256;
/// Of a thousand commits that refused: looked at whether the time that was named is exact.
const EXACT_CHECKED: u32 = 20;

/// The store as one life of one replica reaches it.
struct Way {
    world: Arc<World>,
    replica: usize,
    life: Arc<Life>,
    dice: Mutex<Dice>,
    /// Which refusals are looked at more closely; draws of its own, so that looking changes nothing.
    looks: Mutex<Dice>,
    /// Which calls are stuck and sent once more, and for how long.
    stuck: Mutex<Dice>,
    /// Commits that are under way: one a lane.
    commits: Mutex<Vec<(BudgetName, Arc<Commit>)>>,
    /// Which server it met last, and until when calls are held back there.
    met: Mutex<(u64, Duration)>,
    /// Changes each time that it meets another.
    moved: watch::Sender<u64>,
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Way").field("replica", &self.replica).finish_non_exhaustive()
    }
}

/// The way as a host of scripts.
#[derive(Debug)]
struct Wire(Arc<Way>);

/// The ledger as one life of one replica knows it: its own memory, and its own way to the store.
#[derive(Debug)]
pub(crate) struct Link {
    ledger: Arc<ScriptLedger<Wire>>,
}

/// A call on its way, and the commit that it carries.
#[derive(Clone)]
struct Sent {
    script: &'static Script,
    call: ScriptCall,
    commit: Option<(BudgetName, Arc<Commit>)>,
    at: Duration,
}

/// What becomes of one call.
struct Fate {
    there: Duration,
    back: Duration,
    call_lost: bool,
    reply_lost: bool,
}

fn unavailable(cause: &str) -> HostError {
    HostError::Unavailable { cause: cause.to_owned(), retry_after: RETRY_AFTER }
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Link {
    pub(crate) fn new(world: Arc<World>, replica: usize, life: Arc<Life>) -> Self {
        let number = (replica as u64) << 32 | life.number;
        let (dice, looks, stuck) =
            (world.dice("link", number), world.dice("looks", number), world.dice("stuck", number));
        let clock: Arc<dyn Clock> = world.clock.clone();
        let commits = Mutex::default();
        let server = *world.server.borrow();
        let way = Arc::new(Way {
            world,
            replica,
            life,
            dice: Mutex::new(dice),
            looks: Mutex::new(looks),
            stuck: Mutex::new(stuck),
            commits,
            met: Mutex::new((server, Duration::ZERO)),
            moved: watch::Sender::new(server),
        });
        let ledger = Arc::new(ScriptLedger::new(Wire(Arc::clone(&way)), PREFIX, clock));
        // As `bursar serve` does. Both end with the replica.
        let (life, attests) = (Arc::clone(&way.life), ScriptLedger::attest(Arc::downgrade(&ledger)));
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = life.ended.cancelled() => {}
                () = attests => {}
                () = way.look_for_servers(number) => {}
            }
        });
        Self { ledger }
    }
}

impl Way {
    fn range(&self) -> &Millis {
        let network = &self.world.scenario.network;
        network.replicas.get(self.replica).map_or(&network.replica_store, |plan| &plan.replica_store)
    }

    fn fate(&self) -> Fate {
        let mut dice = lock(&self.dice);
        let faults = &self.world.scenario.faults;
        Fate {
            there: self.world.way(&mut dice, self.range()),
            back: self.world.way(&mut dice, self.range()),
            call_lost: self.world.goes_wrong(&mut dice, faults.call_lost),
            reply_lost: self.world.goes_wrong(&mut dice, faults.reply_lost),
        }
    }

    /// Whether a call is stuck, and for how long.
    fn sticks(&self) -> Option<Duration> {
        let mut dice = lock(&self.stuck);
        let sticks = self.world.goes_wrong(&mut dice, self.world.scenario.faults.doubled);
        sticks.then(|| Duration::from_millis(dice.within(&(0..=STUCK))))
    }

    /// Whether nothing gets through now.
    fn is_cut(&self) -> bool {
        self.world.store_down.load(Ordering::Relaxed) > 0
            || self.world.replicas[self.replica].is_cut_from_store()
    }

    /// Comes back to a store that it lost, whether or not it has something to send.
    async fn look_for_servers(&self, number: u64) {
        let (mut servers, mut dice) = (self.world.server.subscribe(), self.world.dice("return", number));
        while servers.changed().await.is_ok() {
            self.world.pass(Duration::from_millis(dice.within(&(0..=RETURN)))).await;
            while self.is_cut() {
                self.world.pass(Duration::from_millis(RETURN)).await;
            }
            self.meet();
        }
    }

    /// Whoever reaches another server than before has what is remembered told there: until when all else is held back.
    fn meet(&self) -> Duration {
        let (server, now) = (*self.world.server.borrow(), self.world.now());
        let mut met = lock(&self.met);
        if met.0 != server && !self.is_cut() {
            *met = (server, now + HOLD);
            self.note(format_args!("finds another server"));
            self.moved.send_replace(server);
        }
        met.1
    }

    /// A dead replica hears nothing more.
    async fn unless_dead(&self) {
        if self.life.ended.is_cancelled() {
            pending::<()>().await;
        }
    }

    /// Takes a call to the store and its answer back, as far as its fate allows. What was sent arrives, whatever becomes of
    /// the replica; one that waits too long goes on without its answer.
    async fn carry(self: &Arc<Self>, message: Sent) -> Result<Reply, HostError> {
        let script = message.script;
        self.unless_dead().await;
        let Fate { there, back, call_lost, reply_lost } = self.fate();
        let sent = self.world.now();
        if there + back >= GIVES_UP_AFTER {
            let way = Arc::clone(self);
            tokio::spawn(async move {
                way.world.pass(there).await;
                if !call_lost && !way.is_cut() {
                    // Nobody hears the answer.
                    let _ = way.ask(message).await;
                }
            });
            return self.give_up(sent, script.name, "its answer is late").await;
        }
        if let Some(for_longer) = self.sticks() {
            // As a driver does that waits in vain: the call goes over another connection, and the first may get there all the same.
            let (way, first) = (Arc::clone(self), message.clone());
            tokio::spawn(async move {
                way.world.pass(there + for_longer).await;
                if !way.is_cut() {
                    // Nobody hears the answer.
                    let _ = way.ask(first).await;
                }
            });
            self.world.pass(RESENDS_AFTER).await;
        }
        self.world.pass(there).await;
        if call_lost || self.is_cut() {
            return self.give_up(sent, script.name, "it did not run").await;
        }
        let result = self.ask(message).await;
        self.world.pass(back).await;
        self.unless_dead().await;
        if reply_lost || self.is_cut() {
            return self.give_up(sent, script.name, "its reply was lost").await;
        }
        result
    }

    async fn give_up<T>(&self, sent: Duration, what: &str, cause: &str) -> Result<T, HostError> {
        self.world.until(sent + GIVES_UP_AFTER).await;
        self.unless_dead().await;
        self.world.note(format_args!("r{}", self.replica), format_args!("{what} failed: {cause}"));
        Err(unavailable(cause))
    }

    /// A commit ran: what is seen of it at the store.
    fn seen(
        &self,
        budget: &BudgetName,
        commit: &Commit,
        reply: &CommitReply,
        (by_store, is_late): (Duration, bool),
    ) {
        let world = &self.world;
        let Some(at) = world.scenario.budgets.iter().position(|plan| plan.spec.name == *budget) else {
            return;
        };
        let granted: u64 = reply.decisions.iter().map(|decision| u64::from(decision.granted)).sum();
        let lease = commit.acquires.first().map_or(0, |group| group.lease.0);
        let (available, out, _) = reply.limits.first().copied().unwrap_or_default();
        let refusal = reply.decisions.iter().find_map(|decision| decision.refusal.as_ref());
        let why = refusal.map_or_else(String::new, |refusal| format!(", {refusal}"));
        world.note(
            format_args!("r{}", self.replica),
            format_args!(
                "commits to {budget}: settles {}, renews {}, asks {}, {granted} granted, {available} left, {out} out, {:x}{why}",
                commit.settles.len(),
                commit.renews.len(),
                commit.acquires.len(),
                lease >> 96
            ),
        );
        let gives_back =
            |group: &&SettleGroup| matches!(group.kind, SettleKind::NotSent | SettleKind::Unclaimed);
        for group in commit.settles.iter().filter(gives_back) {
            self.note(format_args!("gives back {}: {:?} ({:?})", group.lease, group.indexes, group.kind));
        }
        let Some(usage) = world.store().usage() else { return };
        world.book().committed(world.now(), &Ran { budget: at, commit, reply, usage, by_store });
        if !is_late && reply.decisions.iter().any(|decision| decision.refusal.is_some()) {
            let mut looks = lock(&self.looks);
            if looks.happens(EXACT_CHECKED) {
                exact::check(world, at, commit, reply, &mut looks);
            }
        }
    }
}

impl Way {
    /// The commit that a call carries.
    fn commit_of(&self, script: &Script, call: &ScriptCall) -> Option<(BudgetName, Arc<Commit>)> {
        let name = budget_of(call);
        let commits = lock(&self.commits);
        let found = commits.iter().find(|(budget, _)| script.name == "commit" && budget.as_str() == name);
        found.cloned()
    }

    async fn ask(&self, sent: Sent) -> Result<Reply, HostError> {
        let Sent { script, call, commit, at } = sent;
        let told = matches!(script.name, "put" | "recover").then(|| budget_of(&call).into_owned());
        let reply = self.world.store().run(script, call).await;
        let reply =
            reply.inspect_err(|error| self.world.book().failed(self.world.now(), script.name, error))?;
        if let Some(budget) = told {
            self.note(format_args!("runs {} of {budget}", script.name));
        }
        let Some((budget, commit)) = commit else { return Ok(reply) };
        match decode_commit(reply.clone()) {
            Ok((reply, told)) => {
                // What was under way for longer ran by the time at which it should have been there: the spans it tells are longer.
                let is_late = self.world.now().saturating_sub(at) >= CLOCK_DOUBT / 2;
                self.seen(&budget, &commit, &reply, (Duration::from_millis(told.now_ms), is_late));
            }
            Err(error) => self.world.book().unread(self.world.now(), &error),
        }
        Ok(reply)
    }

    fn note(&self, what: fmt::Arguments<'_>) {
        self.world.note(format_args!("r{}", self.replica), what);
    }
}

/// The budget that a call is about: its first argument.
fn budget_of(call: &ScriptCall) -> Cow<'_, str> {
    call.args.first().map_or(Cow::Borrowed("-"), |name| String::from_utf8_lossy(name))
}

impl ScriptHost for Wire {
    fn run<'a>(
        &'a self,
        script: &'static Script,
        call: ScriptCall,
    ) -> BoxFuture<'a, Result<Reply, HostError>> {
        Box::pin(async move {
            let way = &self.0;
            way.world.until(way.meet()).await;
            let (commit, at) = (way.commit_of(script, &call), way.world.now());
            way.carry(Sent { script, call, commit, at }).await
        })
    }

    fn run_ahead<'a>(
        &'a self,
        script: &'static Script,
        call: ScriptCall,
    ) -> BoxFuture<'a, Result<Reply, HostError>> {
        // What tells of what is remembered is no lane's commit, and asks for nothing.
        Box::pin(self.0.carry(Sent { script, call, commit: None, at: self.0.world.now() }))
    }

    fn moves(&self) -> BoxStream<()> {
        let moved = self.0.moved.subscribe();
        Box::pin(stream::unfold(moved, |mut moved| async move {
            moved.changed().await.ok()?;
            Some(((), moved))
        }))
    }

    fn announcements(&self) -> BoxStream<Vec<u8>> {
        let wire = Arc::clone(&self.0);
        let number = (wire.replica as u64) << 32 | wire.life.number;
        let dice = Arc::new(Mutex::new(wire.world.dice("announcements", number)));
        let carried = self.0.world.store().announcements().map(move |payload| {
            let (wire, dice) = (Arc::clone(&wire), Arc::clone(&dice));
            async move {
                let way = wire.world.way(&mut lock(&dice), wire.range());
                wire.world.pass(way).await;
                // Who is cut off misses it.
                (!wire.is_cut()).then_some(payload)
            }
        });
        Box::pin(carried.buffered(ON_THEIR_WAY).filter_map(|payload| async move { payload }))
    }

    fn resends_after(&self) -> Duration {
        RESENDS_AFTER
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), HostError>> {
        Box::pin(async move {
            match self.0.is_cut() {
                true => Err(unavailable("the store cannot be reached")),
                false => Ok(()),
            }
        })
    }
}

impl Ledger for Link {
    fn commit<'a>(
        &'a self,
        budget: &'a BudgetName,
        commit: &'a Commit,
    ) -> BoxFuture<'a, Result<CommitReply, LedgerError>> {
        Box::pin(async move {
            let way = &self.ledger.host().0;
            {
                let mut commits = lock(&way.commits);
                commits.retain(|(name, _)| name != budget);
                commits.push((budget.clone(), Arc::new(commit.clone())));
            }
            self.ledger.commit(budget, commit).await
        })
    }

    fn put<'a>(&'a self, spec: &'a BudgetSpec) -> BoxFuture<'a, Result<Put, LedgerError>> {
        self.ledger.put(spec)
    }

    fn get<'a>(&'a self, budget: &'a BudgetName) -> BoxFuture<'a, Result<Option<Stored>, LedgerError>> {
        self.ledger.get(budget)
    }

    fn knows<'a>(&'a self, budget: &'a BudgetName) -> BoxFuture<'a, Result<bool, LedgerError>> {
        self.ledger.knows(budget)
    }

    fn list<'a>(
        &'a self,
        after: Option<&'a BudgetName>,
        most: usize,
    ) -> BoxFuture<'a, Result<Vec<BudgetName>, LedgerError>> {
        self.ledger.list(after, most)
    }

    fn delete<'a>(&'a self, budget: &'a BudgetName) -> BoxFuture<'a, Result<bool, LedgerError>> {
        self.ledger.delete(budget)
    }

    fn pause<'a>(
        &'a self,
        budget: &'a BudgetName,
        span: Option<Duration>,
    ) -> BoxFuture<'a, Result<(), LedgerError>> {
        self.ledger.pause(budget, span)
    }

    fn resume<'a>(&'a self, budget: &'a BudgetName) -> BoxFuture<'a, Result<(), LedgerError>> {
        self.ledger.resume(budget)
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), LedgerError>> {
        self.ledger.ready()
    }

    fn events(&self) -> BoxStream<LedgerEvent> {
        self.ledger.events()
    }
}
