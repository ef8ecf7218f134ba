//! Histories of calls that fall under several limits at once: of every kind, by unit and by class.

use std::time::Duration;

use bursar_quota::{
    ClassName, CommitReply, LeaseId, LimitKind, LimitName, LimitReading, LimitSpec, Reason, SettleGroup,
    SettleKind, Span,
};
use rand::{Rng, SeedableRng, rngs::SmallRng};

use crate::{
    bench::{Bench, START, budget, settle},
    model::{Kind, Upstream},
    windows::Tally,
};

const WINDOWS: [u64; 4] = [100, 256, 1000, 5000];
const UNITS: [&str; 2] = ["requests", "tokens"];

/// What the upstream holds against one limit.
enum Truth {
    Counts(Upstream),
    /// So many at once; who is there, and from when to when.
    Slots {
        n: u64,
        linger: u64,
        busy: Vec<(u64, u64)>,
    },
}

struct Rule {
    spec: LimitSpec,
    truth: Truth,
    /// Which of `UNITS` it counts.
    unit: usize,
    only_writes: bool,
}

/// A permit and the fate that the seed has in store for it.
#[derive(Debug, Clone)]
struct Permit {
    lease: LeaseId,
    index: u16,
    costs: Vec<u64>,
    executes: Option<u64>,
    /// When the upstream has answered.
    ends: u64,
    deadline: u64,
    settles: Option<u64>,
    kind: SettleKind,
    reads: bool,
    readings: Vec<LimitReading>,
}

struct History {
    rng: SmallRng,
    bench: Bench,
    rules: Vec<Rule>,
    send_within: u64,
    blind_rate: f64,
    permits: Vec<Permit>,
    tally: Tally,
}

fn rule(rng: &mut SmallRng, index: usize) -> Rule {
    let (n, window) = (rng.random_range(2..=10), WINDOWS[rng.random_range(0..WINDOWS.len())]);
    let counts = |kind, aligned, on_clock, phase| {
        let span = Duration::from_millis(window);
        let declared = LimitKind::Window { capacity: n, window: span, aligned, on_clock };
        (declared, Truth::Counts(Upstream::new(kind, n, window, phase)))
    };
    let phase = rng.random_range(0..window);
    let (kind, truth) = match rng.random_range(0..8) {
        0 => counts(Kind::Clock, true, true, phase),
        1 => counts(Kind::Clock, true, false, phase),
        2 => counts(Kind::FirstCall, true, false, 0),
        3 => counts(Kind::FirstCall, false, false, 0),
        4 => counts(Kind::Rolling, false, false, 0),
        5 => {
            let refill_per_second = n as f64 * 1000.0 / window as f64;
            let truth = Truth::Counts(Upstream::new(Kind::Leaking, n, window, 0));
            (LimitKind::Bucket { capacity: n, refill_per_second }, truth)
        }
        _ => {
            let linger = [0, 1, 80][rng.random_range(0..3)];
            let kind = LimitKind::Concurrency { capacity: n, linger: Duration::from_millis(linger) };
            (kind, Truth::Slots { n, linger, busy: Vec::new() })
        }
    };
    let mut spec = LimitSpec::new(LimitName::new(&format!("l{index}")).expect("a name"), kind);
    let (unit, only_writes) = (rng.random_range(0..UNITS.len()), index > 0 && rng.random_bool(0.3));
    if only_writes {
        spec.classes = vec![ClassName::new("write").expect("a name")];
    }
    Rule { spec, truth, unit, only_writes }
}

