//! Histories of pauses: refusals of every form, in every scope, and an operator, against a list of all that was said.

use std::time::Duration;

use bursar_quota::{
    ClassName, Commit, Decision, LeaseId, LimitReading, PauseOrder, Reason, Scope, SettleGroup, SettleKind,
    Span,
};
use rand::{Rng, SeedableRng, rngs::SmallRng};

use crate::{
    bench::{Bench, START, budget, settle},
    windows::Tally,
    words::slots,
};

/// The scopes in which upstreams refuse. What a call is of follows from its class: `read` falls under the first limit,
/// `write` under both.
const SCOPES: [&str; 5] = ["budget", "class:read", "class:write", "limit:all", "limit:writes"];
const OF_READ: &[usize] = &[0, 1, 3];
const OF_WRITE: &[usize] = &[0, 2, 3, 4];
/// Doublings of what a ramp lets out until it is over.
const DOUBLINGS: f64 = 8.0;

/// What was said of a scope, and what became of it.
#[derive(Debug, Clone)]
struct Stop {
    /// Until when to stay away: all that was said since the scope last granted freely.
    said: Vec<u64>,
    /// When its newest pause began: what was granted until then belongs to the same event.
    began: u64,
    /// Events in a row without a success, and when the first of them was.
    tries: u32,
    first: u64,
    /// Until when the probe that is out is waited for.
    probe: Option<u64>,
    /// Since when it ramps, and how many it let out.
    ramp: Option<(u64, u64)>,
}

impl Stop {
    fn until(&self) -> u64 {
        self.said.iter().copied().max().unwrap_or(0)
    }
}

struct Permit {
    lease: LeaseId,
    index: u16,
    is_write: bool,
    granted: u64,
    /// The scopes whose probe it is, and until when it is waited for.
    probes: Vec<usize>,
    patience: u64,
}

/// How many may go, and why no more.
struct Allowed {
    most: u64,
    reason: Option<Reason>,
    probes: Vec<usize>,
    ramps: Vec<usize>,
}

struct History {
    rng: SmallRng,
    bench: Bench,
    send_within: u64,
    ramp: u64,
    base: u64,
    max: u64,
    stops: [Option<Stop>; 5],
    /// The operator's pause, and until when; `None` inside: until it is resumed.
    by_operator: Option<Option<u64>>,
    permits: Vec<Permit>,
    tally: Tally,
}

/// Plays one history; an error says what was violated.
pub fn play(seed: u64) -> Result<Tally, String> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let base = *[100, 1000].get(rng.random_range(0..2)).unwrap_or(&1000);
    // Slots of which there are enough: nothing but pauses ever binds.
    let (mut all, mut writes) = (slots(1_000_000, 0), slots(1_000_000, 0));
    (all.name, writes.name) = (name("all"), name("writes"));
    let mut spec = budget(vec![all, writes]);
    spec.send_within = Duration::from_millis(rng.random_range(50..=5000));
    spec.ramp = Duration::from_millis(*[0, 80, 1000, 1700].get(rng.random_range(0..4)).unwrap_or(&0));
    spec.backoff.base = Duration::from_millis(base);
    spec.backoff.max = Duration::from_millis(rng.random_range(base..=base * 20));
    let mut history = History {
        bench: Bench::new(&spec),
        rng,
        send_within: millis(spec.send_within),
        ramp: millis(spec.ramp),
        base,
        max: millis(spec.backoff.max),
        stops: [const { None }; 5],
        by_operator: None,
        permits: Vec::new(),
        tally: Tally::default(),
    };
    for _ in 0..history.rng.random_range(10..50) {
        match history.rng.random_range(0..20) {
            0..7 => history.settle()?,
            7..14 => {
                let (is_write, count) = (history.rng.random(), history.rng.random_range(1..=6));
                if let Some(wait) = history.ask(is_write, count)? {
                    history.check_wait(is_write, wait)?;
                }
            }
            14 => history.operate(),
            _ => history.pass(),
        }
    }
    Ok(history.tally)
}

fn name(text: &str) -> bursar_quota::LimitName {
    bursar_quota::LimitName::new(text).expect("a name")
}

