//! Random commits on both engines: every reply that does not depend on the millisecond is the same.

use bursar_quota::{
    Commit, CommitReply, LeaseId, LimitKind, PauseOrder, RenewGroup, Renewal, Scope, SettleGroup, SettleKind,
};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng, seq::IndexedRandom as _};

use super::{
    Account, Bench,
    bench::{aligned, concurrency, kind, ms, named, reading, settlement, spec, window},
};

/// Windows, buckets and deadlines so long that no moment of theirs comes while the test runs.
const HOUR: u64 = 3_600_000;

async fn account(bench: &Bench) -> Account<'_> {
    let slow = LimitKind::Bucket { capacity: 300, refill_per_second: 0.000_001 };
    let mut spec = spec(vec![
        aligned(200, HOUR),
        named("sliding", window(150, HOUR)),
        concurrency(40, 0),
        named("bucket", kind(slow)),
    ]);
    spec.send_within = ms(600_000);
    spec.permit_ttl = ms(HOUR);
    spec.max_permit_ttl = ms(2 * HOUR);
    bench.put(spec).await
}

/// A commit that both engines are given; `held` are permits that may be out.
fn commit(
    random: &mut SmallRng,
    account: &Account<'_>,
    held: &mut Vec<(LeaseId, u16)>,
    next: &mut u128,
) -> Commit {
    let mut commit =
        Commit { waiting: random.random_range(0..3), jitter: random.random(), ..account.commit() };
    for _ in 0..random.random_range(0..4) {
        // Sometimes one that is settled already, or that was never there.
        let Some(&(lease, index)) = held.choose(random) else { break };
        let kind = *[
            SettleKind::NotSent,
            SettleKind::Accepted,
            SettleKind::Accepted,
            SettleKind::Lost,
            SettleKind::Refused { counted: true },
            SettleKind::Refused { counted: false },
        ]
        .choose(random)
        .unwrap();
        let mut group = SettleGroup { age_ms: random.random_range(0..50), ..settlement(lease, index, kind) };
        if random.random_bool(0.5) {
            group.indexes.push(index + 1);
        }
        if random.random_bool(0.6) {
            let read = reading(random.random_range(0..210), Some((1_800_000, 1_800_500)));
            group.readings.push(read);
        }
        if random.random_bool(0.3) {
            group.costs = (0..4).map(|_| random.random_range(0..5)).collect();
        }
        if random.random_bool(0.05) {
            group.pause = Some(PauseOrder { scope: Scope::Limit(1), retry_after_ms: Some(HOUR) });
        }
        commit.settles.push(group);
    }
    if let Some(&(lease, index)) = held.choose(random)
        && random.random_bool(0.3)
    {
        commit.renews.push(RenewGroup { lease, index, ttl_ms: random.random_range(1..2 * HOUR) });
    }
    for _ in 0..random.random_range(0..4) {
        *next += 1;
        let cost = random.random_range(1..4);
        let mut group = account.group_of(random.random_range(1..8), "default", &[("requests", cost)]);
        group.lease = LeaseId(*next);
        group.ttl_ms = HOUR;
        held.push((group.lease, random.random_range(0..group.count)));
        commit.acquires.push(group);
    }
    commit
}

/// A reply without its times.
fn comparable(reply: &CommitReply) -> String {
    let decisions: Vec<_> = reply
        .decisions
        .iter()
        .map(|decision| {
            let refusal = decision.refusal.as_ref();
            (decision.granted, refusal.map(|refusal| (refusal.reason, refusal.retry_after.is_some())))
        })
        .collect();
    let renewed: Vec<_> =
        reply.renewed.iter().map(|renewed| matches!(renewed, Renewal::Renewed { .. })).collect();
    let paused: Vec<_> = reply.paused_ms.iter().map(|paused| *paused > 0).collect();
    format!("{:?} {renewed:?} {decisions:?} {paused:?} {:?}", reply.settled, reply.limits)
}

#[tokio::test]
async fn random_commits_answer_alike_on_both_engines() {
    for seed in 0..12 {
        let (here, there) = (Bench::embedded(), Bench::redis());
        let (embedded, real) = (account(&here).await, account(&there).await);
        let mut random = SmallRng::seed_from_u64(seed);
        let (mut held, mut next, mut history) = (Vec::new(), 0, Vec::new());
        for step in 0..60 {
            let commit = commit(&mut random, &embedded, &mut held, &mut next);
            for _ in 0..=u8::from(random.random_bool(0.2)) {
                let here = comparable(&embedded.send(&commit).await.unwrap());
                let there = comparable(&real.send(&commit).await.unwrap());
                let recent: &[Commit] = &history[history.len().saturating_sub(3)..];
                assert_eq!(here, there, "seed {seed}, step {step}: {commit:#?}\nafter {recent:#?}");
            }
            history.push(commit);
        }
        let (here, there) = (embedded.snapshot().await, real.snapshot().await);
        assert_eq!((here.usage, here.granted, here.settled), (there.usage, there.granted, there.settled));
    }
}
