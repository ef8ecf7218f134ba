//! How much of each limit a replica may still grant by the ration.
//!
//! Invariant: what is granted of a window of capacity `n` within any span of a window and the time in which a call may
//! come to be counted after its grant, is at most [`Ration::share`] of `n`; of a bucket, at most the share of what it
//! holds and of what flows back; at once, at most the share of what may be at once. It holds over any number of losses,
//! for as long as the lane lives, and a lane that remembers use is not closed.

use std::{collections::VecDeque, time::Duration};

use bursar_quota::{BudgetSpec, LimitKind, LimitName, LimitSpec, Ration};

/// In how many parts of a window use is remembered. More is finer: a part weighs as if granted at its end.
const PARTS: u32 = 256;

/// What the ration has of one limit.
#[derive(Debug)]
struct Share {
    name: LimitName,
    kind: LimitKind,
    use_of: Use,
}

#[derive(Debug)]
enum Use {
    /// Cost by the moment at which it weighs no more, the first first.
    Window { used: VecDeque<(Duration, u64)>, sum: u64, most: u64, part: Duration, weighs: Duration },
    /// What flowed in and was not used, and when that was counted.
    Bucket { level: f64, at: Duration, holds: f64, per_second: f64 },
    /// Calls that were settled and linger, by when they are gone. Those that are out are counted by the ration.
    Slots { linger: VecDeque<Duration>, most: u64, lasts: Duration },
}

/// The ration's use of a budget's limits.
#[derive(Debug, Default)]
pub(super) struct Allowance {
    version: Option<u64>,
    shares: Vec<Share>,
}

impl Allowance {
    /// Takes in the specification of `version`. A limit that stays as it is keeps its use; one that is new or changed
    /// begins as if all of its share had just been used, so that no change gives more.
    pub(super) fn adopt(&mut self, spec: &BudgetSpec, ration: &Ration, version: u64, now: Duration) {
        if self.version == Some(version) {
            return;
        }
        let first = self.version.replace(version).is_none();
        let mut known = std::mem::take(&mut self.shares);
        for limit in &spec.limits {
            let at = known.iter().position(|share| share.name == limit.name && share.kind == limit.kind);
            let mut share = match at {
                Some(at) => known.swap_remove(at),
                None => Share::new(limit, spec, ration, now, first),
            };
            share.resize(limit, spec, ration);
            self.shares.push(share);
        }
    }

    /// How many calls of these costs, each a limit's, may be granted now; `out` is how many hold a slot of each.
    pub(super) fn fits(&mut self, costs: &[u64], out: &[u64], most: u64, now: Duration) -> u64 {
        let shares = self.shares.iter_mut().zip(costs).enumerate();
        shares.filter(|(_, (_, cost))| **cost > 0).fold(most, |most, (at, (share, cost))| {
            let out = out.get(at).copied().unwrap_or(0);
            most.min(share.free(out, now) / cost)
        })
    }

    /// Whether any limit is of what is under way at once.
    pub(super) fn has_slots(&self) -> bool {
        self.shares.iter().any(|share| matches!(share.use_of, Use::Slots { .. }))
    }

    /// Notes that so many calls of these costs were granted.
    pub(super) fn grant(&mut self, costs: &[u64], count: u64, now: Duration) {
        for (share, cost) in self.shares.iter_mut().zip(costs) {
            share.charge(cost.saturating_mul(count), now);
        }
    }

    /// Notes that a call turned out to cost more than it was granted for, and left its slots.
    pub(super) fn settle(&mut self, granted: &[u64], actual: &[u64], now: Duration) {
        for (at, (share, granted)) in self.shares.iter_mut().zip(granted).enumerate() {
            if let Use::Slots { linger, lasts, .. } = &mut share.use_of {
                if *granted > 0 && !lasts.is_zero() {
                    linger.push_back(now + *lasts);
                }
                continue;
            }
            let actual = actual.get(at).copied().unwrap_or(0);
            if *granted > 0 {
                share.charge(actual.saturating_sub(*granted), now);
            }
        }
    }

    /// Whether it remembers use that still weighs.
    pub(super) fn is_used(&mut self, now: Duration) -> bool {
        self.shares.iter_mut().any(|share| share.is_used(now))
    }
}

