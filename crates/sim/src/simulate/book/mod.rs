//! What an observer knows who sees every commit's answer and every call's arrival, and holds one against the other.
//!
//! It counts for itself: permits by what the scripts answered, calls by what the upstreams answered. It never looks into
//! what the ledger keeps.

mod calls;
mod closed;
mod commits;
mod rest;
mod unheard;

pub(crate) use calls::{Arrival, CLOCK_DOUBT};
pub(crate) use commits::Ran;
pub(crate) use rest::Rest;

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasherDefault, Hasher},
    time::Duration,
};

use bursar_quota::{
    BudgetName, ClassName, LeaseId, LimitKind, ReplicaName, SettleKind, TenantName, Tier, UnitName,
};

use super::{
    invariants::{Invariant, Violations},
    plan::{Fault, RuleKind, Scenario},
};

/// One permit: its lease and its place in it.
pub(crate) type PermitKey = (LeaseId, u16);

/// What became of a permit's call at the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Executed {
    /// It has not arrived (yet).
    No,
    /// It was accepted.
    Accepted,
    /// It was refused; whether it was counted all the same.
    Refused(bool),
}

/// A permit as it was granted.
#[derive(Debug, Clone)]
pub(crate) struct Permit {
    pub(crate) budget: usize,
    class: ClassName,
    granted_at: Duration,
    /// Its call may arrive until then, by the moment at which its commit was seen.
    pub(crate) send_by: Duration,
    /// And by what its holder was told, who knows no better.
    pub(crate) told_by: Duration,
    /// Its slot is its own until then.
    pub(crate) deadline: Duration,
    /// What it reserves by unit, and what its call really cost, where the settlement said.
    reserved: Vec<(UnitName, u64)>,
    actual: Option<Vec<(UnitName, u64)>>,
    /// What its call really counts, once it has arrived.
    counted: Vec<(String, u64)>,
    pub(crate) executed: Executed,
    /// The refusal that its call got was for a reason that no limit shows.
    secondary: bool,
    /// When that was.
    refused_at: Option<Duration>,
    /// Until when its response said to stay away.
    stay_away: Option<Duration>,
    /// Whether its response said when to come back or how a limit stands.
    response_tells: bool,
    settled: Option<SettleKind>,
    settled_at: Duration,
    /// A worker has it, or had.
    is_got: bool,
}

/// For how long at least a lease whose permits are all settled is known to those who ask for it again.
const LEASE_SETTLED: Duration = Duration::from_secs(59);

impl Permit {
    fn is_given_back(&self) -> bool {
        matches!(self.settled, Some(SettleKind::NotSent | SettleKind::Unclaimed))
    }

    /// Whether its call may still arrive, and be one that its upstream must accept.
    fn may_come(&self, now: Duration) -> bool {
        self.executed == Executed::No && !self.is_given_back() && now <= self.send_by.max(self.told_by)
    }

    /// What it reserves of a unit.
    fn cost(&self, unit: &UnitName) -> u64 {
        self.reserved.iter().find(|(of, _)| of == unit).map_or(0, |(_, cost)| *cost)
    }

    /// Whether the store need not know its lease any more: who asks for it then is granted another.
    fn may_be_forgotten(&self, now: Duration) -> bool {
        self.settled.is_some() && now >= self.settled_at + LEASE_SETTLED
    }
}

