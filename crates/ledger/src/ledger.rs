//! The [`Ledger`] over scripts: every decision is one script call on whichever engine hosts it.

use std::{
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bursar_quota::{
    BoxFuture, BoxStream, BudgetName, BudgetSpec, Clock, Commit, CommitReply, EventKind, Eviction, Ledger,
    LedgerError, LedgerEvent, Put, StoreCalls, Stored, Trouble,
};
use futures_util::{StreamExt, stream};

use crate::{
    HostError, Reply, Script, ScriptCall, ScriptHost,
    codec::{
        Keys, Reader, decode_commit, decode_event, decode_recover, decode_stored, encode_commit, encode_get,
        encode_put, encode_recover,
    },
    memory::{Commits, Memory},
    scripts,
};

/// How often in a row one commit finds that the store has lost something before it is given up.
const LOSSES_A_COMMIT: u32 = 3;

/// Budgets that a store is told of at once what is remembered.
const TOLD_AT_ONCE: usize = 64;

/// The same, of budgets that were not used of late, beside the commits of callers.
const TOLD_BESIDE: usize = 4;

/// Whether a call waits while the engine's server is another one.
#[derive(Debug, Clone, Copy)]
enum Turn {
    Usual,
    Ahead,
}

/// The ledger on a script host.
pub struct ScriptLedger<H> {
    host: H,
    keys: Keys,
    memory: Arc<Memory>,
    scripts_run: AtomicU64,
    /// How often the store was found to know less than this replica.
    losses: AtomicU64,
}

impl<H: fmt::Debug> fmt::Debug for ScriptLedger<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptLedger").field("host", &self.host).field("keys", &self.keys).finish()
    }
}

impl<H: ScriptHost> ScriptLedger<H> {
    /// A ledger whose keys begin with `prefix` (`bursar:` by habit). Ledgers of one deployment share it. By `clock` it
    /// tells when the store's time jumps ahead.
    pub fn new(host: H, prefix: &str, clock: Arc<dyn Clock>) -> Self {
        Self {
            host,
            keys: Keys::new(prefix),
            memory: Arc::new(Memory::new(clock)),
            scripts_run: AtomicU64::new(0),
            losses: AtomicU64::new(0),
        }
    }

    async fn commit_in(
        &self,
        turn: Turn,
        budget: &BudgetName,
        commit: &Commit,
    ) -> Result<CommitReply, LedgerError> {
        for _ in 0..LOSSES_A_COMMIT {
            let sent = self.memory.now();
            let witness = self.memory.witness(budget, &commit.replica, sent);
            let call = encode_commit(&self.keys, budget, commit, &witness);
            match self.run_on_host(turn, scripts::commit(), call).await {
                Err(HostError::Script { code, .. }) if code == "LOST" => {
                    tracing::warn!(%budget, "the store lost what it knew of the budget; it is being learned again");
                    self.recover(turn, budget, commit).await?;
                }
                Err(HostError::Script { code, .. }) if code == "FORGOTTEN" => {
                    // Whoever declares it next must find what was lost.
                    tracing::warn!(%budget, "the store has forgotten the budget's declaration, which nobody deleted");
                    self.recover(turn, budget, commit).await?;
                    return Err(LedgerError::Forgotten(budget.clone()));
                }
                Err(error) => return Err(of_budget(budget, error)),
                Ok(reply) => {
                    let (reply, told) = decode_commit(reply)?;
                    self.memory.learn(budget, commit, &witness, told, sent);
                    let resent = self.memory.now().saturating_sub(sent) >= self.host.resends_after();
                    return Ok(CommitReply { resent, ..reply });
                }
            }
        }
        let cause = "the store loses what it is told".to_owned();
        Err(LedgerError::Unavailable { cause, retry_after: Duration::from_secs(1) })
    }

    /// Tells the store what it no longer knows of a budget, and remembers how the budget goes on there.
    async fn recover(&self, turn: Turn, budget: &BudgetName, commit: &Commit) -> Result<(), LedgerError> {
        self.losses.fetch_add(1, Ordering::Relaxed);
        let Some(told) = self.memory.told(budget) else { return Ok(()) };
        let witness = self.memory.witness(budget, &commit.replica, self.memory.now());
        let call = encode_recover(&self.keys, budget, &told, &witness, commit.jitter);
        let reply = self.run_on_host(turn, scripts::recover(), call).await;
        let (incarnation, seq, now_ms) = decode_recover(reply.map_err(|error| of_budget(budget, error))?)?;
        self.memory.adopt(budget, incarnation, seq, now_ms);
        Ok(())
    }

