//! Histories of limits that count calls: grant, execute, settle in any order.

use std::time::Duration;

use bursar_ledger::KeyspaceCopy;
use bursar_quota::{
    BudgetName, BudgetSpec, LeaseId, LimitKind, LimitName, LimitReading, LimitSpec, Reason, SettleGroup,
    SettleKind, Span,
};
use rand::{Rng, SeedableRng, rngs::SmallRng};

use crate::{
    bench::{Bench, START},
    model::{Kind, Upstream},
};

/// As what the limit is declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Declared {
    Aligned,
    OnClock,
    Sliding,
    Bucket,
}

/// What a run of histories did.
#[derive(Debug, Default)]
pub struct Tally {
    pub granted: u64,
    pub executed: u64,
    pub refused_by_us: u64,
    pub exact_checks: u64,
    pub wait_checks: u64,
}

impl Tally {
    pub fn add(&mut self, other: &Self) {
        self.granted += other.granted;
        self.executed += other.executed;
        self.refused_by_us += other.refused_by_us;
        self.exact_checks += other.exact_checks;
        self.wait_checks += other.wait_checks;
    }
}

/// A permit and the fate that the seed has in store for it.
#[derive(Debug, Clone)]
struct Permit {
    lease: LeaseId,
    index: u16,
    cost: u64,
    granted: u64,
    executes: Option<u64>,
    settles: Option<u64>,
    kind: SettleKind,
    reads: bool,
    reading: Option<LimitReading>,
    /// It was let out to find out what the store had forgotten: it alone may be refused.
    is_probe: bool,
}

struct History {
    rng: SmallRng,
    bench: Bench,
    upstream: Upstream,
    declared: Declared,
    send_within: u64,
    permits: Vec<Permit>,
    tally: Tally,
    noise: u64,
    /// Nobody dies, and every response carries a reading: then the account must be exact at rest.
    is_calm: bool,
    /// Some reading's window end was too vague to tell one window from another.
    was_vague: bool,
    spec: BudgetSpec,
    /// What the store was at some earlier moment.
    older: Option<KeyspaceCopy>,
    was_lost: bool,
}

fn spec(declared: Declared, n: u64, window: u64, send_within: u64) -> BudgetSpec {
    let kind = match declared {
        Declared::Bucket => {
            LimitKind::Bucket { capacity: n, refill_per_second: n as f64 * 1000.0 / window as f64 }
        }
        _ => LimitKind::Window {
            capacity: n,
            window: Duration::from_millis(window),
            aligned: declared != Declared::Sliding,
            on_clock: declared == Declared::OnClock,
        },
    };
    let mut spec = BudgetSpec::new(
        BudgetName::new("b").unwrap(),
        vec![LimitSpec::new(LimitName::new("requests").unwrap(), kind)],
    );
    spec.send_within = Duration::from_millis(send_within);
    spec.permit_ttl = Duration::from_secs(10).max(spec.send_within);
    spec
}

/// Plays one history; an error says what was violated.
pub fn play(seed: u64, kind: Kind, declared: Declared) -> Result<Tally, String> {
    play_with(seed, kind, declared, false)
}

/// As `play`; the store comes back empty or older in between if it `loses`.
pub fn play_with(seed: u64, kind: Kind, declared: Declared, loses: bool) -> Result<Tally, String> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let n = rng.random_range(1..=8);
    let window = *[40, 100, 256, 1000, 5000].get(rng.random_range(0..5)).unwrap();
    let is_calm = rng.random_bool(0.5);
    let send_within = rng.random_range(1..=if is_calm { window / 8 } else { window * 2 });
    let blind_rate = if is_calm { 0.0 } else { *[0.0, 0.3, 1.0].get(rng.random_range(0..3)).unwrap() };
    let noise =
        if rng.random_bool(0.5) { 0 } else { rng.random_range(0..=window / if is_calm { 16 } else { 5 }) };
    let upstream = Upstream::new(kind, n, window, rng.random_range(0..window));
    let mut spec = spec(declared, n, window, send_within);
    spec.limits[0].readings = loses && rng.random_bool(0.7);
    let mut bench = Bench::new(&spec);
    bench.remembers = loses;
    if loses {
        // Nothing of other histories is copied with it.
        bench.come_back(None, &spec);
    }
    let mut history = History {
        rng,
        bench,
        upstream,
        declared,
        send_within,
        permits: Vec::new(),
        tally: Tally::default(),
        noise,
        is_calm,
        was_vague: false,
        spec,
        older: None,
        was_lost: false,
    };
    let steps = history.rng.random_range(3..16);
    for _ in 0..steps {
        if loses {
            history.lose();
        }
        history.acquire(blind_rate);
        let pause = history.pause();
        history.pass(pause)?;
    }
    history.come_to_rest()?;
    Ok(history.tally)
}