/// What is known of one budget.
#[derive(Debug)]
struct Account {
    name: BudgetName,
    classes: Vec<ClassName>,
    /// By class (as in `classes`): until when nothing of it may be granted, and when the ledger was told so.
    stay_away: Vec<(Duration, Duration)>,
    /// The last moment to which the ledger said that something is paused.
    paused_until: Duration,
    /// When the current congestion epoch began.
    epoch: Option<Duration>,
    epochs: u64,
    /// Refusals of live permits that count, in all and by window.
    refused: u64,
    refused_by_window: BTreeMap<u128, u64>,
    /// Spans in which the upstream refuses, as in its plan.
    closed: Vec<closed::Closed>,
    /// By limit: when it was last left in the dark: a call settled without a reading, or never settled.
    dark: Vec<Option<Duration>>,
    /// Calls at the upstream, and those that ended lately: the permit's deadline, and when the call's slot is free.
    running: BTreeMap<u64, (Duration, Option<Duration>)>,
    /// Permits that workers hold.
    held: Vec<PermitKey>,
    /// Permits that nobody hears of.
    unheard: Vec<PermitKey>,
    /// When a worker last got one.
    last_got: Duration,
    /// By how much the store's time was later than the simulation's, the most of all commits.
    ahead: Option<Duration>,
    /// Since when commits are counted of which nothing comes, how many there were, and what happened meanwhile.
    idle: (Duration, u64, u64),
    /// Who waits at a replica, as it told last, and when that was.
    contenders: BTreeMap<ReplicaName, (Duration, Vec<Party>)>,
}

/// A tenant in a tier; the many that a replica names together are one.
type Party = (Tier, Option<TenantName>);

/// A lease's hash is the lease: it is random.
#[derive(Default)]
pub(crate) struct LeaseHasher(u64);

impl Hasher for LeaseHasher {
    fn finish(&self) -> u64 {
        self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, bits: u128) {
        let [low, high] =
            [bits, bits >> 64].map(|half| u64::try_from(half & u128::from(u64::MAX)).unwrap_or(0));
        self.0 ^= low ^ high.rotate_left(32);
    }

    fn write_u16(&mut self, place: u16) {
        self.0 = self.0.rotate_left(17) ^ u64::from(place);
    }
}

/// The observer.
#[derive(Debug)]
pub(crate) struct Book {
    scenario: Scenario,
    permits: HashMap<PermitKey, Permit, BuildHasherDefault<LeaseHasher>>,
    /// Those whose lease was granted again after it had been given back or forgotten.
    earlier: Vec<Permit>,
    accounts: Vec<Account>,
    pub(crate) violations: Violations,
    /// Until when it may show that state was lost.
    recovering: Duration,
    /// When state was last lost.
    lost: Option<Duration>,
    /// Whether a replica died before that, and what it alone remembered with it.
    is_forgetful: bool,
    /// When the store's clock last stepped, or ran wrong.
    unsteady: Option<Duration>,
    /// How long who got a permit had waited for it, milliseconds.
    pub(crate) waits: Vec<u64>,
    /// Leases that may still be asked for, by when they are forgotten at the latest.
    leases: BTreeMap<(Duration, LeaseId), ()>,
    /// Of leases with permits that are not settled: until when they are kept, and how many those are.
    unsettled: BTreeMap<LeaseId, (Duration, u16)>,
    pub(crate) tally: Tally,
}

/// Counts for the report.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Tally {
    /// Permits that the scripts granted, each once.
    pub(crate) permits: u64,
    /// Permits that workers got.
    pub(crate) granted: u64,
    /// Calls that upstreams accepted and refused.
    pub(crate) accepted: u64,
    pub(crate) refused: u64,
    /// Of those refused, for reasons that no limit shows.
    pub(crate) secondary: u64,
    /// Of those refused, while a lost store was being recovered.
    pub(crate) recovering: u64,
    pub(crate) epochs: u64,
    pub(crate) commits: u64,
    /// The most commands and instructions of one commit.
    pub(crate) commands_most: u64,
    pub(crate) instructions_most: u64,
    pub(crate) bytes_most: u64,
    pub(crate) exact_checks: u64,
    pub(crate) rest_checks: u64,
    pub(crate) under_way_checks: u64,
    pub(crate) refusal_checks: u64,
}

/// How long a lease may outlive its deadline in the store.
const LEASE_LATE: Duration = Duration::from_secs(600);
/// And one whose permits are all settled is kept for a minute, for those who settle again; with what the store's time may lag.
const LEASE_AGAIN: Duration = Duration::from_secs(62);

