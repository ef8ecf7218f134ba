//! Random operations, and as much of a world as makes them hit something.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bursar_ledger::codec::Keys;
use bursar_quota::{
    AcquireGroup, BudgetName, BudgetSpec, ClassName, Commit, Contender, LeaseId, LimitReading,
    MAX_CONTENDERS, PauseOrder, RenewGroup, ReplicaName, RequestTag, Requests, Scope, SettleGroup,
    SettleKind, Span, TenantName, Tier, UnitName,
};
use rand::{Rng as _, rngs::SmallRng, seq::IndexedRandom as _};

use super::{
    engine::{Outcome, PREFIX},
    specs::{self, CLASSES, TENANTS, UNITS},
};

/// One thing that is done on every engine.
#[derive(Debug, Clone)]
pub(crate) enum Operation {
    Commit {
        budget: BudgetName,
        commit: Commit,
    },
    Put(BudgetSpec),
    Get(BudgetName),
    List(Option<BudgetName>, usize),
    Delete(BudgetName),
    Pause(BudgetName, Option<Duration>),
    Resume(BudgetName),
    /// Time goes on.
    Pass(Duration),
    /// The store's clock steps; the replica's does not.
    Step(Duration),
    /// What these keys hold is remembered.
    Remember(Vec<Vec<u8>>),
    /// These keys are empty, or hold what was remembered.
    Lose {
        keys: Vec<Vec<u8>>,
        all: bool,
    },
}

impl Operation {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Commit { .. } => "commit",
            Self::Put(_) => "put",
            Self::Get(_) => "get",
            Self::List(..) => "list",
            Self::Delete(_) => "delete",
            Self::Pause(..) => "pause",
            Self::Resume(_) => "resume",
            Self::Pass(_) => "pass",
            Self::Step(_) => "step",
            Self::Remember(_) => "remember",
            Self::Lose { .. } => "lose",
        }
    }
}

/// A budget as the operations know it.
struct Budget {
    spec: BudgetSpec,
    version: u64,
    /// Leases that were asked for, with what was asked.
    leases: Vec<(LeaseId, AcquireGroup)>,
}

/// What operations are made from. It knows no more than a client would.
pub(crate) struct World {
    /// The store's time.
    pub(crate) time: Duration,
    budgets: Vec<Budget>,
    next_lease: u128,
    /// The commit before: its reply may have been lost, and then it is sent again.
    last: Option<(BudgetName, Commit)>,
    remembered: bool,
    /// How many of the budgets were put to begin with.
    begun: usize,
}

fn one_of<T: Copy>(random: &mut SmallRng, items: &[T]) -> T {
    *items.choose(random).unwrap()
}

impl World {
    pub(crate) fn new(random: &mut SmallRng) -> Self {
        // Names of their own, so that histories on one server do not meet.
        let number: u64 = random.random();
        let names = ["prod", "test"].map(|end| BudgetName::new(&format!("vendor-{number:x}/{end}")).unwrap());
        let budget =
            |name: &BudgetName| Budget { spec: specs::spec(random, name), version: 1, leases: Vec::new() };
        let budgets = names.iter().map(budget).collect();
        let time = Duration::from_micros(1_700_000_000_000_000 + random.random_range(0..86_400_000_000));
        Self { time, budgets, next_lease: random.random(), last: None, remembered: false, begun: 0 }
    }

    /// All keys that there can be, beside the list of names.
    pub(crate) fn keys(&self) -> Vec<Vec<u8>> {
        let keys = Keys::new(PREFIX);
        let of = |budget: &Budget| {
            let name = &budget.spec.name;
            let leases = budget.leases.iter().map(|(lease, _)| keys.lease(name, *lease));
            keys.all(name, &["spec", "state", "pause", "use", "wait"])
                .into_iter()
                .chain(leases)
                .collect::<Vec<_>>()
        };
        let mut all: Vec<_> = self.budgets.iter().flat_map(of).collect();
        all.sort();
        all.dedup();
        all
    }

    pub(crate) fn operation(&mut self, random: &mut SmallRng) -> Operation {
        if let Some(budget) = self.budgets.get(self.begun) {
            self.begun += 1;
            return Operation::Put(budget.spec.clone());
        }
        let which = random.random_range(0..self.budgets.len());
        let name = self.budgets[which].spec.name.clone();
        match random.random_range(0..100) {
            0..55 => self.commit(random, which),
            55..60 => match &self.last {
                Some((budget, commit)) => {
                    Operation::Commit { budget: budget.clone(), commit: commit.clone() }
                }
                None => self.commit(random, which),
            },
            60..85 => {
                let span = match random.random_range(0..10) {
                    0..4 => random.random_range(0..5_000),
                    4..7 => random.random_range(0..2_000_000),
                    7..9 => random.random_range(0..90_000_000),
                    _ => random.random_range(0..7_200_000_000),
                };
                self.time += Duration::from_micros(span);
                Operation::Pass(Duration::from_micros(span))
            }
            85..89 => Operation::Put(specs::changed(random, &self.budgets[which].spec)),
            89..93 => Operation::Get(name),
            93 => Operation::Pause(
                name,
                random.random_bool(0.7).then(|| Duration::from_millis(random.random_range(1..5000))),
            ),
            94 => Operation::Resume(name),
            95 => Operation::List(random.random_bool(0.5).then_some(name), random.random_range(0..12)),
            96 if random.random_bool(0.5) => Operation::Delete(name),
            97 => {
                let back = random.random_bool(0.5);
                let by = Duration::from_millis(random.random_range(0..120_000));
                self.time = if back { self.time.saturating_sub(by) } else { self.time + by };
                Operation::Step(self.time)
            }
            98 => {
                self.remembered = true;
                Operation::Remember(self.keys())
            }
            99 if random.random_bool(0.4) => {
                Operation::Lose { keys: self.keys(), all: !self.remembered || random.random_bool(0.5) }
            }
            _ => Operation::Get(name),
        }
    }

