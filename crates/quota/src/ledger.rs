//! The truth behind the lanes, as a trait.

use std::{fmt, future::Future, pin::Pin, time::Duration};

use futures_core::Stream;

use crate::{BudgetName, BudgetSnapshot, BudgetSpec, Commit, CommitReply, LedgerEvent};

/// A future that a ledger returns.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A stream that a ledger returns.
pub type BoxStream<T> = Pin<Box<dyn Stream<Item = T> + Send>>;

/// Why the ledger gave no answer. A refusal is an answer, not one of these.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// No budget has this name.
    #[error("no budget is named {0}")]
    UnknownBudget(BudgetName),
    /// There was a budget of this name, the store no longer knows its declaration, and nobody deleted it.
    #[error("the store has forgotten the budget {0}, which nobody deleted")]
    Forgotten(BudgetName),
    /// The commit was made from another version of the specification; nothing was done. Read it again.
    #[error("the specification of {budget} is now at version {version}")]
    StaleSpec {
        /// Whose.
        budget: BudgetName,
        /// The version that is in force.
        version: u64,
    },
    /// The store could not be reached, is read-only, loading or out of memory, or did not answer in time.
    #[error("the store is unavailable ({cause}); try again in {} ms", retry_after.as_millis())]
    Unavailable {
        /// What happened, without secrets.
        cause: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// The store holds or answered something that no script of ours writes.
    #[error("the store answered what it should not: {0}")]
    Corrupt(String),
}

/// A store that could last not be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Why, without secrets.
    pub cause: String,
    /// For how long, since that was found.
    pub lasts: Duration,
}

/// What a put did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Put {
    /// The version in force, from 1.
    pub version: u64,
    /// Whether anything changed: putting an equal specification changes nothing.
    pub changed: bool,
}

/// A budget as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// As put.
    pub spec: BudgetSpec,
    /// The version in force.
    pub version: u64,
    /// As it stands.
    pub snapshot: BudgetSnapshot,
}

/// What a ledger has asked of its store since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoreCalls {
    /// Runs of scripts that were asked for, each once however often it was tried.
    pub scripts: u64,
    /// Commands that were sent over a network, tries and looks at its health included; 0 where the store is in this process.
    pub round_trips: u64,
}

/// Whether a store may forget what it was told, for want of memory. Displayed, it says what to do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Eviction {
    /// It could not be asked yet.
    #[default]
    Unknown,
    /// It refuses writes instead.
    Never,
    /// It may: by which policy.
    May {
        /// The policy, such as `allkeys-lru`.
        policy: String,
        /// How many keys it has evicted so far, of whomever; 0 where it does not say.
        evicted: u64,
    },
    /// It does not say.
    Unseen {
        /// Why, without secrets.
        cause: String,
    },
}

impl fmt::Display for Eviction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("whether the store may evict is not known yet"),
            Self::Never => f.write_str("the store evicts nothing"),
            Self::May { policy, evicted } => {
                write!(
                    f,
                    "the store's maxmemory-policy is {policy}: it may evict budgets and permits, which stops grants \
                     until they are learned again; set it to noeviction"
                )?;
                match evicted {
                    0 => Ok(()),
                    _ => write!(f, " (evicted since it started: {evicted} keys)"),
                }
            }
            Self::Unseen { cause } => write!(
                f,
                "whether the store may evict could not be seen ({cause}): allow INFO to this user, or make sure that \
                 maxmemory-policy is noeviction"
            ),
        }
    }
}

/// Where grants are decided and remembered. Every method is one decision: it happens wholly or not at all, and a
/// retry of the same call changes nothing more.
pub trait Ledger: fmt::Debug + Send + Sync + 'static {
    /// Settles, renews, grants.
    fn commit<'a>(
        &'a self,
        budget: &'a BudgetName,
        commit: &'a Commit,
    ) -> BoxFuture<'a, Result<CommitReply, LedgerError>>;

    /// Declares a budget, or changes its declaration; what weighs stays.
    fn put<'a>(&'a self, spec: &'a BudgetSpec) -> BoxFuture<'a, Result<Put, LedgerError>>;

    /// Reads a budget; `None` if there is none of this name.
    fn get<'a>(&'a self, budget: &'a BudgetName) -> BoxFuture<'a, Result<Option<Stored>, LedgerError>>;

    /// Whether there is a budget of this name: whether [`Self::get`] would find one, for less where that can be.
    fn knows<'a>(&'a self, budget: &'a BudgetName) -> BoxFuture<'a, Result<bool, LedgerError>> {
        Box::pin(async move { Ok(self.get(budget).await?.is_some()) })
    }

    /// Names of budgets in order, after `after`, at most `most`.
    fn list<'a>(
        &'a self,
        after: Option<&'a BudgetName>,
        most: usize,
    ) -> BoxFuture<'a, Result<Vec<BudgetName>, LedgerError>>;

    /// Forgets a budget; whether there was one.
    fn delete<'a>(&'a self, budget: &'a BudgetName) -> BoxFuture<'a, Result<bool, LedgerError>>;

    /// Stops all grants of a budget, for a time or until it is resumed.
    fn pause<'a>(
        &'a self,
        budget: &'a BudgetName,
        span: Option<Duration>,
    ) -> BoxFuture<'a, Result<(), LedgerError>>;

    /// Ends all pauses of a budget, the upstream's as well.
    fn resume<'a>(&'a self, budget: &'a BudgetName) -> BoxFuture<'a, Result<(), LedgerError>>;

    /// Whether the store can be written now, within a bounded time.
    fn ready(&self) -> BoxFuture<'_, Result<(), LedgerError>>;

    /// What scripts announce from now on, on any replica. Hints: some may be lost, and the stream ends only with the
    /// ledger.
    fn events(&self) -> BoxStream<LedgerEvent>;

    /// Why the store could last not be reached; `None`: it could, or nobody has tried. A hint, which asks nobody and may be
    /// some seconds old.
    fn trouble(&self) -> Option<Trouble> {
        None
    }

    /// Whether its store may forget what it was told, as far as was seen.
    fn eviction(&self) -> Eviction {
        Eviction::Never
    }

    /// What it has asked of its store; zero where nobody counts.
    fn store_calls(&self) -> StoreCalls {
        StoreCalls::default()
    }
}