impl Book {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let account = |budget: &super::plan::BudgetPlan| {
            let spec = &budget.spec;
            let mut classes: Vec<ClassName> = vec![spec.class_or_default(None)];
            for class in scenario.load.classes.iter().filter_map(|class| class.name.as_deref()) {
                if let Ok(class) = ClassName::new(class)
                    && !classes.contains(&class)
                {
                    classes.push(class);
                }
            }
            Account {
                name: spec.name.clone(),
                stay_away: vec![(Duration::ZERO, Duration::ZERO); classes.len()],
                classes,
                paused_until: Duration::ZERO,
                epoch: None,
                epochs: 0,
                refused: 0,
                refused_by_window: BTreeMap::new(),
                closed: vec![closed::Closed::default(); budget.upstream.secondary.len()],
                dark: vec![None; spec.limits.len()],
                running: BTreeMap::new(),
                held: Vec::new(),
                unheard: Vec::new(),
                last_got: Duration::ZERO,
                ahead: None,
                idle: Default::default(),
                contenders: BTreeMap::new(),
            }
        };
        Self {
            permits: HashMap::default(),
            earlier: Vec::new(),
            accounts: scenario.budgets.iter().map(account).collect(),
            violations: Violations::default(),
            recovering: Duration::ZERO,
            lost: None,
            is_forgetful: false,
            unsteady: None,
            waits: Vec::new(),
            leases: BTreeMap::new(),
            unsettled: BTreeMap::new(),
            tally: Tally::default(),
            scenario: scenario.clone(),
        }
    }

    /// A permit as it was granted.
    pub(crate) fn permit(&self, key: PermitKey) -> Option<&Permit> {
        self.permits.get(&key)
    }

    /// A fault begins at `now`: what is not claimed while it lasts.
    pub(crate) fn fault(&mut self, now: Duration, lasts: Duration, what: Fault) {
        match what {
            Fault::StoreEmpty | Fault::StoreOlder(_) => {
                self.lost = Some(now + lasts);
                self.recovering = self.recovering.max(now + lasts + self.memory());
            }
            Fault::StoreStep(_) | Fault::StoreDrift(_) => {
                self.unsteady = Some(now + lasts);
            }
            Fault::Crash(_) => self.is_forgetful = true,
            Fault::CutFromStore(_) | Fault::CutFromWorkers(_) | Fault::StoreDown => {}
        }
    }

    /// Whether the store's clock has stepped or run wrong.
    pub(crate) fn is_unsteady(&self) -> bool {
        self.unsteady.is_some()
    }

    /// Whether the ledger cannot have forgotten since what it was told then, nor its clock have gone wrong.
    pub(crate) fn knows_since(&self, told: Duration) -> bool {
        self.lost.is_none_or(|lost| told > lost) && self.unsteady.is_none_or(|unsteady| told > unsteady)
    }

    /// For how long what has happened may weigh: the longest window, and the longest that a call may come after its
    /// grant.
    fn memory(&self) -> Duration {
        let windows = self.scenario.budgets.iter().flat_map(|budget| &budget.spec.limits).map(|limit| {
            match &limit.kind {
                LimitKind::Window { window, .. } => *window,
                _ => Duration::ZERO,
            }
        });
        let rules = self.scenario.budgets.iter().flat_map(|budget| &budget.upstream.rules).map(|rule| {
            match rule.kind {
                RuleKind::Weighted | RuleKind::WeightedEnds => rule.window * 2,
                _ => rule.window,
            }
        });
        let longest = windows.chain(rules).max().unwrap_or_default();
        let sends =
            self.scenario.budgets.iter().map(|budget| budget.spec.send_within).max().unwrap_or_default();
        longest + sends
    }

    /// Counts that move whenever a commit ran or a call arrived.
    pub(crate) fn seen(&self) -> (u64, u64) {
        (self.tally.commits, self.tally.accepted + self.tally.refused)
    }

    pub(crate) fn violate(&mut self, now: Duration, invariant: Invariant, text: String) {
        self.violations.add(now, invariant, text);
    }
}