    fn commit(&mut self, random: &mut SmallRng, which: usize) -> Operation {
        let budget = &self.budgets[which];
        let limits = budget.spec.limits.len();
        let stale = random.random_bool(0.01);
        let mut commit = Commit {
            replica: ReplicaName::new(one_of(random, &["r1", "r2", "r3"])).unwrap(),
            spec_version: if stale { budget.version + 1 } else { budget.version },
            waiting: one_of(random, &[0, 0, 0, 1, 7]),
            contenders: Vec::new(),
            looks: Vec::new(),
            jitter: random.random(),
            settles: Vec::new(),
            renews: Vec::new(),
            acquires: Vec::new(),
        };
        if random.random_bool(0.3) {
            let count = one_of(random, &[1, 3, 512]);
            commit.looks = tags(random, count);
        }
        for _ in 0..random.random_range(0..4) {
            if let Some((lease, asked)) = self.known(random, which) {
                commit.settles.push(settle(random, lease, &asked, limits));
            }
        }
        if random.random_bool(0.2)
            && let Some((lease, asked)) = self.known(random, which)
        {
            let (index, ttl_ms) = (random.random_range(0..=asked.count), random.random_range(1..120_000));
            commit.renews.push(RenewGroup { lease, index, ttl_ms });
        }
        for _ in 0..random.random_range(0..4) {
            let group = self.acquire(random, which);
            commit.acquires.push(group);
        }
        if commit.waiting > 0 {
            commit.contenders = self.contenders(random, which, &commit.acquires);
        }
        let name = self.budgets[which].spec.name.clone();
        self.last = Some((name.clone(), commit.clone()));
        Operation::Commit { budget: name, commit }
    }

    /// Who waits: often those whom the commit asks for, others, and seldom as many as can be named; sometimes it is not told.
    fn contenders(&self, random: &mut SmallRng, which: usize, asked: &[AcquireGroup]) -> Vec<Contender> {
        let spec = &self.budgets[which].spec;
        let others = match random.random_range(0..20) {
            0..4 => return Vec::new(),
            4..19 => random.random_range(0..4),
            _ => MAX_CONTENDERS,
        };
        let mut all: Vec<Contender> = asked
            .iter()
            .map(|group| Contender {
                tier: group.tier,
                tenant: Some(group.tenant.clone()),
                tenants: 1,
                class: group.class.clone(),
                calls: u64::from(group.count) + random.random_range(0..3),
                costs: group.costs.clone(),
            })
            .collect();
        for other in 0..others {
            let class = ClassName::new(one_of(random, &CLASSES)).unwrap();
            let named = random.random_bool(0.9);
            let name = if random.random_bool(0.7) {
                one_of(random, &TENANTS).to_owned()
            } else {
                format!("w{other}")
            };
            all.push(Contender {
                tier: one_of(random, &Tier::ALL),
                tenant: named.then(|| TenantName::new(&name).unwrap()),
                tenants: if named { 1 } else { random.random_range(1..9) },
                calls: random.random_range(1..50),
                costs: spec.costs(&class, &[]).unwrap(),
                class,
            });
        }
        let mut seen = BTreeSet::new();
        all.retain(|who| seen.insert((who.tier.index(), who.tenant.clone(), who.class.clone())));
        all.truncate(MAX_CONTENDERS);
        all
    }

    /// A lease that was asked for lately as a rule, sometimes long ago, seldom never.
    fn known(&self, random: &mut SmallRng, which: usize) -> Option<(LeaseId, AcquireGroup)> {
        let leases = &self.budgets[which].leases;
        let (_, asked) = leases.last()?.clone();
        if random.random_bool(0.03) {
            return Some((LeaseId(random.random()), asked));
        }
        let from = if random.random_bool(0.8) { leases.len().saturating_sub(12) } else { 0 };
        leases[from..].choose(random).cloned()
    }