impl History {
    /// Sometimes the store comes back, empty or as it was.
    fn lose(&mut self) {
        if self.rng.random_bool(0.2) {
            self.older = Some(self.bench.copy());
        }
        if self.rng.random_bool(0.15) {
            let older = self.older.clone().filter(|_| self.rng.random_bool(0.6));
            self.bench.come_back(older.as_ref(), &self.spec);
            self.was_lost = true;
        }
    }

    /// How long until the next acquire: often none, sometimes an idle gap.
    fn pause(&mut self) -> u64 {
        let window = self.upstream.window;
        match self.rng.random_range(0..10) {
            0..4 => 0,
            4..8 => self.rng.random_range(0..=window / 4),
            8 => self.rng.random_range(0..=window * 2),
            _ => match self.upstream.end(self.bench.now) {
                // Right about the window's end.
                Some(end) => (end + self.rng.random_range(0..3)).saturating_sub(self.bench.now + 1),
                None => window,
            },
        }
    }

    fn acquire(&mut self, blind_rate: f64) {
        let now = self.bench.now;
        let count = self.rng.random_range(1..=4);
        let cost = if self.rng.random_bool(0.8) { 1 } else { self.rng.random_range(1..=self.upstream.n) };
        let group = self.bench.acquire(count, cost, 10_000_u64.max(self.send_within));
        let lease = group.lease;
        let again = self.rng.random_bool(0.05).then(|| group.clone());
        let decision = self.bench.commit(Vec::new(), vec![group]).decisions[0].clone();
        if let Some(group) = again {
            // A reply that was lost: the same commit again grants nothing more.
            let second = self.bench.commit(Vec::new(), vec![group]).decisions[0].clone();
            assert!(decision.granted == 0 || second.granted == decision.granted, "granted twice");
            if decision.granted == 0 && second.granted > 0 {
                panic!("nothing happened in between, but the refused was granted");
            }
        }
        self.tally.granted += u64::from(decision.granted);
        self.tally.refused_by_us += u64::from(count - decision.granted);
        let is_probe = self.was_lost && {
            let limit = self.bench.stored().snapshot.limits.remove(0);
            !limit.known && limit.recovering_ms.is_some()
        };
        for index in 0..decision.granted {
            let executes = match self.rng.random_range(0..10) {
                0 => None,
                1 => Some(now + self.send_within),
                2..5 => Some(now),
                _ => Some(now + self.rng.random_range(0..=self.send_within)),
            };
            let after = executes.unwrap_or(now);
            let settles = match self.rng.random_range(0..12) {
                0 if !self.is_calm => None,
                1 if !self.is_calm => Some(after + self.rng.random_range(0..=self.upstream.window * 2)),
                _ => Some(after + self.rng.random_range(0..=self.upstream.window / 8 + 1)),
            };
            let kind = match executes {
                None if self.is_calm || self.rng.random_bool(0.7) => SettleKind::NotSent,
                None => SettleKind::Lost,
                Some(_) => SettleKind::Accepted,
            };
            let reads = executes.is_some() && !self.rng.random_bool(blind_rate);
            self.permits.push(Permit {
                lease,
                index,
                cost,
                granted: now,
                executes,
                settles,
                kind,
                reads,
                reading: None,
                is_probe,
            });
        }
    }

    /// Lets `span` ms pass, doing what is due, one moment after the other.
    fn pass(&mut self, span: u64) -> Result<(), String> {
        let until = self.bench.now + span;
        loop {
            let due = |p: &Permit| p.executes.into_iter().chain(p.settles).min();
            let Some(at) = self.permits.iter().filter_map(due).min().filter(|at| *at <= until) else {
                break;
            };
            self.bench.now = self.bench.now.max(at);
            self.execute_due(at)?;
            self.settle_due(at);
            self.permits.retain(|p| p.executes.is_some() || p.settles.is_some());
        }
        self.bench.now = until;
        Ok(())
    }

    fn execute_due(&mut self, at: u64) -> Result<(), String> {
        let mut due: Vec<usize> =
            (0..self.permits.len()).filter(|i| self.permits[*i].executes == Some(at)).collect();
        while !due.is_empty() {
            let i = due.swap_remove(self.rng.random_range(0..due.len()));
            let cost = self.permits[i].cost;
            let accepted = self.upstream.call(at, cost);
            if !accepted && self.permits[i].is_probe {
                self.permits[i].kind = SettleKind::Refused { counted: false };
            } else if !accepted {
                return Err(format!("over-grant at {} ms: {:?}", at - START, self.permits[i]));
            }
            self.tally.executed += 1;
            let reading = self.permits[i].reads.then(|| self.read(at));
            let permit = &mut self.permits[i];
            permit.executes = None;
            permit.reading = reading;
        }
        Ok(())
    }

