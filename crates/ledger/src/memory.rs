//! What this replica remembers of each budget, so that a store that comes back empty or older is found out, and a clock of
//! the store that jumps ahead is not believed.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use bursar_quota::{BudgetName, Clock, Commit, ReplicaName};

use crate::codec::{Remembered, Witness};

/// Budgets kept in each of two generations: what was used least recently goes first. Some 300 bytes a budget.
const BUDGETS_A_GENERATION: usize = 65_536;

/// How far beyond this replica's own clock the store's may seem to be: a call may be under way for so long.
const UNDER_WAY: Duration = Duration::from_secs(2);

/// A budget that was committed to so long before the latest of all commits is not among those whose last writes a store may
/// have lost: no server that is so far behind should be promoted.
const RECENT: Duration = Duration::from_secs(10);

/// The most budgets that are told a store at once which may have lost them: of three replicas, what it does in half a second.
const MAX_RECENT: usize = 512;

/// How far the two clocks may drift apart in a second: 200 microseconds.
const DRIFT: u32 = 5_000;

#[derive(Debug, Clone)]
struct Known {
    told: Remembered,
    /// The least that the store's time was seen ahead of this replica's, in ms, and when that was.
    ahead_ms: i64,
    since: Duration,
    /// The most that it was ahead when a reply had come, and when that was.
    at_least_ms: i64,
    at_least_since: Duration,
    /// The latest commit, and when its reply had come.
    latest: Latest,
    at: Duration,
}

/// What a commit said of its replica, and what another could say.
#[derive(Debug, Clone, Copy)]
struct Latest {
    spec_version: u64,
    waiting: u64,
    jitter: f64,
}

impl Latest {
    fn of(commit: &Commit) -> Self {
        Self { spec_version: commit.spec_version, waiting: commit.waiting, jitter: commit.jitter }
    }

    /// The same from `replica`, which asks for nothing.
    fn of_nothing(self, replica: &ReplicaName) -> Commit {
        Commit {
            replica: replica.clone(),
            spec_version: self.spec_version,
            waiting: self.waiting,
            contenders: Vec::new(),
            jitter: self.jitter,
            settles: Vec::new(),
            renews: Vec::new(),
            acquires: Vec::new(),
            looks: Vec::new(),
        }
    }
}

#[derive(Default)]
struct Generations {
    young: HashMap<BudgetName, Known>,
    old: HashMap<BudgetName, Known>,
}

/// Commits of nothing, each to a budget.
pub(crate) type Commits = Vec<(BudgetName, Commit)>;

/// A replica's memory.
pub(crate) struct Memory {
    clock: Arc<dyn Clock>,
    /// Who committed first: under that name the store keeps what this memory was told last.
    name: OnceLock<ReplicaName>,
    known: Mutex<Generations>,
}