    fn acquire(&mut self, random: &mut SmallRng, which: usize) -> AcquireGroup {
        let budget = &mut self.budgets[which];
        let class = ClassName::new(one_of(random, &CLASSES)).unwrap();
        let mut units = Vec::new();
        for unit in UNITS {
            if random.random_bool(0.4) {
                units.push((UnitName::new(unit).unwrap(), random.random_range(1..6)));
            }
        }
        if budget.spec.costs(&class, &units).is_err() {
            units.clear();
        }
        let again = budget.leases.choose(random).filter(|_| random.random_bool(0.05));
        let lease = again.map(|(lease, _)| *lease).unwrap_or_else(|| {
            self.next_lease = self.next_lease.wrapping_add(1);
            LeaseId::new(&class, self.next_lease << 16)
        });
        let count = one_of(random, &[1, 1, 1, 2, 5, 40, 1024]);
        let requests = match random.random_range(0..8) {
            0..4 => Requests::None,
            4 => Requests::Held(tags(random, count)),
            5 if count == 1 => Requests::Claim(tags(random, 1)[0], random.random_range(0..6)),
            _ => Requests::Asked(tags(random, count)),
        };
        let group = AcquireGroup {
            lease,
            requests,
            costs: budget.spec.costs(&class, &units).unwrap(),
            tenant: TenantName::new(one_of(random, &TENANTS)).unwrap(),
            tier: one_of(random, &Tier::ALL),
            units: if units.is_empty() { vec![(UnitName::requests(), 1)] } else { units },
            count,
            ttl_ms: random.random_range(1..120_000),
            class,
        };
        budget.leases.push((lease, group.clone()));
        group
    }

    /// What a client would learn from the reply.
    pub(crate) fn learn(&mut self, operation: &Operation, outcome: &Outcome) {
        if matches!(operation, Operation::Put(_) | Operation::Delete(_) | Operation::Lose { .. }) {
            // Its costs are of limits that may be others now, under a version that counts from 1 again.
            self.last = None;
        }
        if let (Operation::Put(spec), Some(version)) = (operation, outcome.version) {
            let budget = self.budgets.iter_mut().find(|budget| budget.spec.name == spec.name).unwrap();
            (budget.spec, budget.version) = (spec.clone(), version);
        }
    }
}

/// So many requests, each once, of which some come again.
fn tags(random: &mut SmallRng, count: u16) -> Vec<RequestTag> {
    let from = u128::from(random.random_range(0..3000_u16));
    (0..u128::from(count)).map(|n| RequestTag(from + n)).collect()
}

fn settle(random: &mut SmallRng, lease: LeaseId, asked: &AcquireGroup, limits: usize) -> SettleGroup {
    let kind = one_of(
        random,
        &[
            SettleKind::NotSent,
            SettleKind::Unclaimed,
            SettleKind::Accepted,
            SettleKind::Accepted,
            SettleKind::Accepted,
            SettleKind::Lost,
            SettleKind::Refused { counted: false },
            SettleKind::Refused { counted: true },
        ],
    );
    let mut indexes: Vec<u16> =
        (0..random.random_range(1..4)).map(|_| random.random_range(0..=asked.count.min(1023))).collect();
    indexes.sort_unstable();
    indexes.dedup();
    let mut readings = BTreeMap::new();
    for _ in 0..random.random_range(0..3) {
        let limit = u16::try_from(random.random_range(0..limits)).unwrap();
        readings.insert(limit, reading(random, limit));
    }
    let refused = matches!(kind, SettleKind::Refused { .. });
    let pause = (refused && random.random_bool(0.8)).then(|| PauseOrder {
        scope: match random.random_range(0..3) {
            0 => Scope::Budget,
            1 => Scope::Class(asked.class.clone()),
            _ => Scope::Limit(u16::try_from(random.random_range(0..limits)).unwrap()),
        },
        retry_after_ms: random.random_bool(0.5).then(|| random.random_range(0..20_000)),
    });
    let actual = random.random_bool(0.2);
    SettleGroup {
        lease,
        indexes,
        kind,
        costs: if actual { (0..limits).map(|_| random.random_range(0..8)).collect() } else { Vec::new() },
        units: if actual {
            vec![(UnitName::new("tokens").unwrap(), random.random_range(0..9))]
        } else {
            Vec::new()
        },
        readings: readings.into_values().collect(),
        pause,
        age_ms: one_of(random, &[0, 0, 3, 70, 4000]),
    }
}

fn reading(random: &mut SmallRng, limit: u16) -> LimitReading {
    let least = random.random_bool(0.9).then(|| one_of(random, &[0, 0, 1, 4, 9, 39, 99, 599, 1_000_000]));
    let last = least.map(|least| least + random.random_range(0..3));
    let reset = random.random_bool(0.7).then(|| {
        let earliest_ms = one_of(random, &[-2000, 0, 1, 400, 29_500, 59_000, 3_599_000]);
        let wide = one_of(random, &[0, 1, 1000, 2000, 10_000, 90_000]);
        Span { earliest_ms, latest_ms: earliest_ms + wide }
    });
    let capacity = random.random_bool(0.3).then(|| one_of(random, &[1, 5, 10, 100, 600, 700, 100_000]));
    LimitReading { limit, remaining_least: least, remaining_last: last, capacity, reset }
}
