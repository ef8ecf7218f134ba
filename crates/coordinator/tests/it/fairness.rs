//! Who is served when not all can be.

use std::collections::HashMap;

use bursar_coordinator::{Acquire, Coordinator};
use bursar_quota::{BudgetSpec, Cap, Reason, Tier, UnitName};
use tokio::{sync::mpsc, time::sleep};

use crate::world::*;

/// Lets workers ask again and again for a time; what each kind of worker got.
async fn contend(
    coordinators: &[Coordinator],
    workers: &[(&'static str, Tier, usize)],
    span: std::time::Duration,
) -> HashMap<(&'static str, Tier), usize> {
    let (done, mut granted) = mpsc::unbounded_channel();
    for (at, (who, tier, count)) in workers.iter().copied().enumerate() {
        for n in 0..count {
            let coordinator = coordinators[(at + n) % coordinators.len()].clone();
            let done = done.clone();
            tokio::spawn(async move {
                loop {
                    let ask = Acquire { tenant: tenant(who), tier, ..patient(secs(3600)) };
                    if let Ok(granted) = coordinator.acquire(ask).await {
                        let _ = done.send((who, tier));
                        sleep(ms(1)).await;
                        let lost = settle(&granted, bursar_coordinator::Outcome::Lost);
                        coordinator.settle(lost).await.unwrap();
                    }
                }
            });
        }
    }
    sleep(span).await;
    let mut counts = HashMap::new();
    while let Ok(who) = granted.try_recv() {
        *counts.entry(who).or_insert(0) += 1;
    }
    counts
}

fn drip(per_second: u64) -> BudgetSpec {
    budget(vec![limit("w", window(per_second, secs(1)))])
}

fn jain(shares: &[f64]) -> f64 {
    let sum: f64 = shares.iter().sum();
    let squares: f64 = shares.iter().map(|share| share * share).sum();
    #[allow(clippy::cast_precision_loss, reason = "a handful of tenants")]
    let n = shares.len() as f64;
    sum * sum / (n * squares)
}

#[allow(clippy::cast_precision_loss, reason = "a few thousand permits")]
fn share(counts: &HashMap<(&'static str, Tier), usize>, who: &'static str, tier: Tier) -> f64 {
    counts.get(&(who, tier)).copied().unwrap_or(0) as f64
}

#[tokio::test(start_paused = true)]
async fn tenants_that_keep_asking_get_equal_shares_however_many_they_are() {
    let world = World::new(&[drip(20)]);
    let coordinator = world.replica("r1");
    let workers = [("a", Tier::Standard, 50), ("b", Tier::Standard, 10), ("c", Tier::Standard, 20)];
    let counts = contend(&[coordinator], &workers, secs(60)).await;
    let shares = ["a", "b", "c"].map(|who| share(&counts, who, Tier::Standard));
    assert!(shares.iter().sum::<f64>() >= 1190.0, "{shares:?}");
    assert!(jain(&shares) > 0.999, "{shares:?}");
}

#[tokio::test(start_paused = true)]
async fn tenants_of_uneven_bursts_get_equal_shares_while_they_ask() {
    // Less per turn than there are tenants.
    let world = World::new(&[drip(3)]);
    let coordinator = world.replica("r1");
    let names = ["a", "b", "c", "d", "e", "f", "g"];
    let workers: Vec<_> = names.iter().zip(2..).map(|(who, count)| (*who, Tier::Standard, count)).collect();
    let counts = contend(&[coordinator], &workers, secs(140)).await;
    let shares = names.map(|who| share(&counts, who, Tier::Standard));
    assert!(jain(&shares) > 0.999, "{shares:?}");
}

#[tokio::test(start_paused = true)]
async fn tiers_share_by_weight_and_nobody_starves() {
    let world = World::new(&[drip(26)]);
    let coordinator = world.replica("r1");
    let workers = Tier::ALL.map(|tier| ("a", tier, 60));
    let counts = contend(&[coordinator], &workers, secs(60)).await;
    let [interactive, standard, batch] = Tier::ALL.map(|tier| share(&counts, "a", tier));
    assert!((interactive / batch - 8.0).abs() < 0.4, "{counts:?}");
    assert!((standard / batch - 4.0).abs() < 0.3, "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_tier_alone_gets_everything() {
    let world = World::new(&[drip(20)]);
    let coordinator = world.replica("r1");
    let counts = contend(&[coordinator], &[("a", Tier::Batch, 40)], secs(30)).await;
    assert!(share(&counts, "a", Tier::Batch) >= 595.0, "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_tenant_is_served_in_order() {
    let world = World::new(&[drip(1)]);
    let coordinator = world.replica("r1");
    let _granted = coordinator.acquire(ask()).await.unwrap();
    let (done, mut order) = mpsc::unbounded_channel();
    for n in 0..20 {
        let (coordinator, done) = (coordinator.clone(), done.clone());
        tokio::spawn(async move {
            let _granted = coordinator.acquire(patient(secs(600))).await.unwrap();
            done.send(n).unwrap();
        });
        settle_down().await;
    }
    for expected in 0..20 {
        assert_eq!(order.recv().await, Some(expected));
    }
}

#[tokio::test(start_paused = true)]
async fn a_capped_tenant_holds_up_nobody() {
    let mut capped = limit("w", window(100, secs(60)));
    capped.caps.push(Cap { tenant: Some(tenant("greedy")), amount: 3 });
    let (world, coordinator) = one(vec![capped]);
    let greedy = Acquire { tenant: tenant("greedy"), ..patient(secs(600)) };
    let mut waiting = Vec::new();
    for _ in 0..50 {
        waiting.push(spawn(&coordinator, greedy.clone()).await);
    }
    assert_eq!(waiting.iter().filter(|waiting| waiting.is_finished()).count(), 3);
    let impatient = Acquire { max_wait: ms(0), ..greedy.clone() };
    assert_eq!(refused(coordinator.acquire(impatient).await).reason, Reason::TenantCapped);
    for n in 0..97 {
        let other = Acquire { tenant: tenant(&format!("t{}", n % 5)), ..ask() };
        assert!(coordinator.acquire(other).await.is_ok(), "{n}");
    }
    let before = world.ledger.commits().len();
    sleep(secs(30)).await;
    assert!(world.ledger.commits().len() - before < 10, "those who wait are not asked for over and over");
    sleep(secs(31)).await;
    assert_eq!(waiting.iter().filter(|waiting| waiting.is_finished()).count(), 6);
}

#[tokio::test(start_paused = true)]
async fn many_capped_tenants_hold_up_nobody() {
    let mut capped = limit("w", window(5000, secs(60)));
    for n in 0..30 {
        capped.caps.push(Cap { tenant: Some(tenant(&format!("g{n}"))), amount: 1 });
    }
    let (_world, coordinator) = one(vec![capped]);
    let mut waiting = Vec::new();
    for n in 0..300 {
        let ask = Acquire { tenant: tenant(&format!("g{}", n % 30)), ..patient(secs(600)) };
        let coordinator = coordinator.clone();
        waiting.push(tokio::spawn(async move { coordinator.acquire(ask).await }));
    }
    settle_down().await;
    assert_eq!(waiting.iter().filter(|waiting| waiting.is_finished()).count(), 30);
    assert_eq!(coordinator.acquire(patient(secs(9))).await.unwrap().waited, ms(0));
}

#[tokio::test(start_paused = true)]
async fn what_is_told_of_who_waits_is_what_its_first_call_costs() {
    let (world, coordinator) = one(vec![limit("w", window(10, secs(60)))]);
    let costing = |cost| Acquire { costs: vec![(UnitName::requests(), cost)], ..patient(secs(600)) };
    assert!(coordinator.acquire(costing(5)).await.is_ok());
    let mut waiting = Vec::new();
    for cost in [9, 9, 9, 9, 1, 1, 1] {
        waiting.push(spawn(&coordinator, costing(cost)).await);
    }
    sleep(secs(20)).await;
    // Four are asked for at once, and those that cost one are left in the queue.
    let commits = world.ledger.commits();
    let told: Vec<_> = commits.iter().filter(|commit| commit.waiting == 7).collect();
    assert!(!told.is_empty() && told.iter().any(|commit| !commit.acquires.is_empty()));
    for commit in told {
        let [contender] = &commit.contenders[..] else { panic!("{:?}", commit.contenders) };
        assert_eq!((contender.calls, &contender.costs), (7, &vec![9]));
    }
}