/// Plays one history; an error says what was violated.
pub fn play(seed: u64) -> Result<Tally, String> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let rules: Vec<Rule> = (0..rng.random_range(2..=4)).map(|index| rule(&mut rng, index)).collect();
    let shortest = rules.iter().filter_map(|rule| match &rule.truth {
        Truth::Counts(upstream) => Some(upstream.window),
        Truth::Slots { .. } => None,
    });
    let send_within = rng.random_range(1..=shortest.min().unwrap_or(200) * 2);
    let mut spec = budget(rules.iter().map(|rule| rule.spec.clone()).collect());
    spec.send_within = Duration::from_millis(send_within);
    let blind_rate = [0.0, 0.3, 1.0][rng.random_range(0..3)];
    let mut history = History {
        bench: Bench::new(&spec),
        rng,
        rules,
        send_within,
        blind_rate,
        permits: Vec::new(),
        tally: Tally::default(),
    };
    for _ in 0..history.rng.random_range(4..16) {
        history.acquire()?;
        let span = match history.rng.random_range(0..10) {
            0..4 => 0,
            4..8 => history.rng.random_range(0..=60),
            8 => history.rng.random_range(0..=400),
            _ => history.rng.random_range(0..=6000),
        };
        history.pass(span)?;
    }
    history.come_to_rest()?;
    Ok(history.tally)
}

impl History {
    /// What a call costs in each limit, by what is declared of them.
    fn costs(&mut self) -> (bool, Vec<u64>) {
        let is_write: bool = self.rng.random();
        let by_unit =
            [0, 1].map(|_| if self.rng.random_bool(0.6) { 1 } else { self.rng.random_range(1..=5) });
        let of = |rule: &Rule| match rule.truth {
            _ if rule.only_writes && !is_write => 0,
            Truth::Slots { .. } => 1,
            Truth::Counts(_) => by_unit[rule.unit],
        };
        (is_write, self.rules.iter().map(of).collect())
    }

    fn ask(&mut self, count: u16, is_write: bool, costs: &[u64], ttl: u64) -> (LeaseId, CommitReply) {
        let mut group = self.bench.acquire(count, 1, ttl);
        group.class = ClassName::new(if is_write { "write" } else { "read" }).expect("a name");
        group.costs = costs.to_vec();
        let lease = group.lease;
        (lease, self.bench.commit(Vec::new(), vec![group]))
    }

    fn acquire(&mut self) -> Result<(), String> {
        let ((is_write, costs), count) = (self.costs(), self.rng.random_range(1..=4_u16));
        let ttl = self.send_within + self.rng.random_range(0..=1500);
        let now = self.bench.now;
        let before = self.bench.commit(Vec::new(), Vec::new()).limits;
        let (lease, reply) = self.ask(count, is_write, &costs, ttl);
        self.judge(count, &costs, &before, &reply)
            .map_err(|what| format!("at {} ms: {what}", now - START))?;
        let granted = reply.decisions[0].granted;
        self.tally.granted += u64::from(granted);
        self.tally.refused_by_us += u64::from(count - granted);
        for index in 0..granted {
            let executes = match self.rng.random_range(0..10) {
                0 => None,
                1 => Some(now + self.send_within),
                2..5 => Some(now),
                _ => Some(now + self.rng.random_range(0..=self.send_within)),
            };
            let deadline = now + ttl;
            let after = executes.unwrap_or(now);
            let ends = after + self.rng.random_range(0..=(deadline - after).min(200));
            let settles = match self.rng.random_range(0..12) {
                0 => None,
                1 => Some(ends + self.rng.random_range(0..=2000)),
                _ => Some(ends + self.rng.random_range(0..=30)),
            };
            let kind = match executes {
                None if self.rng.random_bool(0.7) => SettleKind::NotSent,
                None => SettleKind::Lost,
                Some(_) => SettleKind::Accepted,
            };
            let reads = executes.is_some() && !self.rng.random_bool(self.blind_rate);
            let costs = costs.clone();
            let readings = Vec::new();
            let permit =
                Permit { lease, index, costs, executes, ends, deadline, settles, kind, reads, readings };
            self.permits.push(permit);
        }
        Ok(())
    }

