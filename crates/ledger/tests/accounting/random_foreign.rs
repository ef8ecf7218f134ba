//! Histories of a window from which others take as well: what is reported of them, and what their use excuses.

use std::{collections::BTreeMap, time::Duration};

use bursar_quota::{LeaseId, LimitKind, LimitReading, LimitSpec, SettleGroup, SettleKind, Span};
use rand::{Rng, SeedableRng, rngs::SmallRng};

use crate::{
    bench::{Bench, START, budget, settle},
    model::{Kind, Upstream},
    windows::Tally,
    words::limit,
};

/// How our own calls go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum World {
    /// Each is answered before the next is granted.
    Serial,
    /// All are answered, in any order.
    Answered,
    /// Some are answered without a reading, and of some nothing is heard.
    Any,
}

#[derive(Debug, Clone)]
struct Permit {
    lease: LeaseId,
    index: u16,
    granted: u64,
    /// How many were settled when it was granted: by that the account tells which of two was granted later.
    settled_then: usize,
    /// How many readings the account had by then.
    read_then: usize,
    /// The limit was on the rung that believes ends and readings.
    by_ends: bool,
    /// Granted alone, while nothing was out and nobody else was seen: it goes to find out, whatever a reading left.
    finds_out: bool,
    executes: Option<u64>,
    settles: Option<u64>,
    kind: SettleKind,
    reads: bool,
    reading: Option<LimitReading>,
    /// When it executed, and how much others had used in all by then.
    executed: u64,
    others_then: u64,
}

/// A reading that was settled, of a permit granted after so many others were settled.
#[derive(Debug, Clone, Copy)]
struct Read {
    settled_then: usize,
    executed: u64,
    settled: u64,
    /// How much others had used in all.
    others_then: u64,
}

struct History {
    rng: SmallRng,
    bench: Bench,
    upstream: Upstream,
    world: World,
    is_aligned: bool,
    send_within: u64,
    busy: f64,
    permits: Vec<Permit>,
    /// What others took, and when.
    others: Vec<(u64, u64)>,
    reads: Vec<Read>,
    /// How many of our own calls were settled.
    settled: usize,
    tally: Tally,
}

/// Plays one history; an error says what was violated.
pub fn play(seed: u64) -> Result<Tally, String> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let (n, window) = (rng.random_range(2..=20), [256, 1000, 5000][rng.random_range(0..3)]);
    let is_aligned = rng.random_bool(0.7);
    let world = [World::Serial, World::Answered, World::Any][rng.random_range(0..3)];
    let send_within = rng.random_range(1..=window / 8);
    let kind = if is_aligned { Kind::Clock } else { Kind::Rolling };
    let spec_of = LimitKind::Window {
        capacity: n,
        window: Duration::from_millis(window),
        aligned: is_aligned,
        on_clock: is_aligned && rng.random(),
    };
    let declared: LimitSpec = limit("requests", spec_of);
    let mut spec = budget(vec![declared]);
    spec.send_within = Duration::from_millis(send_within);
    let upstream = Upstream::new(kind, n, window, rng.random_range(0..window));
    let busy = [0.05, 0.2, 0.5][rng.random_range(0..3)];
    let (permits, others, reads) = (Vec::new(), Vec::new(), Vec::new());
    let (bench, tally) = (Bench::new(&spec), Tally::default());
    let mut history = History {
        rng,
        bench,
        upstream,
        world,
        is_aligned,
        send_within,
        busy,
        permits,
        others,
        reads,
        settled: 0,
        tally,
    };
    for _ in 0..history.rng.random_range(6..24) {
        if history.rng.random_bool(history.busy) {
            history.others_take();
        }
        if world != World::Serial || history.permits.is_empty() {
            history.acquire();
        }
        let span = match history.rng.random_range(0..10) {
            0..3 => 0,
            3..8 => history.rng.random_range(0..=window / 8),
            8 => history.rng.random_range(0..=window * 2),
            // Right about the window's end.
            _ => history.upstream.end(history.bench.now).map_or(window, |end| {
                (end + history.rng.random_range(0..3)).saturating_sub(history.bench.now + 1)
            }),
        };
        history.pass(span)?;
    }
    history.come_to_rest()?;
    Ok(history.tally)
}

impl History {
    fn others_take(&mut self) {
        let (now, cost) = (self.bench.now, self.rng.random_range(1..=self.upstream.n.div_ceil(3)));
        if self.upstream.call(now, cost) {
            self.others.push((now, cost));
        }
    }