fn ms(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

impl Memory {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, name: OnceLock::new(), known: Mutex::default() }
    }

    pub(crate) fn now(&self) -> Duration {
        self.clock.monotonic()
    }

    fn known(&self) -> MutexGuard<'_, Generations> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What to say of a budget with a commit that `replica` makes at `now`.
    pub(crate) fn witness(&self, budget: &BudgetName, replica: &ReplicaName, now: Duration) -> Witness {
        let name = self.name.get_or_init(|| replica.clone()).to_string();
        let mut known = self.known();
        let Some(known) = known.get(budget) else { return Witness { name, ..Witness::default() } };
        let drift = now.saturating_sub(known.since) / DRIFT;
        let slow = now.saturating_sub(known.at_least_since) / DRIFT + Duration::from_millis(1);
        let latest = ms(now) + known.ahead_ms + ms(UNDER_WAY + drift);
        Witness {
            name,
            incarnation: known.told.incarnation.clone(),
            seq: known.told.seq,
            latest_ms: u64::try_from(latest).ok(),
            earliest_ms: u64::try_from(ms(now) + known.at_least_ms - ms(slow)).ok(),
        }
    }

    /// All that is remembered of a budget.
    pub(crate) fn told(&self, budget: &BudgetName) -> Option<Remembered> {
        self.known().get(budget).map(|known| known.told.clone())
    }

    /// Commits of nothing to what was committed to within [`RECENT`] of the latest commit, the latest first, at most
    /// [`MAX_RECENT`].
    pub(crate) fn recent(&self) -> Commits {
        let latest = {
            let known = self.known();
            known.all().map(|(_, known)| known.at).max()
        };
        let Some(latest) = latest else { return Commits::new() };
        let mut recent = self.commits(|_, known| known.at + RECENT >= latest);
        recent.truncate(MAX_RECENT);
        recent
    }

    /// Commits of nothing to all that is remembered, the latest first, but to what is in `told`.
    pub(crate) fn all_but(&self, told: &HashSet<BudgetName>) -> Commits {
        self.commits(|name, _| !told.contains(name))
    }

    fn commits(&self, wanted: impl Fn(&BudgetName, &Known) -> bool) -> Commits {
        let Some(replica) = self.name.get() else { return Commits::new() };
        // Sorted when the lock is free again: commits wait for it.
        let mut found: Vec<_> = self
            .known()
            .all()
            .filter(|(name, known)| wanted(name, known))
            .map(|(name, known)| (known.at, name.clone(), known.latest.of_nothing(replica)))
            .collect();
        found.sort_by(|one, other| (Reverse(one.0), &one.1).cmp(&(Reverse(other.0), &other.1)));
        found.into_iter().map(|(_, name, commit)| (name, commit)).collect()
    }

    /// Takes in what the reply to `commit` told that was made at `sent`, as `witness` said then.
    pub(crate) fn learn(
        &self,
        budget: &BudgetName,
        commit: &Commit,
        witness: &Witness,
        told: Remembered,
        sent: Duration,
    ) {
        let mut generations = self.known();
        let (store, received) = (i64::try_from(told.now_ms).unwrap_or(i64::MAX), self.now());
        let (ahead_ms, at_least_ms) = (store.saturating_sub(ms(sent)), store.saturating_sub(ms(received)));
        match generations.get(budget) {
            Some(known) => {
                // A reply that was long under way must not bring a life back that was replaced meanwhile.
                if known.told.incarnation != witness.incarnation {
                    return;
                }
                (known.latest, known.at) = (Latest::of(commit), received);
                if ahead_ms <= known.ahead_ms {
                    (known.ahead_ms, known.since) = (ahead_ms, sent);
                }
                if at_least_ms >= known.at_least_ms {
                    (known.at_least_ms, known.at_least_since) = (at_least_ms, received);
                }
                if known.told.incarnation != told.incarnation || told.seq > known.told.seq {
                    known.told = told;
                }
            }
            None => {
                let (since, at_least_since) = (sent, received);
                let (latest, at) = (Latest::of(commit), received);
                let known = Known { told, ahead_ms, since, at_least_ms, at_least_since, latest, at };
                generations.put(budget.clone(), known);
            }
        }
    }

    /// The budget lives on as another incarnation.
    pub(crate) fn adopt(&self, budget: &BudgetName, incarnation: String, seq: u64, now_ms: u64) {
        if let Some(known) = self.known().get(budget) {
            (known.told.incarnation, known.told.seq, known.told.now_ms) = (incarnation, seq, now_ms);
        }
    }

    /// The budget was deleted: what it was is of no account.
    pub(crate) fn forget(&self, budget: &BudgetName) {
        let mut known = self.known();
        known.young.remove(budget);
        known.old.remove(budget);
    }
}

impl Generations {
    fn get(&mut self, budget: &BudgetName) -> Option<&mut Known> {
        if let Some(known) = self.old.remove(budget) {
            self.put(budget.clone(), known);
        }
        self.young.get_mut(budget)
    }

    fn put(&mut self, budget: BudgetName, known: Known) {
        if self.young.len() >= BUDGETS_A_GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(budget, known);
    }

    fn all(&self) -> impl Iterator<Item = (&BudgetName, &Known)> {
        self.young.iter().chain(&self.old)
    }
}

#[cfg(test)]
mod tests {
    use bursar_quota::ManualClock;

    use super::*;

    fn replica() -> ReplicaName {
        ReplicaName::new("r").unwrap()
    }

    fn commit() -> Commit {
        Latest { spec_version: 3, waiting: 5, jitter: 0.5 }.of_nothing(&replica())
    }

    fn told(incarnation: &str, seq: u64, now_ms: u64) -> Remembered {
        Remembered { incarnation: incarnation.to_owned(), seq, now_ms, ..Remembered::default() }
    }