    /// All or nothing: as many go as every limit has room for, each is charged what the call costs there, and the limit that is
    /// named is one that has no room for the next.
    fn judge(
        &self,
        count: u16,
        costs: &[u64],
        before: &[(i64, u64, u64)],
        reply: &CommitReply,
    ) -> Result<(), String> {
        let decision = &reply.decisions[0];
        let granted = u64::from(decision.granted);
        let is_never = |i: usize| costs[i] > self.rules[i].spec.kind.capacity();
        let room = |i: usize| match u64::try_from(before[i].0) {
            _ if costs[i] == 0 => u64::MAX,
            Ok(there) if !is_never(i) => there / costs[i],
            _ => 0,
        };
        let limits = 0..costs.len();
        let most = limits.clone().map(room).min().unwrap_or(0).min(u64::from(count));
        if granted != most {
            return Err(format!(
                "{granted} of {count} that cost {costs:?} are granted where {before:?} (available, out, paid) leaves {most}"
            ));
        }
        for i in limits.clone() {
            let (charged, paid) = (reply.limits[i].1 - before[i].1, reply.limits[i].2);
            if charged != granted * costs[i] || paid != before[i].2 {
                return Err(format!(
                    "{granted} at {costs:?} weigh {charged} more in limit {i}, and {paid} is paid of it, {} before",
                    before[i].2
                ));
            }
        }
        let binds: Vec<usize> = limits.filter(|i| room(*i) <= granted).collect();
        let Some(refusal) = &decision.refusal else {
            return if granted < u64::from(count) {
                Err("less is granted, and no reason told".into())
            } else {
                Ok(())
            };
        };
        let named = refusal.limit.as_ref().map(ToString::to_string);
        if !binds.iter().any(|i| named.as_deref() == Some(self.rules[*i].spec.name.as_str())) {
            return Err(format!("refused by {named:?}, but what binds {costs:?} is {binds:?} of {before:?}"));
        }
        let is_slots = |i: &usize| matches!(self.rules[*i].truth, Truth::Slots { .. });
        let reason = if binds.iter().any(|i| is_never(*i)) {
            Reason::CostAboveCapacity
        } else if binds.iter().all(is_slots) {
            Reason::ConcurrencyExhausted
        } else {
            Reason::QuotaExhausted
        };
        if refusal.reason == reason {
            Ok(())
        } else {
            Err(format!("refused as {:?}, but what binds is {binds:?}: {reason:?}", refusal.reason))
        }
    }

    /// Lets `span` ms pass, doing what is due, one moment after the other.
    fn pass(&mut self, span: u64) -> Result<(), String> {
        let until = self.bench.now + span;
        let due = |p: &Permit| p.executes.into_iter().chain(p.settles).min();
        while let Some(at) = self.permits.iter().filter_map(due).min().filter(|at| *at <= until) {
            self.bench.now = self.bench.now.max(at);
            for i in self.shuffled(|p| p.executes == Some(at)) {
                self.execute(i, at)?;
            }
            for i in self.shuffled(|p| p.executes.is_none() && p.settles == Some(at)) {
                self.settle(i)?;
            }
            self.permits.retain(|p| p.executes.is_some() || p.settles.is_some());
        }
        self.bench.now = until;
        Ok(())
    }

    fn shuffled(&mut self, is_due: impl Fn(&Permit) -> bool) -> Vec<usize> {
        let mut due: Vec<usize> = (0..self.permits.len()).filter(|i| is_due(&self.permits[*i])).collect();
        for i in (1..due.len()).rev() {
            due.swap(i, self.rng.random_range(0..=i));
        }
        due
    }

    fn execute(&mut self, i: usize, at: u64) -> Result<(), String> {
        let permit = self.permits[i].clone();
        let charged = |l: &usize| permit.costs[*l] > 0;
        for l in (0..self.rules.len()).filter(charged) {
            let (is_accepted, left) = match &mut self.rules[l].truth {
                Truth::Counts(upstream) => {
                    let left = upstream.remaining(at);
                    (upstream.call(at, permit.costs[l]), left)
                }
                Truth::Slots { n, linger, busy } => {
                    let there = busy.iter().filter(|(from, to)| *from <= at && at < *to).count() as u64;
                    let to = permit.ends + self.rng.random_range(0..=*linger);
                    busy.push((at, to.min(permit.deadline)));
                    (there < *n, n.saturating_sub(there))
                }
            };
            if !is_accepted {
                let kind = &self.rules[l].spec.kind;
                return Err(format!(
                    "over-grant at {} ms by limit {l}, {kind:?}, which has {left} left: {permit:?}",
                    at - START
                ));
            }
        }
        self.tally.executed += 1;
        if permit.reads {
            self.permits[i].readings =
                (0..self.rules.len()).filter(charged).filter_map(|l| self.read(l, at)).collect();
        }
        self.permits[i].executes = None;
        Ok(())
    }