    /// What others used after `from` and up to `to`.
    fn taken(&self, from: u64, to: u64) -> u64 {
        self.others.iter().filter(|(at, _)| from < *at && *at <= to).map(|(_, cost)| cost).sum()
    }

    /// The last moment of which nothing counts at `now` any more.
    fn before_window(&self, now: u64) -> u64 {
        self.upstream.end(now).map_or(now, |end| end - 1) - self.upstream.window
    }

    /// Whether nothing is out that may still be sent, and nobody else is seen.
    fn is_quiet(&mut self) -> bool {
        let (now, within) = (self.bench.now, self.send_within);
        let is_out = self.permits.iter().any(|permit| now <= permit.granted + within);
        !is_out && self.bench.stand().foreign_per_window == 0
    }

    fn acquire(&mut self) {
        let now = self.bench.now;
        let count = if self.world == World::Serial { 1 } else { self.rng.random_range(1..=4_u16) };
        let (is_quiet, by_ends) = (self.is_quiet(), self.bench.stand().rung == "aligned");
        let (lease, decision) = self.bench.try_take(count);
        let finds_out = is_quiet && decision.granted == 1;
        self.tally.granted += u64::from(decision.granted);
        self.tally.refused_by_us += u64::from(count - decision.granted);
        for index in 0..decision.granted {
            let is_any = self.world == World::Any;
            let executes = if is_any && self.rng.random_bool(0.1) {
                None
            } else {
                Some(now + self.rng.random_range(0..=self.send_within))
            };
            let after = executes.unwrap_or(now);
            let settles = if is_any && self.rng.random_bool(0.1) {
                None
            } else {
                Some(after + self.rng.random_range(0..=self.upstream.window / 16))
            };
            let kind = match executes {
                None if self.rng.random_bool(0.7) => SettleKind::NotSent,
                None => SettleKind::Lost,
                Some(_) => SettleKind::Accepted,
            };
            let reads = executes.is_some() && !(is_any && self.rng.random_bool(0.3));
            let (reading, executed, others_then, granted, settled_then) = (None, 0, 0, now, self.settled);
            let read_then = self.reads.len();
            self.permits.push(Permit {
                lease,
                index,
                granted,
                settled_then,
                read_then,
                by_ends,
                finds_out,
                executes,
                settles,
                kind,
                reads,
                reading,
                executed,
                others_then,
            });
        }
    }

    /// Lets `span` ms pass, doing what is due, one moment after the other.
    fn pass(&mut self, span: u64) -> Result<(), String> {
        let until = self.bench.now + span;
        let due = |p: &Permit| p.executes.into_iter().chain(p.settles).min();
        while let Some(at) = self.permits.iter().filter_map(due).min().filter(|at| *at <= until) {
            self.bench.now = self.bench.now.max(at);
            for i in 0..self.permits.len() {
                if self.permits[i].executes == Some(at) {
                    if self.rng.random_bool(self.busy / 4.0) {
                        self.others_take();
                    }
                    self.execute(i, at)?;
                }
            }
            for i in 0..self.permits.len() {
                if self.permits[i].executes.is_none() && self.permits[i].settles == Some(at) {
                    self.settle(i)?;
                }
            }
            self.permits.retain(|p| p.executes.is_some() || p.settles.is_some());
        }
        self.bench.now = until;
        Ok(())
    }

    fn execute(&mut self, i: usize, at: u64) -> Result<(), String> {
        let left = self.upstream.remaining(at);
        let is_accepted = self.upstream.call(at, 1);
        self.permits[i].executes = None;
        (self.permits[i].executed, self.permits[i].others_then) = (at, self.taken(0, at));
        if !is_accepted {
            self.permits[i].kind = SettleKind::Refused { counted: false };
            let unseen = self.unseen(self.permits[i].read_then, at, self.permits[i].by_ends);
            if left + unseen == 0 && !self.permits[i].finds_out {
                let from = self.before_window(at);
                return Err(format!(
                    "refused at {} ms, though others used nothing that no reading had shown at the grant ({} in its window): {:?} of {}, {:?}",
                    at - START,
                    self.taken(from, at),
                    self.upstream.kind,
                    self.upstream.n,
                    self.permits[i]
                ));
            }
        }
        self.tally.executed += u64::from(is_accepted);
        if self.permits[i].reads {
            let left = self.upstream.end(at).and_then(|end| i64::try_from(end - at).ok());
            self.permits[i].reading = Some(LimitReading {
                limit: 0,
                remaining_least: Some(self.upstream.remaining(at)),
                remaining_last: None,
                capacity: None,
                reset: left.map(|left| Span { earliest_ms: left, latest_ms: left }),
            });
        }
        Ok(())
    }