    /// What the response of a call at `at` says.
    fn read(&mut self, at: u64) -> LimitReading {
        let remaining = self.upstream.remaining(at);
        let reset = self.upstream.end(at).map(|end| {
            let left = i64::try_from(end - at).unwrap();
            let mut noise = || i64::try_from(self.rng.random_range(0..=self.noise)).unwrap();
            Span { earliest_ms: left - noise(), latest_ms: left + noise() }
        });
        LimitReading {
            limit: 0,
            remaining_least: Some(remaining),
            remaining_last: None,
            capacity: None,
            reset,
        }
    }

    fn settle_due(&mut self, at: u64) {
        let mut due: Vec<usize> =
            (0..self.permits.len()).filter(|i| self.permits[*i].executes.is_none()).collect();
        due.retain(|i| self.permits[*i].settles == Some(at));
        while !due.is_empty() {
            let i = due.swap_remove(self.rng.random_range(0..due.len()));
            let permit = self.permits[i].clone();
            if let Some(reset) = permit.reading.as_ref().and_then(|r| r.reset) {
                let width =
                    reset.latest_ms - reset.earliest_ms + i64::try_from(at - permit.granted).unwrap() + 1;
                self.was_vague |= width * 2 >= i64::try_from(self.upstream.window).unwrap();
            }
            let group = SettleGroup {
                lease: permit.lease,
                indexes: vec![permit.index],
                kind: permit.kind,
                costs: Vec::new(),
                units: Vec::new(),
                readings: permit.reading.into_iter().collect(),
                pause: None,
                age_ms: 0,
            };
            let times = if self.rng.random_bool(0.05) { 2 } else { 1 };
            for _ in 0..times {
                self.bench.commit(vec![group.clone()], Vec::new());
            }
            self.permits[i].settles = None;
        }
    }

    /// Lets everything happen that still will, then compares the account with the truth.
    fn come_to_rest(&mut self) -> Result<(), String> {
        while let Some(at) =
            self.permits.iter().filter_map(|p| p.executes.into_iter().chain(p.settles).max()).max()
        {
            let span = at.saturating_sub(self.bench.now);
            self.pass(span)?;
        }
        let now = self.bench.now;
        let limit = self.bench.stored().snapshot.limits.remove(0);
        let truth = i64::try_from(self.upstream.remaining(now)).unwrap();
        // Of a store that came back and was not asked since, nothing can be expected.
        if limit.available > truth && !self.was_lost {
            return Err(format!("at rest {} are available, the truth is {truth}", limit.available));
        }
        let aligned = matches!(self.declared, Declared::Aligned | Declared::OnClock);
        if let (true, true, Some(end), Some((early, late))) = (
            aligned,
            self.is_calm && !self.was_vague && !self.was_lost,
            self.upstream.end(now),
            limit.window_end_ms,
        ) {
            // The account may still believe in a window that ended moments ago: until its latest end.
            if early <= end - now && end - now <= late {
                self.tally.exact_checks += 1;
                if limit.available != truth {
                    return Err(format!(
                        "at rest {} are available, the truth is {truth}: {limit:?}",
                        limit.available
                    ));
                }
            }
        }
        self.check_wait()
    }

    /// A refusal's time to come back is exact to the millisecond.
    fn check_wait(&mut self) -> Result<(), String> {
        let cost = self.rng.random_range(1..=self.upstream.n);
        let ttl = 10_000_u64.max(self.send_within);
        let mut group = self.bench.acquire(1, cost, ttl);
        let refusal = self.bench.commit(Vec::new(), vec![group.clone()]).decisions[0].refusal.clone();
        // When a probe will be answered nobody knows.
        let refusal = refusal.filter(|refusal| refusal.reason != Reason::Probing);
        let Some(wait) = refusal.and_then(|refusal| refusal.retry_after) else {
            return Ok(());
        };
        let wait = u64::try_from(wait.as_millis()).unwrap();
        self.tally.wait_checks += 1;
        if wait > 1 {
            self.bench.now += wait - 1;
            if self.bench.commit(Vec::new(), vec![group.clone()]).decisions[0].granted != 0 {
                return Err(format!("{wait} ms were named, but it is granted a millisecond earlier"));
            }
            self.bench.now += 1;
        } else {
            self.bench.now += wait;
        }
        group.lease = self.bench.acquire(1, 1, ttl).lease;
        if self.bench.commit(Vec::new(), vec![group]).decisions[0].granted != 1 {
            return Err(format!("{wait} ms were named, but it is not granted then"));
        }
        Ok(())
    }
}