impl Share {
    fn new(limit: &LimitSpec, spec: &BudgetSpec, ration: &Ration, now: Duration, first: bool) -> Self {
        let use_of = match &limit.kind {
            LimitKind::Window { window, .. } => {
                let part = (*window / PARTS).max(Duration::from_millis(1));
                Use::Window { used: VecDeque::new(), sum: 0, most: 0, part, weighs: Duration::ZERO }
            }
            LimitKind::Bucket { capacity, refill_per_second } => {
                #[allow(clippy::cast_precision_loss, reason = "10^12 is exact in a double")]
                let holds = ration.part(*capacity as f64);
                let level = if first { holds } else { 0.0 };
                Use::Bucket { level, at: now, holds, per_second: ration.part(*refill_per_second) }
            }
            // Nothing says how much there is but that it is never less than this.
            LimitKind::Adaptive { min_per_second, .. } => {
                Use::Bucket { level: 0.0, at: now, holds: 1.0, per_second: ration.part(*min_per_second) }
            }
            LimitKind::Concurrency { linger, .. } => {
                Use::Slots { linger: VecDeque::new(), most: 0, lasts: *linger }
            }
        };
        let mut share = Self { name: limit.name.clone(), kind: limit.kind.clone(), use_of };
        share.resize(limit, spec, ration);
        if !first && let Use::Window { most, .. } = share.use_of {
            share.charge(most, now);
        }
        share
    }

    /// Takes in how large the share is.
    fn resize(&mut self, limit: &LimitSpec, spec: &BudgetSpec, ration: &Ration) {
        #[allow(clippy::cast_precision_loss, reason = "10^12 is exact in a double")]
        let capacity = limit.kind.capacity() as f64;
        match (&mut self.use_of, &limit.kind) {
            (Use::Window { most, part, weighs, .. }, LimitKind::Window { window, capacity, .. }) => {
                *most = ration.share(*capacity);
                let counted = limit.counted_within(spec.send_within, spec.max_permit_ttl);
                // Never less than it was, so that what is remembered goes in the order in which it came.
                *weighs = (*weighs).max(*window + *part + counted);
            }
            (Use::Slots { most, .. }, kind) => *most = ration.share(kind.capacity()),
            (Use::Bucket { holds, per_second, level, .. }, LimitKind::Bucket { refill_per_second, .. }) => {
                (*holds, *per_second) = (ration.part(capacity), ration.part(*refill_per_second));
                *level = level.min(*holds);
            }
            (Use::Bucket { per_second, .. }, LimitKind::Adaptive { min_per_second, .. }) => {
                *per_second = ration.part(*min_per_second);
            }
            (Use::Window { .. } | Use::Bucket { .. }, _) => {}
        }
    }

    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a level is not negative and at most 10^12"
    )]
    fn free(&mut self, out: u64, now: Duration) -> u64 {
        self.advance(now);
        match &self.use_of {
            Use::Window { sum, most, .. } => most.saturating_sub(*sum),
            Use::Bucket { level, .. } => level.max(0.0).floor() as u64,
            Use::Slots { linger, most, .. } => {
                let lingering = u64::try_from(linger.len()).unwrap_or(u64::MAX);
                most.saturating_sub(out.saturating_add(lingering))
            }
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "costs are at most 10^12 each, exact in a double")]
    fn charge(&mut self, cost: u64, now: Duration) {
        if cost == 0 {
            return;
        }
        self.advance(now);
        match &mut self.use_of {
            Use::Window { used, sum, part, weighs, .. } => {
                *sum = sum.saturating_add(cost);
                match used.back_mut() {
                    // Of one part: it weighs as long as one granted at the part's end.
                    Some((until, of)) if now + *weighs < *until + *part => *of = of.saturating_add(cost),
                    _ => used.push_back((now + *weighs, cost)),
                }
            }
            Use::Bucket { level, .. } => *level -= cost as f64,
            Use::Slots { .. } => {}
        }
    }

    fn advance(&mut self, now: Duration) {
        match &mut self.use_of {
            Use::Window { used, sum, .. } => {
                while let Some((_, cost)) = used.front().filter(|(until, _)| *until <= now) {
                    *sum = sum.saturating_sub(*cost);
                    used.pop_front();
                }
            }
            Use::Bucket { level, at, holds, per_second } => {
                *level = (*level + now.saturating_sub(*at).as_secs_f64() * *per_second).min(*holds);
                *at = now.max(*at);
            }
            Use::Slots { linger, .. } => {
                while linger.front().is_some_and(|gone| *gone <= now) {
                    linger.pop_front();
                }
            }
        }
    }

    fn is_used(&mut self, now: Duration) -> bool {
        self.advance(now);
        match &self.use_of {
            Use::Window { used, .. } => !used.is_empty(),
            Use::Bucket { level, holds, .. } => {
                matches!(self.kind, LimitKind::Bucket { .. }) && *level < *holds
            }
            Use::Slots { linger, .. } => !linger.is_empty(),
        }
    }
}