    #[test]
    fn the_highest_sequence_of_a_life_is_remembered_and_no_late_reply_brings_an_older_life_back() {
        let clock = ManualClock::at(Duration::from_secs(10));
        let memory = Memory::new(Arc::new(clock.clone()));
        let budget = BudgetName::new("b").unwrap();
        let sent = memory.now();
        let nothing = Witness { name: "r".to_owned(), ..Witness::default() };
        assert_eq!(memory.witness(&budget, &replica(), sent), nothing);
        let nobody = Witness::default();
        memory.learn(&budget, &commit(), &nobody, told("x", 7, 50_000), sent);
        let knows_x = memory.witness(&budget, &replica(), sent);
        assert_eq!((knows_x.incarnation.as_str(), knows_x.seq), ("x", 7));
        memory.learn(&budget, &commit(), &knows_x, told("x", 5, 49_000), sent);
        assert_eq!(memory.witness(&budget, &replica(), sent).seq, 7);
        memory.adopt(&budget, "y".to_owned(), 8, 51_000);
        memory.learn(&budget, &commit(), &knows_x, told("x", 9, 50_500), sent);
        let knows_y = memory.witness(&budget, &replica(), sent);
        assert_eq!((knows_y.incarnation.as_str(), knows_y.seq), ("y", 8));
        memory.forget(&budget);
        assert_eq!(memory.witness(&budget, &replica(), sent).incarnation, "");
    }

    #[test]
    fn the_stores_time_is_bounded_by_this_replicas() {
        let clock = ManualClock::at(Duration::from_secs(10));
        let memory = Memory::new(Arc::new(clock.clone()));
        let budget = BudgetName::new("b").unwrap();
        memory.learn(&budget, &commit(), &Witness::default(), told("x", 1, 110_000), memory.now());
        // A slow call does not widen it.
        let witness = memory.witness(&budget, &replica(), memory.now());
        memory.learn(&budget, &commit(), &witness, told("x", 2, 110_700), memory.now());
        clock.advance(Duration::from_secs(50));
        assert_eq!(memory.witness(&budget, &replica(), memory.now()).latest_ms, Some(162_010));
        assert_eq!(memory.witness(&budget, &replica(), memory.now()).earliest_ms, Some(160_689));
    }

    #[test]
    fn what_was_committed_to_of_late_is_named_the_latest_first_and_with_nothing_to_do() {
        let clock = ManualClock::at(Duration::ZERO);
        let memory = Memory::new(Arc::new(clock.clone()));
        assert_eq!((memory.recent(), memory.all_but(&HashSet::new())), (Vec::new(), Vec::new()));
        for name in ["old", "b", "c"] {
            let budget = BudgetName::new(name).unwrap();
            memory.witness(&budget, &replica(), memory.now());
            memory.learn(&budget, &commit(), &Witness::default(), told("x", 1, 1), memory.now());
            clock.advance(RECENT / 2 + Duration::from_millis(1));
        }
        // However long nothing was committed since.
        clock.advance(Duration::from_secs(60));
        let recent = memory.recent();
        let rest = memory.all_but(&recent.iter().map(|(name, _)| name.clone()).collect());
        let names =
            |of: &[(BudgetName, Commit)]| of.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>();
        assert_eq!((names(&recent), names(&rest)), (vec!["c".into(), "b".into()], vec!["old".into()]));
        assert_eq!(recent[0].1, commit());
    }

    #[test]
    fn memory_is_bounded() {
        let memory = Memory::new(Arc::new(ManualClock::at(Duration::ZERO)));
        memory.witness(&BudgetName::new("b").unwrap(), &replica(), memory.now());
        for i in 0..3 * BUDGETS_A_GENERATION {
            let budget = BudgetName::new(&format!("b{i}")).unwrap();
            memory.learn(&budget, &commit(), &Witness::default(), told("x", 1, 1), Duration::ZERO);
        }
        let recent = memory.recent();
        let rest = memory.all_but(&recent.iter().map(|(name, _)| name.clone()).collect());
        let known = memory.known();
        let all = known.young.len() + known.old.len();
        assert!(all <= 2 * BUDGETS_A_GENERATION);
        assert_eq!((recent.len(), rest.len()), (MAX_RECENT, all - MAX_RECENT));
    }
}
