//! Upstreams that are not what they were declared, under steady demand: few congestion events, and then none. Random sizes and
//! phases, no network; `crates/sim` plays the same with fleets and real headers.

use std::{collections::VecDeque, time::Duration};

use bursar_quota::{LimitKind, LimitReading, PauseOrder, Scope, SettleGroup, SettleKind, Span};
use rand::{Rng, SeedableRng, rngs::SmallRng};

use crate::{
    bench::{Bench, START, budget, settle},
    windows::Tally,
    words::limit,
};

/// Congestion events until a limit has found its rung.
const EVENTS: u64 = 3;
/// For how many windows everybody asks.
const WINDOWS: u64 = 24;

/// What the upstream does in place of windows that give all back at their ends.
#[derive(Debug, Clone, Copy)]
enum Law {
    /// The last window's worth of calls; its reset is when the oldest drops out.
    Rolling,
    /// A bucket that refills N a window; its reset is when it is full.
    Leaking,
    /// Two windows on a clock, the older one weighted by how much of it the last window's length still covers; its reset is when
    /// the newer one ends.
    Weighted,
}

struct Upstream {
    law: Law,
    n: u64,
    window: u64,
    phase: u64,
    calls: VecDeque<u64>,
    /// What is in the bucket's way to being full, in calls times `window`, as of `at`.
    used: u64,
    at: u64,
}

impl Upstream {
    /// Of a clock's windows: when the one that `now` is in ends.
    fn end(&self, now: u64) -> u64 {
        ((now - self.phase) / self.window + 1) * self.window + self.phase
    }

    /// What is left now, and how long until the reset that it names.
    fn look(&mut self, now: u64) -> (u64, u64) {
        self.used = self.used.saturating_sub((now - self.at) * self.n);
        self.at = now;
        while self.calls.front().is_some_and(|at| at + 2 * self.window <= now) {
            self.calls.pop_front();
        }
        match self.law {
            Law::Rolling => {
                let counted = || self.calls.iter().filter(|at| *at + self.window > now);
                let left = self.n - counted().count() as u64;
                (left, counted().next().map_or(0, |oldest| oldest + self.window - now))
            }
            Law::Leaking => (self.n - self.used.div_ceil(self.window), self.used.div_ceil(self.n)),
            Law::Weighted => {
                let end = self.end(now);
                let (newer, older): (Vec<u64>, Vec<u64>) = self
                    .calls
                    .iter()
                    .filter(|at| *at + 2 * self.window >= end)
                    .partition(|at| *at + self.window >= end);
                let weighted = (older.len() as u64 * (end - now)).div_ceil(self.window);
                (self.n.saturating_sub(newer.len() as u64 + weighted), end - now)
            }
        }
    }

    fn call(&mut self, now: u64) -> bool {
        let fits = self.look(now).0 > 0;
        if fits {
            self.calls.push_back(now);
            self.used += self.window;
        }
        fits
    }
}

/// Plays one history; an error says what was violated.
pub fn play(seed: u64) -> Result<Tally, String> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let n = rng.random_range(64..=128);
    let window = n * rng.random_range(20..=200);
    let law = [Law::Rolling, Law::Leaking, Law::Weighted][rng.random_range(0..3)];
    let phase = rng.random_range(0..window);
    let mut upstream = Upstream { law, n, window, phase, calls: VecDeque::new(), used: 0, at: START };
    let declared = LimitKind::Window {
        capacity: n,
        window: Duration::from_millis(window),
        aligned: true,
        on_clock: false,
    };
    let mut spec = budget(vec![limit("requests", declared)]);
    spec.send_within = Duration::from_millis(window / 8);
    let mut bench = Bench::unproven(&spec);
    let (mut tally, mut events, mut last_event) = (Tally::default(), Vec::new(), 0);
    let until = START + WINDOWS * window;
    let mut rung = bench.stand().rung;
    while bench.now < until {
        let (lease, decision) = bench.try_take(rng.random_range(1..=4));
        let (granted_at, count) = (bench.now, decision.granted);
        tally.granted += u64::from(count);
        tally.refused_by_us += u64::from(decision.refusal.is_some());
        for index in 0..count {
            bench.now += rng.random_range(0..=1);
            let is_accepted = upstream.call(bench.now);
            let (remaining, reset) = upstream.look(bench.now);
            tally.executed += u64::from(is_accepted);
            if !is_accepted && granted_at > last_event {
                last_event = bench.now;
                events.push(bench.now - START);
            }
            let left = i64::try_from(reset).unwrap_or(0);
            let kind =
                if is_accepted { SettleKind::Accepted } else { SettleKind::Refused { counted: false } };
            let reading = LimitReading {
                limit: 0,
                remaining_least: Some(remaining),
                remaining_last: None,
                capacity: None,
                reset: Some(Span { earliest_ms: left, latest_ms: left }),
            };
            // Until when to stay away a refusal says by the reset of what is used up.
            let pause = (!is_accepted).then_some(PauseOrder { scope: Scope::Limit(0), retry_after_ms: None });
            let group =
                SettleGroup { indexes: vec![index], readings: vec![reading], pause, ..settle(lease, kind) };
            bench.settled(group);
            let after = bench.stand().rung;
            if rose(&rung, &after) && !is_accepted {
                return Err(format!(
                    "at {} ms a refusal takes {law:?} of {n} from {rung} up to {after}",
                    bench.now - START
                ));
            }
            rung = after;
        }
        if events.len() as u64 > EVENTS {
            return Err(format!(
                "{law:?} of {n} in {window} ms, phase {phase}: congestion events at {events:?} ms, at most {EVENTS} are allowed; {:?}",
                bench.stand()
            ));
        }
        let wait = decision.refusal.and_then(|refusal| refusal.retry_after);
        bench.now += wait.map_or(1, |wait| u64::try_from(wait.as_millis()).unwrap_or(1).clamp(1, window));
        let asleep = bench.stand().rung;
        if rose(&rung, &asleep) {
            return Err(format!("no reading came, and {law:?} of {n} goes from {rung} up to {asleep}"));
        }
    }
    Ok(tally)
}

/// Whether `after` believes more of what ends give back than `before` does.
fn rose(before: &str, after: &str) -> bool {
    let height = |rung: &str| ["paced", "sliding", "bucket", "aligned"].iter().position(|name| *name == rung);
    height(after) > height(before)
}
