//! Histories of a limit on calls at once: slots come back by settlement and linger, or by the deadline.

use std::time::Duration;

use bursar_quota::{BudgetName, BudgetSpec, LimitKind, LimitName, LimitSpec, SettleGroup, SettleKind};
use rand::{Rng, SeedableRng, rngs::SmallRng};

use crate::{bench::Bench, windows::Tally};

struct Call {
    settle: Option<(u64, SettleGroup)>,
    /// When the upstream has it: from, and to (its linger included).
    busy: Option<(u64, u64)>,
}

/// Plays one history; an error says what was violated.
pub fn play(seed: u64) -> Result<Tally, String> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let n = rng.random_range(1..=5);
    let linger = *[0, 1, 50, 400].get(rng.random_range(0..4)).unwrap();
    let ttl = rng.random_range(200..3000);
    let kind = LimitKind::Concurrency { capacity: n, linger: Duration::from_millis(linger) };
    let name = LimitName::new("concurrency").unwrap();
    let mut spec = BudgetSpec::new(BudgetName::new("b").unwrap(), vec![LimitSpec::new(name, kind)]);
    spec.send_within = Duration::from_millis(100);
    let mut bench = Bench::new(&spec);
    let mut calls: Vec<Call> = Vec::new();
    let mut tally = Tally::default();

    for _ in 0..rng.random_range(4..24) {
        let count = rng.random_range(1..=3);
        let group = bench.acquire(count, 1, ttl);
        let lease = group.lease;
        let decision = bench.commit(Vec::new(), vec![group]).decisions.remove(0);
        tally.granted += u64::from(decision.granted);
        tally.refused_by_us += u64::from(count - decision.granted);
        for index in 0..decision.granted {
            let start = bench.now + rng.random_range(0..=100);
            let end = rng.random_range(start..=bench.now + ttl);
            let kind = if rng.random_bool(0.1) { SettleKind::NotSent } else { SettleKind::Accepted };
            let group = SettleGroup {
                lease,
                indexes: vec![index],
                kind,
                costs: Vec::new(),
                units: Vec::new(),
                readings: Vec::new(),
                pause: None,
                age_ms: 0,
            };
            let is_sent = kind == SettleKind::Accepted;
            let settled = end + rng.random_range(0..50);
            // A holder that dies is done with its call by its deadline: that is what a deadline means.
            let dies = rng.random_bool(0.15);
            let busy_till = if dies { end.min(bench.now + ttl) } else { end + rng.random_range(0..=linger) };
            calls.push(Call {
                settle: (!dies).then_some((settled, group)),
                busy: is_sent.then_some((start, busy_till)),
            });
            tally.executed += u64::from(is_sent);
        }
        let until = bench.now + rng.random_range(0..=ttl / 4);
        loop {
            let next = calls.iter().filter_map(|c| c.settle.as_ref().map(|s| s.0)).min();
            let Some(at) = next.filter(|at| *at <= until) else { break };
            bench.now = bench.now.max(at);
            for call in &mut calls {
                if call.settle.as_ref().is_some_and(|s| s.0 == at) {
                    let (_, group) = call.settle.take().unwrap();
                    bench.commit(vec![group], Vec::new());
                }
            }
        }
        bench.now = until;
    }

    // Most at once, by brute force over all starts.
    let busy: Vec<_> = calls.iter().filter_map(|c| c.busy).collect();
    for (start, _) in &busy {
        let at_once = busy.iter().filter(|(from, to)| from <= start && start < to).count();
        if at_once as u64 > n {
            return Err(format!("{at_once} at once, {n} are allowed"));
        }
    }
    // Every slot comes back.
    bench.now += ttl * 2 + linger + 1000;
    bench.commit(Vec::new(), Vec::new());
    let limit = bench.stored().snapshot.limits.remove(0);
    if limit.available != i64::try_from(n).unwrap() {
        return Err(format!("a slot was lost: {limit:?}"));
    }
    Ok(tally)
}
