//! Histories of reservations and caps: random callers, and a recount of what each party holds from the list of all permits.

use std::time::Duration;

use bursar_quota::{
    Cap, LeaseId, LimitKind, Party, Reason, Reservation, SettleGroup, SettleKind, TenantName, Tier,
};
use rand::{Rng, SeedableRng, rngs::SmallRng};

use crate::{
    bench::{Bench, START, budget, settle},
    model::{Kind, Upstream},
    windows::Tally,
    words::{limit, says},
};

/// What a moment is rounded up by at most, in ms, where a limit has no window.
const SLOT: u64 = 250;
const TENANTS: [&str; 3] = ["a", "b", "c"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Sliding,
    OnClock,
    Bucket,
    Slots,
}

/// A permit as it was granted, and what is known of until when it weighs.
#[derive(Debug, Clone)]
struct Permit {
    lease: LeaseId,
    index: u16,
    tenant: usize,
    tier: Tier,
    cost: u64,
    granted: u64,
    /// What an aligned limit's response says, as of the grant.
    remaining: u64,
    is_settled: bool,
    /// It certainly weighs before the first moment, and certainly not from the second one on.
    surely: u64,
    perhaps: u64,
}

struct History {
    rng: SmallRng,
    bench: Bench,
    shape: Shape,
    n: u64,
    window: u64,
    send_within: u64,
    ttl: u64,
    reservations: Vec<Reservation>,
    caps: Vec<Cap>,
    upstream: Upstream,
    permits: Vec<Permit>,
    tally: Tally,
}

fn tenant(i: usize) -> TenantName {
    TenantName::new(TENANTS[i]).expect("a name")
}

fn belongs(party: &Party, who: usize, tier: Tier) -> bool {
    match party {
        Party::Tier(of) => *of == tier,
        Party::Tenant(of) => of.as_str() == TENANTS[who],
    }
}

/// Plays one history; an error says what was violated.
pub fn play(seed: u64) -> Result<Tally, String> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let n = rng.random_range(4..=20_u64);
    let window = [256, 1000, 25_600][rng.random_range(0..3)];
    let shape = [Shape::Sliding, Shape::OnClock, Shape::Bucket, Shape::Slots][rng.random_range(0..4)];
    let send_within = rng.random_range(1..=window / 4);
    let ttl = send_within + rng.random_range(0..=window);
    let mut reservations: Vec<Reservation> = Vec::new();
    for party in [
        Party::Tier(Tier::Interactive),
        Party::Tier(Tier::Batch),
        Party::Tenant(tenant(0)),
        Party::Tenant(tenant(1)),
    ] {
        let left = n - reservations.iter().map(|r| r.amount).sum::<u64>();
        if left > 1 && rng.random_bool(0.5) {
            reservations.push(Reservation { party, amount: rng.random_range(1..=left.div_ceil(2)) });
        }
    }
    let mut caps = Vec::new();
    for who in [None, Some(tenant(0)), Some(tenant(2))] {
        if rng.random_bool(0.35) {
            caps.push(Cap { tenant: who, amount: rng.random_range(1..=n) });
        }
    }
    let span = Duration::from_millis(window);
    let kind = match shape {
        Shape::Sliding | Shape::OnClock => {
            let aligned = shape == Shape::OnClock;
            LimitKind::Window { capacity: n, window: span, aligned, on_clock: aligned }
        }
        Shape::Bucket => {
            LimitKind::Bucket { capacity: n, refill_per_second: n as f64 * 1000.0 / window as f64 }
        }
        Shape::Slots => LimitKind::Concurrency { capacity: n, linger: Duration::ZERO },
    };
    let mut shared = limit("shared", kind);
    (shared.reservations, shared.caps) = (reservations.clone(), caps.clone());
    let mut spec = budget(vec![shared]);
    spec.send_within = Duration::from_millis(send_within);
    let upstream = Upstream::new(Kind::Clock, n, window, rng.random_range(0..window));
    let bench = Bench::new(&spec);
    let (permits, tally) = (Vec::new(), Tally::default());
    let mut history = History {
        rng,
        bench,
        shape,
        n,
        window,
        send_within,
        ttl,
        reservations,
        caps,
        upstream,
        permits,
        tally,
    };
    for _ in 0..history.rng.random_range(10..40) {
        match history.rng.random_range(0..10) {
            0..5 => history.acquire()?,
            5..8 => history.settle(),
            _ => {
                let most = if history.rng.random_bool(0.2) { window * 2 } else { window / 8 };
                history.bench.now += history.rng.random_range(0..=most);
            }
        }
    }
    Ok(history.tally)
}