    /// Tells the store what is remembered of all budgets that were used of late, whenever its server is another one: who
    /// granted what that does not know of may have nothing to ask, and others would be granted it again. Where that shows a
    /// loss, the rest is told as well, while others go on. Ends with the ledger.
    pub async fn attest(ledger: Weak<Self>) {
        let Some(mut moves) = ledger.upgrade().map(|ledger| ledger.host.moves()) else { return };
        let mut moved = moves.next().await;
        while let (Some(()), Some(ledger)) = (moved, ledger.upgrade()) {
            let recent = ledger.memory.recent();
            let told = recent.iter().map(|(budget, _)| budget.clone()).collect();
            let losses = ledger.losses.load(Ordering::Relaxed);
            ledger.tell(Turn::Ahead, TOLD_AT_ONCE, recent).await;
            if ledger.losses.load(Ordering::Relaxed) > losses {
                let rest = ledger.memory.all_but(&told);
                tokio::select! {
                    biased;
                    again = moves.next() => {
                        moved = again;
                        continue;
                    }
                    () = ledger.tell(Turn::Usual, TOLD_BESIDE, rest) => {}
                }
            }
            drop(ledger);
            moved = moves.next().await;
        }
    }

    async fn tell(&self, turn: Turn, at_once: usize, commits: Commits) {
        let telling = stream::iter(commits).for_each_concurrent(at_once, async |(budget, commit)| {
            // Whoever uses the budget next is told of an error.
            if let Err(error) = self.commit_in(turn, &budget, &commit).await {
                tracing::debug!(%budget, %error, "the store was not told what is remembered");
            }
        });
        telling.await;
    }

    /// The engine below.
    pub fn host(&self) -> &H {
        &self.host
    }

    async fn run(
        &self,
        budget: &BudgetName,
        script: &'static Script,
        call: ScriptCall,
    ) -> Result<Reply, LedgerError> {
        self.run_on_host(Turn::Usual, script, call).await.map_err(|error| of_budget(budget, error))
    }

    async fn run_on_host(
        &self,
        turn: Turn,
        script: &'static Script,
        call: ScriptCall,
    ) -> Result<Reply, HostError> {
        self.scripts_run.fetch_add(1, Ordering::Relaxed);
        match turn {
            Turn::Usual => self.host.run(script, call).await,
            Turn::Ahead => self.host.run_ahead(script, call).await,
        }
    }

    fn call(&self, budget: &BudgetName, parts: &[&str], args: &[&str]) -> ScriptCall {
        let channel = self.keys.channel();
        let args = [budget.as_str(), &channel].into_iter().chain(args.iter().copied());
        ScriptCall {
            keys: self.keys.all(budget, parts),
            args: args.map(|arg| arg.as_bytes().to_vec()).collect(),
        }
    }

    fn index(&self, what: &str, name: &str, most: &str) -> ScriptCall {
        ScriptCall {
            keys: vec![self.keys.names()],
            args: [what, name, most].into_iter().map(|arg| arg.as_bytes().to_vec()).collect(),
        }
    }
}

/// An error of a call that is about no budget.
fn unexpected(error: HostError) -> LedgerError {
    match error {
        HostError::Unavailable { cause, retry_after } => LedgerError::Unavailable { cause, retry_after },
        HostError::Script { code, message } => LedgerError::Corrupt(format!("{code} {message}")),
    }
}

/// An error of a call about `budget`.
fn of_budget(budget: &BudgetName, error: HostError) -> LedgerError {
    match &error {
        HostError::Script { code, .. } if code == "NOBUDGET" => LedgerError::UnknownBudget(budget.clone()),
        HostError::Script { code, message } if code == "STALE" => match message.trim().parse() {
            Ok(version) => LedgerError::StaleSpec { budget: budget.clone(), version },
            Err(_) => unexpected(error),
        },
        _ => unexpected(error),
    }
}

