//! Single rules of changed declarations.

use std::time::Duration;

use bursar_quota::{Cap, ClassName, LimitKind, LimitName, LimitSpec, Reason, SettleKind};

use crate::{
    bench::{Bench, START, budget, minute, settle},
    words::{aligned, all_of, bucket, limit, lost, names, rate, read, says, slots},
};

fn bench(limit: LimitSpec) -> Bench {
    Bench::new(&budget(vec![limit]))
}

#[test]
fn a_store_knows_a_budget_from_its_declaration_until_it_is_deleted_or_lost() {
    let mut bench = bench(aligned(10));
    assert!(bench.is_known());
    bench.delete();
    assert!(!bench.is_known(), "of one that was deleted the version is left, and no declaration");
    bench.put(&budget(vec![aligned(10)]));
    assert!(bench.is_known());
    bench.evict("spec");
    assert!(!bench.is_known());
}

#[test]
fn what_was_to_close_with_the_window_weighs_on_under_another_declaration() {
    let mut bench = bench(aligned(10));
    let lease = bench.take(2);
    bench.settled(all_of(2, read(lease, says(8, Some((30_000, 30_000))))));
    bench.put(&budget(vec![aligned(20)]));
    assert_eq!(bench.available(), 18);
    bench.now += 59_999;
    assert_eq!(bench.available(), 18);
    bench.now += 500;
    assert_eq!(bench.available(), 20);
}

#[test]
fn a_new_declarations_capacity_goes_before_the_one_that_was_read() {
    let mut bench = bench(minute(10));
    let lease = bench.take(1);
    bench.settled(read(lease, names(Some(3), 5)));
    assert_eq!(bench.stand().capacity, 5);
    bench.put(&budget(vec![minute(20)]));
    assert_eq!(bench.stand().capacity, 20);
}

#[test]
fn a_limit_of_another_window_takes_what_weighed_along_for_its_own() {
    let mut bench = bench(minute(10));
    bench.take(4);
    let kind =
        LimitKind::Window { capacity: 10, window: Duration::from_secs(5), aligned: false, on_clock: false };
    bench.put(&budget(vec![limit("requests", kind)]));
    assert_eq!(bench.available(), 6);
    bench.now += 5100;
    assert_eq!(bench.available(), 10, "for its own window");
    bench.take(10);
    bench.now += 10_100;
    assert_eq!(bench.available(), 10);
}

#[test]
fn a_limit_of_another_kind_begins_with_what_weighed() {
    // A window as a bucket, as calls at once, and as a window again; an adaptive rate has nothing to hand over.
    let mut bench = bench(LimitSpec { name: LimitName::new("x").unwrap(), ..minute(10) });
    bench.take(4);
    let named = |limit: LimitSpec| budget(vec![LimitSpec { name: LimitName::new("x").unwrap(), ..limit }]);
    bench.put(&named(bucket(10, 0.001)));
    assert_eq!(bench.available(), 6);
    bench.put(&named(slots(10, 0)));
    assert_eq!(bench.available(), 6);
    bench.now += 60_001;
    assert_eq!(bench.available(), 10, "calls under way are over by then");
    bench.take(3);
    bench.put(&named(minute(10)));
    assert_eq!(bench.available(), 7);
    bench.put(&named(rate(100.0, 1.0, 1000.0)));
    assert_eq!(bench.available(), 1);
    bench.put(&named(minute(10)));
    assert_eq!(bench.available(), 10);
}

#[test]
fn a_limit_that_is_declared_no_more_leaves_nothing() {
    let other = || LimitSpec { name: LimitName::new("other").unwrap(), ..minute(5) };
    let mut bench = Bench::new(&budget(vec![minute(10), other()]));
    let mut group = bench.acquire(2, 1, 60_000);
    group.costs = vec![1, 1];
    bench.commit(Vec::new(), vec![group]);
    bench.put(&budget(vec![minute(10)]));
    assert_eq!(bench.available(), 8);
    bench.put(&budget(vec![minute(10), other()]));
    let stand: Vec<_> = bench.stored().snapshot.limits.iter().map(|limit| limit.available).collect();
    assert_eq!(stand, [8, 5]);
}

#[test]
fn what_lingers_under_another_linger_is_still_held_by_its_party() {
    let declared = |linger| {
        let mut limit = slots(10, linger);
        limit.caps = vec![Cap { tenant: None, amount: 2 }];
        budget(vec![limit])
    };
    let mut bench = Bench::new(&declared(5000));
    let lease = bench.take(2);
    bench.settled(all_of(2, settle(lease, SettleKind::Accepted)));
    bench.put(&declared(100));
    assert_eq!((bench.available(), bench.now), (8, START));
    assert_eq!(bench.try_take(1).1.refusal.unwrap().reason, Reason::TenantCapped);
    bench.now += 5300;
    assert_eq!(bench.available(), 10);
    assert_eq!(bench.try_take(3).1.granted, 2);
}

#[test]
fn a_class_that_is_unlike_the_others_is_counted_by_itself() {
    let mut bench = bench(minute(100));
    let mut group = bench.acquire(3, 1, 60_000);
    group.class = ClassName::new("write").unwrap();
    bench.commit(Vec::new(), vec![group]);
    bench.take(2);
    let usage = bench.stored().snapshot.usage;
    let of = |name: &str| usage.iter().find(|u| u.dimension == "class" && u.name == name).map(|u| u.cost);
    assert_eq!((of("write"), of("default")), (Some(3), Some(2)));
}

#[test]
fn a_deleted_budget_leaves_nothing_to_the_next_of_its_name() {
    let mut bench = bench(minute(10));
    let lease = bench.take(3);
    bench.settled(lost(lease));
    bench.pause_and_resume();
    bench.put(&budget(vec![minute(10)]));
    let snapshot = bench.stored().snapshot;
    assert_eq!((snapshot.granted, snapshot.settled, snapshot.usage.len()), (0, 0, 0));
    assert_eq!(bench.available(), 10);
    // Its version went on: what the next says of the old one is stale.
    assert_eq!(bench.take(1), bursar_quota::LeaseId(2));
}