/// Least and most of what some permits weigh.
#[derive(Debug, Clone, Copy)]
struct Held {
    least: u64,
    most: u64,
}

impl History {
    fn held(&self, is_of: impl Fn(&Permit) -> bool) -> Held {
        let now = self.bench.now;
        let mut held = Held { least: 0, most: 0 };
        for permit in self.permits.iter().filter(|permit| is_of(permit)) {
            held.least += if now < permit.surely { permit.cost } else { 0 };
            held.most += if now < permit.perhaps { permit.cost } else { 0 };
        }
        held
    }

    /// What a caller's tenant may have at most: a cap of its own, or that of each.
    fn cap(&self, who: usize) -> Option<u64> {
        let own = self.caps.iter().find(|cap| cap.tenant.as_ref() == Some(&tenant(who)));
        own.or_else(|| self.caps.iter().find(|cap| cap.tenant.is_none())).map(|cap| cap.amount)
    }

    /// What one call of this caller may cost, by what is declared.
    fn most_for(&self, who: usize, tier: Tier) -> u64 {
        let others = self.reservations.iter().filter(|r| !belongs(&r.party, who, tier));
        let left = self.n - others.map(|r| r.amount).sum::<u64>();
        left.min(self.cap(who).unwrap_or(left))
    }

    /// What is kept for others than this caller, at least and at most.
    fn kept(&self, who: usize, tier: Tier) -> Held {
        let mut kept = Held { least: 0, most: 0 };
        for r in self.reservations.iter().filter(|r| !belongs(&r.party, who, tier)) {
            let held = self.held(|permit| belongs(&r.party, permit.tenant, permit.tier));
            kept.least += r.amount.saturating_sub(held.most);
            kept.most += r.amount.saturating_sub(held.least);
        }
        kept
    }

    /// Until when a permit weighs in what it holds, if it is sent or settled at `moment` at the latest: slots are rounded up.
    fn over(&self, moment: u64) -> (u64, u64) {
        match self.shape {
            Shape::Slots => (moment, moment + SLOT + 2),
            // It may first be rounded up to where it can no longer be sent.
            Shape::Bucket => (moment + self.window, moment + self.window + 2 * SLOT + 2),
            _ => (moment + self.window, moment + self.window + self.window / 128 + 3),
        }
    }

    /// An end gives back what was used before it, as soon as it is known: that far a permit weighs at least.
    fn surely(&self, granted: u64, otherwise: u64) -> u64 {
        let end = if self.shape == Shape::OnClock { self.upstream.end(granted) } else { None };
        end.map_or(otherwise, |end| end.min(otherwise))
    }

    fn acquire(&mut self) -> Result<(), String> {
        let (who, tier) = (self.rng.random_range(0..3), Tier::ALL[self.rng.random_range(0..3)]);
        let count = self.rng.random_range(1..=self.n.min(6));
        let cost = if self.shape == Shape::Slots || self.rng.random_bool(0.7) {
            1
        } else {
            self.rng.random_range(1..=3)
        };
        let mut group = self.bench.acquire(u16::try_from(count).unwrap_or(1), cost, self.ttl);
        (group.tenant, group.tier) = (tenant(who), tier);
        let lease = group.lease;
        let now = self.bench.now;
        let available = self.bench.commit(Vec::new(), Vec::new()).limits[0].0;
        let (all, mine, kept) =
            (self.held(|_| true), self.held(|permit| permit.tenant == who), self.kept(who, tier));
        let decision = self.bench.commit(Vec::new(), vec![group]).decisions.remove(0);
        let granted = u64::from(decision.granted);
        let weight = granted * cost;
        let story = |what: &str| {
            format!(
                "at {} ms {granted} of {count} that cost {cost} are granted to {} ({tier}), refused as {:?}: {what}; {:?} of {}, {available} available, all {all:?}, its own {mine:?}, kept for others {kept:?}, {:?}, {:?}",
                now - START,
                TENANTS[who],
                decision.refusal,
                self.shape,
                self.n,
                self.reservations,
                self.caps,
            )
        };
        if granted > 0 {
            let there = u64::try_from(available).unwrap_or(0);
            if weight + kept.least > there {
                return Err(story("what is kept for others is granted"));
            }
            if self.shape != Shape::Bucket && all.least + weight + kept.least > self.n {
                return Err(story("with what is kept for others it is more than there is"));
            }
            if let Some(cap) = self.cap(who).filter(|cap| mine.least + weight > *cap) {
                return Err(story(&format!("above the tenant's cap of {cap}")));
            }
        }
        if granted < count {
            let reason = decision.refusal.as_ref().map(|r| r.reason);
            let is_never = cost > self.most_for(who, tier);
            if is_never && reason != Some(Reason::CostAboveCapacity) {
                return Err(story("it costs more than it may ever have"));
            }
            if !is_never {
                self.refused(who, cost, weight, available, (all, mine, kept), reason)
                    .map_err(|what| story(&what))?;
            }
        }
        self.tally.granted += granted;
        self.tally.refused_by_us += count - granted;
        for index in 0..decision.granted {
            if !self.upstream.call(now, cost) && self.shape == Shape::OnClock {
                return Err(story("the upstream refuses it"));
            }
            let remaining = self.upstream.remaining(now);
            let (surely, perhaps) = match self.shape {
                Shape::Slots => self.over(now + self.ttl),
                _ => self.over(now + self.send_within),
            };
            let surely = self.surely(now, surely);
            let (granted, is_settled) = (now, false);
            self.permits.push(Permit {
                lease,
                index,
                tenant: who,
                tier,
                cost,
                granted,
                remaining,
                is_settled,
                surely,
                perhaps,
            });
        }
        Ok(())
    }