impl<H: ScriptHost> Ledger for ScriptLedger<H> {
    fn commit<'a>(
        &'a self,
        budget: &'a BudgetName,
        commit: &'a Commit,
    ) -> BoxFuture<'a, Result<CommitReply, LedgerError>> {
        Box::pin(self.commit_in(Turn::Usual, budget, commit))
    }

    fn put<'a>(&'a self, spec: &'a BudgetSpec) -> BoxFuture<'a, Result<Put, LedgerError>> {
        Box::pin(async move {
            let name = &spec.name;
            self.run(name, scripts::index(), self.index("add", name.as_str(), "0")).await?;
            let mut reply =
                Reader::new("put", self.run(name, scripts::put(), encode_put(&self.keys, spec)?).await?)?;
            Ok(Put { version: reply.num()?, changed: reply.num::<u8>()? == 1 })
        })
    }

    fn get<'a>(&'a self, budget: &'a BudgetName) -> BoxFuture<'a, Result<Option<Stored>, LedgerError>> {
        Box::pin(async move {
            match self.run(budget, scripts::get(), encode_get(&self.keys, budget)).await {
                Ok(reply) => decode_stored(reply).map(Some),
                Err(LedgerError::UnknownBudget(_)) => Ok(None),
                Err(error) => Err(error),
            }
        })
    }

    fn knows<'a>(&'a self, budget: &'a BudgetName) -> BoxFuture<'a, Result<bool, LedgerError>> {
        Box::pin(async move {
            let call = ScriptCall { keys: self.keys.all(budget, &["spec"]), args: Vec::new() };
            Ok(self.run(budget, scripts::knows(), call).await? == Reply::Int(1))
        })
    }

    fn list<'a>(
        &'a self,
        after: Option<&'a BudgetName>,
        most: usize,
    ) -> BoxFuture<'a, Result<Vec<BudgetName>, LedgerError>> {
        Box::pin(async move {
            let after = after.map_or("", BudgetName::as_str);
            let call = self.index("list", after, &most.to_string());
            let reply = self.run_on_host(Turn::Usual, scripts::index(), call).await.map_err(unexpected)?;
            let mut reader = Reader::new("list", reply)?;
            let mut names = Vec::with_capacity(reader.left());
            while reader.left() > 0 {
                let name = reader.text()?;
                names.push(BudgetName::new(&name).map_err(|error| LedgerError::Corrupt(error.to_string()))?);
            }
            Ok(names)
        })
    }

    fn delete<'a>(&'a self, budget: &'a BudgetName) -> BoxFuture<'a, Result<bool, LedgerError>> {
        Box::pin(async move {
            let call = self.call(budget, &["spec", "state", "pause", "use", "wait", "asked0", "asked1"], &[]);
            let reply = self.run(budget, scripts::delete(), call).await?;
            self.run(budget, scripts::index(), self.index("remove", budget.as_str(), "0")).await?;
            self.memory.forget(budget);
            Ok(reply == Reply::Int(1))
        })
    }

    fn pause<'a>(
        &'a self,
        budget: &'a BudgetName,
        span: Option<Duration>,
    ) -> BoxFuture<'a, Result<(), LedgerError>> {
        Box::pin(async move {
            let span = span.map_or_else(|| "-".to_owned(), |span| span.as_millis().to_string());
            let call = self.call(budget, &["spec", "state", "pause"], &[&span]);
            self.run(budget, scripts::pause(), call).await.map(drop)
        })
    }

    fn resume<'a>(&'a self, budget: &'a BudgetName) -> BoxFuture<'a, Result<(), LedgerError>> {
        Box::pin(async move {
            let call = self.call(budget, &["spec", "state", "pause"], &[]);
            self.run(budget, scripts::resume(), call).await.map(drop)
        })
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(async move { self.host.ready().await.map_err(unexpected) })
    }

    fn events(&self) -> BoxStream<LedgerEvent> {
        let memory = Arc::clone(&self.memory);
        Box::pin(self.host.announcements().filter_map(move |payload| {
            let event = decode_event(&payload);
            if let Some(LedgerEvent { budget, kind: EventKind::Deleted }) = &event {
                memory.forget(budget);
            }
            async move { event }
        }))
    }

    fn trouble(&self) -> Option<Trouble> {
        self.host.trouble()
    }

    fn eviction(&self) -> Eviction {
        self.host.eviction()
    }

    fn store_calls(&self) -> StoreCalls {
        StoreCalls { scripts: self.scripts_run.load(Ordering::Relaxed), round_trips: self.host.round_trips() }
    }
}