    /// What others used in the window of `at` that the account may not know by its first `read_then` readings: what came
    /// after the one of the permit granted latest, and of several of those after the first that executed, for any of them
    /// may be the one it goes by. Where ends are not believed, readings are only as far as they show what certainly is
    /// others': there, all of the window.
    fn unseen(&self, read_then: usize, at: u64, by_ends: bool) -> u64 {
        let from = self.before_window(at);
        let known = self.reads[..read_then].iter().filter(|read| read.executed > from);
        let latest = known.clone().map(|read| read.settled_then).max();
        let seen = known.filter(|read| Some(read.settled_then) == latest).map(|read| read.executed).min();
        // What others used in the millisecond of the reading may have come after it.
        self.taken(seen.filter(|_| by_ends).map_or(from, |at| at - 1), at)
    }

    fn settle(&mut self, i: usize) -> Result<(), String> {
        let permit = self.permits[i].clone();
        let group = SettleGroup { indexes: vec![permit.index], ..settle(permit.lease, permit.kind) };
        self.bench.settled(SettleGroup { readings: permit.reading.clone().into_iter().collect(), ..group });
        self.permits[i].settles = None;
        self.settled += 1;
        let (now, limit) = (self.bench.now, self.bench.stand());
        if permit.reading.is_some() {
            self.reads.push(Read {
                settled_then: permit.settled_then,
                executed: permit.executed,
                settled: now,
                others_then: permit.others_then,
            });
        }
        let all = self.taken(0, now);
        if limit.foreign > all {
            return Err(format!(
                "at {} ms {} are reported as others' use, they used {all}: {:?}, {:?} of {}",
                now - START,
                limit.foreign,
                self.world,
                self.upstream.kind,
                self.upstream.n
            ));
        }
        let (least, most) = (self.told(true), self.told(false));
        let is_exact = self.world == World::Serial && self.is_aligned && limit.rung == "aligned";
        if is_exact && !(least <= limit.foreign && limit.foreign <= most) {
            return Err(format!(
                "at {} ms {} are reported as others' use, readings showed {least} to {most} of {all}: {limit:?}",
                now - START,
                limit.foreign
            ));
        }
        Ok(())
    }

    /// What readings showed of others, window by window; those alone that came well `before_the_end` of theirs, or all.
    fn told(&self, before_the_end: bool) -> u64 {
        let mut by_end: BTreeMap<u64, u64> = BTreeMap::new();
        for read in &self.reads {
            let Some(end) = self.upstream.end(read.executed) else { continue };
            if before_the_end && read.settled + self.send_within + self.upstream.window / 64 + 2 > end {
                continue;
            }
            let seen = read.others_then - self.taken(0, self.before_window(read.executed));
            let most = by_end.entry(end).or_default();
            *most = seen.max(*most);
        }
        by_end.values().sum()
    }

    /// Lets everything happen that still will. Where all is answered and windows are on a clock, no more is available then than the
    /// upstream would accept, but for what others used since the reading of the permit granted latest.
    fn come_to_rest(&mut self) -> Result<(), String> {
        let ends = |p: &Permit| p.executes.into_iter().chain(p.settles).max();
        while let Some(at) = self.permits.iter().filter_map(ends).max() {
            self.pass(at.saturating_sub(self.bench.now))?;
        }
        if self.world == World::Any || !self.is_aligned {
            return Ok(());
        }
        let (now, limit) = (self.bench.now, self.bench.stand());
        let since = self.unseen(self.reads.len(), now, limit.rung == "aligned");
        let truth = self.upstream.remaining(now);
        self.tally.exact_checks += 1;
        let one = u64::from(self.is_quiet());
        if limit.available > i64::try_from((truth + since).max(one)).unwrap_or(i64::MAX) {
            return Err(format!(
                "at rest {} are available, the upstream has {truth}, and others used {since} since a reading: {limit:?}",
                limit.available
            ));
        }
        Ok(())
    }
}