    /// One more that is refused: there must be no room for it, or its tenant may have no more; and the reason is the one that holds.
    fn refused(
        &self,
        who: usize,
        cost: u64,
        weight: u64,
        available: i64,
        (all, mine, kept): (Held, Held, Held),
        reason: Option<Reason>,
    ) -> Result<(), String> {
        let wanted = weight + cost;
        let is_capped = self.cap(who).is_some_and(|cap| mine.most + wanted > cap);
        let there = u64::try_from(available).unwrap_or(0);
        let recounted = self.shape == Shape::Sliding || self.shape == Shape::Slots;
        let is_full = there < wanted + kept.most && (!recounted || all.most + kept.most + wanted > self.n);
        if !is_capped && !is_full {
            return Err("there is room for one more, and its tenant may have it".into());
        }
        let holds = match reason {
            Some(Reason::Reserved) => there >= wanted && kept.most > 0,
            Some(Reason::TenantCapped) => is_capped,
            Some(Reason::QuotaExhausted | Reason::ConcurrencyExhausted) => there < wanted,
            _ => false,
        };
        if holds { Ok(()) } else { Err("that is not why".into()) }
    }

    fn settle(&mut self) {
        let now = self.bench.now;
        let open: Vec<usize> = (0..self.permits.len()).filter(|i| !self.permits[*i].is_settled).collect();
        if open.is_empty() {
            return;
        }
        let i = open[self.rng.random_range(0..open.len())];
        let permit = self.permits[i].clone();
        let kind = match self.rng.random_range(0..6) {
            // The upstream on a clock has them all.
            0 if self.shape != Shape::OnClock => SettleKind::NotSent,
            1 => SettleKind::Lost,
            _ => SettleKind::Accepted,
        };
        let mut group = SettleGroup { indexes: vec![permit.index], ..settle(permit.lease, kind) };
        if self.shape == Shape::OnClock && kind == SettleKind::Accepted && self.rng.random_bool(0.7) {
            let left =
                self.upstream.end(permit.granted).and_then(|end| i64::try_from(end - permit.granted).ok());
            group.readings = vec![says(permit.remaining, left.map(|left| (left, left)))];
        }
        self.bench.commit(vec![group], Vec::new());
        self.tally.executed += u64::from(kind != SettleKind::NotSent);
        let sent_by = permit.granted + self.send_within;
        let (window, granted) = (self.window, permit.granted);
        let (surely, perhaps) = match self.shape {
            Shape::Slots => (now, now),
            // Of one that could not be sent any more it may have been counted already.
            _ if kind == SettleKind::NotSent => (now, if now < sent_by { now } else { permit.perhaps }),
            Shape::Sliding | Shape::OnClock if now > sent_by + window => return self.done(i),
            Shape::Bucket if now > sent_by => return self.done(i),
            Shape::Bucket => self.over(now),
            _ => self.over(now.min(sent_by)),
        };
        let surely = self.surely(granted, surely);
        (self.permits[i].surely, self.permits[i].perhaps) = (surely, perhaps);
        self.done(i);
    }

    fn done(&mut self, i: usize) {
        self.permits[i].is_settled = true;
    }
}
