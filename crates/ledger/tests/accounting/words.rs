//! The few words in which single rules are told.

use std::time::Duration;

use bursar_quota::{
    Decision, LeaseId, LimitKind, LimitName, LimitReading, LimitSnapshot, LimitSpec, Reason, SettleGroup,
    SettleKind, Span,
};

use crate::bench::{Bench, START, settle};

pub fn limit(name: &str, kind: LimitKind) -> LimitSpec {
    LimitSpec::new(LimitName::new(name).unwrap(), kind)
}

/// A window of `capacity` a minute.
pub fn window(capacity: u64, aligned: bool, on_clock: bool) -> LimitSpec {
    let window = Duration::from_secs(60);
    limit("requests", LimitKind::Window { capacity, window, aligned, on_clock })
}

pub fn aligned(capacity: u64) -> LimitSpec {
    window(capacity, true, false)
}

pub fn slots(capacity: u64, linger_ms: u64) -> LimitSpec {
    limit("slots", LimitKind::Concurrency { capacity, linger: Duration::from_millis(linger_ms) })
}

pub fn bucket(capacity: u64, refill_per_second: f64) -> LimitSpec {
    limit("bucket", LimitKind::Bucket { capacity, refill_per_second })
}

pub fn rate(start_per_second: f64, min_per_second: f64, max_per_second: f64) -> LimitSpec {
    limit("rate", LimitKind::Adaptive { start_per_second, min_per_second, max_per_second })
}

/// What a response says: so much remains, of a window that ends between these ms from now.
pub fn says(remaining: u64, end_ms: Option<(i64, i64)>) -> LimitReading {
    LimitReading {
        limit: 0,
        remaining_least: Some(remaining),
        remaining_last: None,
        capacity: None,
        reset: end_ms.map(|(earliest_ms, latest_ms)| Span { earliest_ms, latest_ms }),
    }
}

/// The rung that the only limit is on.
pub fn rung(bench: &mut Bench) -> String {
    bench.stand().rung
}

/// So much remains of a window that ends at `end` ms from the start.
pub fn until(bench: &Bench, remaining: u64, end: u64) -> LimitReading {
    let left = i64::try_from(START + end).unwrap() - i64::try_from(bench.now).unwrap();
    says(remaining, Some((left, left)))
}

/// A call that was answered, with what the answer says.
pub fn read(lease: LeaseId, reading: LimitReading) -> SettleGroup {
    SettleGroup { readings: vec![reading], ..settle(lease, SettleKind::Accepted) }
}

/// A call of which nothing was heard.
pub fn lost(lease: LeaseId) -> SettleGroup {
    settle(lease, SettleKind::Lost)
}

/// Permits `0..count` of a lease, as `group` says of its first.
pub fn all_of(count: u16, group: SettleGroup) -> SettleGroup {
    SettleGroup { indexes: (0..count).collect(), ..group }
}

impl Bench {
    /// Takes `count` permits of cost 1 that must be there.
    pub fn take(&mut self, count: u16) -> LeaseId {
        let (lease, decision) = self.try_take(count);
        assert_eq!(decision.granted, count, "{decision:?}");
        lease
    }

    /// Asks for `count` permits of cost 1.
    pub fn try_take(&mut self, count: u16) -> (LeaseId, Decision) {
        let group = self.acquire(count, 1, 60_000);
        let lease = group.lease;
        (lease, self.commit(Vec::new(), vec![group]).decisions.remove(0))
    }

    /// Settles one group; its permits were not settled before.
    pub fn settled(&mut self, group: SettleGroup) {
        let reply = self.commit(vec![group], Vec::new());
        assert!(
            reply.settled[0].iter().all(|settled| *settled == bursar_quota::Settled::Applied),
            "{reply:?}"
        );
    }

    /// How its first limit stands.
    pub fn stand(&mut self) -> LimitSnapshot {
        self.stored().snapshot.limits.remove(0)
    }

    pub fn available(&mut self) -> i64 {
        self.stand().available
    }

    /// Asks for one permit that must be refused, goes to the millisecond that is named, and sees that it is exact.
    pub fn refused_until_exactly(&mut self, reason: Reason) -> u64 {
        let (_, decision) = self.try_take(1);
        let refusal = decision.refusal.unwrap_or_else(|| panic!("granted"));
        assert_eq!(refusal.reason, reason);
        let wait = u64::try_from(refusal.retry_after.expect("a time").as_millis()).unwrap();
        self.now += wait - 1;
        assert_eq!(self.try_take(1).1.granted, 0, "a millisecond before the {wait} that were named");
        self.now += 1;
        assert_eq!(self.try_take(1).1.granted, 1, "after the {wait} ms that were named");
        wait
    }
}

/// A response that names the capacity.
pub fn names(remaining: Option<u64>, capacity: u64) -> LimitReading {
    LimitReading { remaining_least: remaining, capacity: Some(capacity), ..says(0, None) }
}