    fn read(&self, l: usize, at: u64) -> Option<LimitReading> {
        let Truth::Counts(upstream) = &self.rules[l].truth else { return None };
        let left = upstream.end(at).and_then(|end| i64::try_from(end - at).ok());
        Some(LimitReading {
            limit: u16::try_from(l).ok()?,
            remaining_least: Some(upstream.remaining(at)),
            remaining_last: None,
            capacity: None,
            reset: left.map(|left| Span { earliest_ms: left, latest_ms: left }),
        })
    }

    fn settle(&mut self, i: usize) -> Result<(), String> {
        let permit = self.permits[i].clone();
        let group = settle(permit.lease, permit.kind);
        let group = SettleGroup { indexes: vec![permit.index], readings: permit.readings.clone(), ..group };
        let before = self.bench.commit(Vec::new(), Vec::new()).limits;
        let after = self.bench.commit(vec![group.clone()], Vec::new()).limits;
        for (l, cost) in permit.costs.iter().enumerate() {
            // Of a permit whose time to be sent has passed nothing may be out any more.
            let given_back = before[l].1.checked_sub(after[l].1);
            let is_right = given_back == Some(0) || given_back == Some(*cost) || permit.reads;
            if !is_right || (permit.kind == SettleKind::NotSent && after[l].2 != before[l].2) {
                return Err(format!(
                    "settled as {:?}, {permit:?} changes limit {l} from {:?} to {:?} (available, out, paid)",
                    permit.kind, before[l], after[l]
                ));
            }
        }
        if self.rng.random_bool(0.05) && self.bench.commit(vec![group], Vec::new()).limits != after {
            return Err(format!("settled a second time it changes what is left: {permit:?}"));
        }
        self.permits[i].settles = None;
        Ok(())
    }

    /// Lets everything happen that still will, then compares each account with its truth.
    fn come_to_rest(&mut self) -> Result<(), String> {
        let ends = |p: &Permit| p.executes.into_iter().chain(p.settles).max();
        while let Some(at) = self.permits.iter().filter_map(ends).max() {
            self.pass(at.saturating_sub(self.bench.now))?;
        }
        let now = self.bench.now;
        let stand = self.bench.stored().snapshot.limits;
        for (rule, limit) in self.rules.iter().zip(stand) {
            let truth = match &rule.truth {
                Truth::Counts(upstream) => upstream.remaining(now),
                Truth::Slots { n, busy, .. } => {
                    n - busy.iter().filter(|(from, to)| *from <= now && now < *to).count() as u64
                }
            };
            if limit.available > i64::try_from(truth).unwrap_or(i64::MAX) {
                return Err(format!("at rest the truth is {truth}: {limit:?}"));
            }
        }
        self.check_wait()
    }

    /// The time that a refusal names is the first at which all limits have room.
    fn check_wait(&mut self) -> Result<(), String> {
        let (is_write, costs) = self.costs();
        let ttl = self.send_within + 100;
        let (_, reply) = self.ask(1, is_write, &costs, ttl);
        let Some(wait) = reply.decisions[0].refusal.as_ref().and_then(|refusal| refusal.retry_after) else {
            return Ok(());
        };
        let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        self.tally.wait_checks += 1;
        self.bench.now += wait.saturating_sub(1);
        if wait > 1 && self.ask(1, is_write, &costs, ttl).1.decisions[0].granted != 0 {
            return Err(format!(
                "{wait} ms were named for {costs:?}, but it is granted a millisecond earlier"
            ));
        }
        self.bench.now += wait.min(1);
        let (_, reply) = self.ask(1, is_write, &costs, ttl);
        if reply.decisions[0].granted == 1 {
            Ok(())
        } else {
            Err(format!(
                "{wait} ms were named for {costs:?}, but it is not granted then: {:?}",
                reply.decisions
            ))
        }
    }
}