fn class(text: &str) -> ClassName {
    ClassName::new(text).expect("a name")
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).expect("a short span")
}

impl History {
    fn scopes_of(is_write: bool) -> &'static [usize] {
        if is_write { OF_WRITE } else { OF_READ }
    }

    fn pass(&mut self) {
        let span = match self.rng.random_range(0..4) {
            0 => self.rng.random_range(0..=20),
            1 => self.rng.random_range(0..=self.ramp / 4 + 1),
            2 => self.rng.random_range(0..=3000),
            _ => {
                // To where a pause ends, or just before.
                let ends = self.stops.iter().flatten().map(Stop::until).filter(|end| *end > self.bench.now);
                ends.min().map_or(1, |end| end - self.bench.now - self.rng.random_range(0..=1))
            }
        };
        self.bench.now += span;
    }

    /// Forgets what is over: a scope whose ramp is has nothing left of its pause.
    fn forget(&mut self) {
        let (now, ramp) = (self.bench.now, self.ramp);
        for stop in &mut self.stops {
            if stop.as_ref().and_then(|stop| stop.ramp).is_some_and(|(since, _)| now - since >= ramp) {
                *stop = None;
            }
        }
        if matches!(self.by_operator, Some(Some(until)) if until <= now) {
            self.by_operator = None;
        }
    }

    fn operate(&mut self) {
        match self.rng.random_range(0..3) {
            0 => {
                self.bench.resume();
                self.stops = [const { None }; 5];
                self.by_operator = None;
            }
            1 if self.rng.random_bool(0.3) => {
                self.bench.pause("-");
                self.by_operator = Some(None);
            }
            _ => {
                let span = self.rng.random_range(1..=3000);
                self.bench.pause(&span.to_string());
                self.by_operator = Some(Some(self.bench.now + span));
            }
        }
    }

    fn allowed(&self, is_write: bool, count: u64) -> Allowed {
        let now = self.bench.now;
        let mut binds: Vec<(u64, Reason)> = Vec::new();
        let (mut probes, mut ramps) = (Vec::new(), Vec::new());
        if self.by_operator.is_some() {
            binds.push((0, Reason::PausedByOperator));
        }
        for scope in Self::scopes_of(is_write) {
            let Some(stop) = &self.stops[*scope] else { continue };
            if let Some((since, out)) = stop.ramp {
                let share = DOUBLINGS * (now - since) as f64 / self.ramp as f64;
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 2^8")]
                let so_far = (share.exp2() + 1e-9).floor() as u64;
                binds.push((so_far.saturating_sub(out), Reason::Ramping));
                ramps.push(*scope);
            } else if now < stop.until() {
                binds.push((0, Reason::PausedByUpstream));
            } else if stop.probe.is_some_and(|till| now < till) {
                binds.push((0, Reason::Probing));
            } else {
                binds.push((1, Reason::Probing));
                probes.push(*scope);
            }
        }
        let most = binds.iter().map(|(most, _)| *most).min().unwrap_or(count).min(count);
        let reason = binds.iter().filter(|(m, _)| *m <= most && most < count).map(|(_, why)| *why).min();
        Allowed { most, reason, probes, ramps }
    }

    fn commit(&mut self, is_write: bool, count: u16, ttl: u64) -> (LeaseId, Decision) {
        let mut group = self.bench.acquire(count, 1, ttl);
        group.class = class(if is_write { "write" } else { "read" });
        group.costs = vec![1, u64::from(is_write)];
        let lease = group.lease;
        (lease, self.bench.commit(Vec::new(), vec![group]).decisions.remove(0))
    }

    /// Asks, and compares what is granted with what may be. Answers for how long the rest is refused, where that is said.
    fn ask(&mut self, is_write: bool, count: u16) -> Result<Option<u64>, String> {
        self.forget();
        let (now, ttl) = (self.bench.now, self.rng.random_range(self.send_within..=20_000));
        let allowed = self.allowed(is_write, u64::from(count));
        let (lease, decision) = self.commit(is_write, count, ttl);
        let granted = u64::from(decision.granted);
        let reason = decision.refusal.as_ref().map(|refusal| refusal.reason);
        let what = if is_write { "writes" } else { "reads" };
        if granted != allowed.most || reason != allowed.reason {
            return Err(format!(
                "at {} ms {granted} of {count} {what} are granted, refused as {reason:?}; it should be {} and {:?}: {:?}, operator {:?}",
                now - START,
                allowed.most,
                allowed.reason,
                self.named(),
                self.by_operator,
            ));
        }
        // What binds all the more: whatever else holds, nothing goes before the last of what was said.
        let open_at =
            Self::scopes_of(is_write).iter().filter_map(|scope| self.stops[*scope].as_ref()).map(Stop::until);
        if let Some(until) = open_at.max().filter(|until| granted > 0 && *until > now) {
            return Err(format!("{granted} {what} are granted {} ms before what was said", until - now));
        }
        if granted > 0 {
            let patience = now + ttl.min(2 * self.send_within) + 1;
            for scope in &allowed.probes {
                if let Some(stop) = &mut self.stops[*scope] {
                    stop.probe = Some(patience);
                }
            }
            for scope in &allowed.ramps {
                if let Some((_, out)) = self.stops[*scope].as_mut().and_then(|stop| stop.ramp.as_mut()) {
                    *out += granted;
                }
            }
            for index in 0..decision.granted {
                let probes = allowed.probes.clone();
                self.permits.push(Permit { lease, index, is_write, granted: now, probes, patience });
            }
        }
        self.tally.granted += granted;
        self.tally.refused_by_us += u64::from(count) - granted;
        Ok(decision.refusal.and_then(|refusal| refusal.retry_after).map(millis))
    }

    fn named(&self) -> Vec<(&'static str, Stop)> {
        let named = |(scope, stop): (usize, &Option<Stop>)| stop.clone().map(|stop| (SCOPES[scope], stop));
        self.stops.iter().enumerate().filter_map(named).collect()
    }

    /// If nothing else happens, the time that a refusal names is exact to the millisecond. Goes there sometimes.
    fn check_wait(&mut self, is_write: bool, wait: u64) -> Result<(), String> {
        if wait == 0 || !self.rng.random_bool(0.4) {
            return Ok(());
        }
        self.tally.wait_checks += 1;
        let before = self.tally.granted;
        self.bench.now += wait - 1;
        self.ask(is_write, 1)?;
        if self.tally.granted != before {
            return Err(format!("{wait} ms were named, but it is granted a millisecond earlier"));
        }
        self.bench.now += 1;
        self.ask(is_write, 1)?;
        if self.tally.granted == before {
            return Err(format!("{wait} ms were named, but it is not granted then: {:?}", self.named()));
        }
        Ok(())
    }

    fn settle(&mut self) -> Result<(), String> {
        if self.permits.is_empty() {
            return Ok(());
        }
        let permit = self.permits.swap_remove(self.rng.random_range(0..self.permits.len()));
        let group = settle(permit.lease, SettleKind::Accepted);
        let mut group = SettleGroup { indexes: vec![permit.index], ..group };
        let mut named = None;
        let jitter = f64::from(self.rng.random_range(0_u32..100)) / 100.0;
        let scopes = Self::scopes_of(permit.is_write);
        let mut refused_in = None;
        match self.rng.random_range(0..20) {
            0..8 => {}
            8 => group.kind = SettleKind::NotSent,
            9 => group.kind = SettleKind::Lost,
            _ => {
                group.kind = SettleKind::Refused { counted: self.rng.random() };
                let any = self.rng.random_bool(0.1);
                let scope = if any {
                    self.rng.random_range(0..5)
                } else {
                    scopes[self.rng.random_range(0..scopes.len())]
                };
                refused_in = Some(scope);
                named = self.refuse(&mut group, &permit, scope);
            }
        }
        let commit = Commit { settles: vec![group.clone()], jitter, ..self.bench.empty() };
        let paused = self.bench.send(commit).paused_ms[0];
        let has_succeeded = group.kind == SettleKind::Accepted;
        let now = self.bench.now;
        for scope in &permit.probes {
            let Some(stop) = &mut self.stops[*scope] else { continue };
            if stop.ramp.is_some() || now < stop.until() {
                continue;
            }
            if has_succeeded {
                (stop.probe, stop.ramp, stop.tries) = (None, Some((now, 0)), 0);
            } else if stop.probe == Some(permit.patience) {
                stop.probe = None;
            }
        }
        if let Some(scope) = refused_in {
            self.pause(scope, permit.granted, named, jitter);
        }
        self.forget();
        self.tally.executed += 1;
        let for_long = |stop: &Stop| stop.until().saturating_sub(now);
        let upstream =
            scopes.iter().filter_map(|scope| self.stops[*scope].as_ref()).filter(|s| s.ramp.is_none());
        let longest = upstream.map(for_long).max().unwrap_or(0);
        let longest = longest.max(self.by_operator.flatten().map_or(0, |until| until - now));
        if paused != longest {
            return Err(format!(
                "after {group:?} of a permit granted {} ms ago the pause is told as {paused} ms, it is {longest}: {:?}",
                now - permit.granted,
                self.named()
            ));
        }
        Ok(())
    }

    /// Makes the settlement a refusal, and answers the moment that it names, if it names one.
    fn refuse(&mut self, group: &mut SettleGroup, permit: &Permit, scope: usize) -> Option<u64> {
        let now = self.bench.now;
        group.age_ms = if self.rng.random() { 0 } else { self.rng.random_range(0..=now - permit.granted) };
        let received = now - group.age_ms;
        let retry_after_ms = match self.rng.random_range(0..8) {
            0 => Some(0),
            1..4 => Some(self.rng.random_range(1..=6000)),
            _ => None,
        };
        group.pause = Some(PauseOrder {
            scope: match scope {
                0 => Scope::Budget,
                1 => Scope::Class(class("read")),
                2 => Scope::Class(class("write")),
                3 => Scope::Limit(0),
                _ => Scope::Limit(1),
            },
            retry_after_ms,
        });
        let mut reset_at = None;
        for limit in 0..=u16::from(permit.is_write) {
            if self.rng.random_bool(0.6) {
                continue;
            }
            let remaining = if self.rng.random() { 0 } else { 5 };
            let latest = self.rng.random_range(0..=6000_u32);
            group.readings.push(LimitReading {
                limit,
                remaining_least: Some(remaining),
                remaining_last: None,
                capacity: None,
                reset: Some(Span { earliest_ms: i64::from(latest / 2), latest_ms: i64::from(latest) }),
            });
            if remaining == 0 {
                reset_at = reset_at.max(Some(received + u64::from(latest) + 1));
            }
        }
        match retry_after_ms {
            Some(0) => Some(now + self.base),
            Some(after) => Some(received + after + 1),
            None => reset_at.filter(|at| *at > now),
        }
    }

    /// What a refusal of a permit granted then does to a scope.
    fn pause(&mut self, scope: usize, granted: u64, named: Option<u64>, jitter: f64) {
        let now = self.bench.now;
        let had = self.stops[scope].take();
        let is_same_event = had.as_ref().is_some_and(|stop| granted <= stop.began);
        let mut stop = had.unwrap_or(Stop {
            said: Vec::new(),
            began: now,
            tries: 0,
            first: now,
            probe: None,
            ramp: None,
        });
        if is_same_event {
            // It says for itself how long, or it says nothing.
            if let Some(till) = named.filter(|till| *till > stop.until()) {
                stop.said.push(till);
                (stop.probe, stop.ramp) = (None, None);
            }
        } else {
            if stop.tries == 0 {
                stop.first = now;
            }
            let doubled =
                (self.base << stop.tries.min(40)).min(self.max).min(self.base + 2 * (now - stop.first));
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most a back-off")]
            let back_off = ((doubled as f64 * jitter).ceil() as u64).max(1);
            stop.said.push(named.unwrap_or(now + back_off));
            (stop.began, stop.tries, stop.probe, stop.ramp) = (now, stop.tries + 1, None, None);
        }
        self.stops[scope] = Some(stop);
    }
}
