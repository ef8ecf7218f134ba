//! What workers were given and when, noted between the fleet and the SDK.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bursar_client::{AcquireError, AcquireOptions, Client, Outcome, Permit, Session};
use bursar_quota::{Clock, SystemClock};
use bursar_sim::fleet::{Ask, Broker, NotGranted};

/// The most failures whose text is kept.
const TEXTS: usize = 8;

/// What happened to the fleet so far. Times are of one monotonic clock.
#[derive(Debug, Default)]
pub struct Book {
    clock: SystemClock,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    grants: Vec<Duration>,
    ids: HashSet<String>,
    doubled: u64,
    failed: u64,
    texts: Vec<String>,
    refused: u64,
    unsettled: u64,
    longest_wait: Duration,
}

/// Counts of a [`Book`].
#[derive(Debug, Clone, Default)]
pub(crate) struct Counts {
    pub(crate) grants: Vec<Duration>,
    pub(crate) doubled: u64,
    pub(crate) failed: u64,
    pub(crate) texts: Vec<String>,
    pub(crate) refused: u64,
    pub(crate) unsettled: u64,
    pub(crate) longest_wait: Duration,
}

impl Book {
    /// Now.
    pub fn now(&self) -> Duration {
        self.clock.monotonic()
    }

    /// How many permits were granted after this moment.
    pub fn granted_after(&self, moment: Duration) -> usize {
        let kept = self.kept();
        kept.grants.iter().rev().take_while(|at| **at > moment).count()
    }

    /// When the first permit was granted after this moment.
    pub fn first_after(&self, moment: Duration) -> Option<Duration> {
        self.kept().grants.iter().find(|at| **at > moment).copied()
    }

    /// The failures so far, shortly.
    pub fn failures(&self) -> Vec<String> {
        self.kept().texts.clone()
    }

    pub(crate) fn counts(&self) -> Counts {
        let kept = self.kept();
        Counts {
            grants: kept.grants.clone(),
            doubled: kept.doubled,
            failed: kept.failed,
            texts: kept.texts.clone(),
            refused: kept.refused,
            unsettled: kept.unsettled,
            longest_wait: kept.longest_wait,
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a worker asks.
#[derive(Clone)]
pub(crate) enum Asker {
    Unary(Client),
    Session(Session),
}

/// One worker's way to Bursar.
#[derive(Clone)]
pub(crate) struct Noted {
    asker: Asker,
    book: Arc<Book>,
    /// Since when it waits, failures in between included.
    since: Arc<Mutex<Option<Duration>>>,
}

impl Noted {
    /// For one worker alone.
    pub(crate) fn new(asker: Asker, book: Arc<Book>) -> Self {
        Self { asker, book, since: Arc::default() }
    }

    fn note(&self, since: Duration, answer: &Result<Permit, AcquireError>) {
        let mut kept = self.book.kept();
        // Read under the lock, so that grants are noted in their order.
        let now = self.book.now();
        kept.longest_wait = kept.longest_wait.max(now.saturating_sub(since));
        match answer {
            Ok(permit) => {
                kept.grants.push(now);
                if !kept.ids.insert(permit.id().to_owned()) {
                    kept.doubled += 1;
                }
            }
            Err(AcquireError::Refused(_)) => kept.refused += 1,
            Err(error) => {
                kept.failed += 1;
                if kept.texts.len() < TEXTS {
                    kept.texts.push(error.to_string());
                }
            }
        }
    }
}

impl Broker for Noted {
    type Permit = Permit;

    async fn acquire(&self, ask: Ask, riding: Option<(Permit, Outcome)>) -> Result<Permit, NotGranted> {
        let options = AcquireOptions::new(ask.budget).max_wait(ask.max_wait);
        let since = {
            let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
            *since.get_or_insert_with(|| self.book.now())
        };
        // By itself, so that the end of the fleet drops no call under way: its permit might be on the way to nobody, and
        // would be counted as lost to the fault. What comes then is dropped, which settles it.
        let asker = self.asker.clone();
        let asking = tokio::spawn(async move {
            match (riding, asker) {
                (Some((permit, outcome)), _) => permit.settle_and_acquire(outcome, options).await.permit,
                (None, Asker::Unary(client)) => client.acquire(options).await,
                (None, Asker::Session(session)) => session.acquire(options).await,
            }
        });
        let answer = asking.await.expect("an acquire does not panic");
        self.note(since, &answer);
        if answer.is_ok() {
            self.since.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
        Ok(answer?)
    }

    fn is_sendable(&self, permit: &Permit) -> bool {
        permit.is_sendable()
    }

    async fn settle(&self, permit: Permit, outcome: Outcome) -> bool {
        let told = permit.settle_as(outcome).await.is_ok();
        if !told {
            self.book.kept().unsettled += 1;
        }
        told
    }
}
