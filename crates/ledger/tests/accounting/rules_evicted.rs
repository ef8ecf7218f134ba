//! Single rules of one key of a budget that the server evicted, and nothing else of it.

use std::time::Duration;

use bursar_quota::{
    CountedAt, EventKind, LimitKind, LimitSpec, PauseOrder, Reason, Scope, SettleGroup, SettleKind,
};

use crate::{
    bench::{Bench, budget, minute, settle},
    words::slots,
};

/// A bench whose budget is paused for so long by a refusal.
fn paused(retry_after_ms: u64) -> Bench {
    let mut bench = Bench::new(&budget(vec![minute(1000)]));
    let lease = bench.take(1);
    bench.settled(SettleGroup {
        pause: Some(PauseOrder { scope: Scope::Budget, retry_after_ms: Some(retry_after_ms) }),
        ..settle(lease, SettleKind::Refused { counted: false })
    });
    bench
}

/// The reason why one more is refused, and when it may come again; nothing if it is granted.
fn refusal(bench: &mut Bench) -> Option<(Reason, Option<u128>)> {
    let refusal = bench.try_take(1).1.refusal?;
    Some((refusal.reason, refusal.retry_after.map(|after| after.as_millis())))
}

fn losses(bench: &Bench) -> usize {
    bench.announced.iter().filter(|event| event.kind == EventKind::StateLost).count()
}

#[test]
fn a_pause_goes_on_and_its_loss_is_told_once() {
    let mut bench = paused(5000);
    let before = refusal(&mut bench);
    assert!(matches!(before, Some((_, Some(5001)))), "{before:?}");
    bench.now += 1000;
    bench.evict("pause");
    assert_eq!(bench.stored().snapshot.pauses.len(), 1);
    assert_eq!(losses(&bench), 0, "who only looks tells nothing");
    for _ in 0..2 {
        assert_eq!(refusal(&mut bench), before.map(|(reason, _)| (reason, Some(4001))));
        assert_eq!(losses(&bench), 1);
    }
    // One goes first, as after any pause.
    bench.now += 4001;
    let lease = bench.take(1);
    assert!(refusal(&mut bench).is_some());
    bench.settled(settle(lease, SettleKind::Accepted));
    bench.now += 10_000;
    assert_eq!(refusal(&mut bench), None);
}

#[test]
fn an_operators_pause_goes_on_until_it_is_resumed() {
    for (span, ends_in) in [("-", None), ("60000", Some(60_000))] {
        let mut bench = Bench::new(&budget(vec![minute(1000)]));
        bench.pause(span);
        bench.evict("pause");
        let refused = refusal(&mut bench).expect("it is paused");
        assert_eq!(refused.1, ends_in, "{span}");
        bench.resume();
        bench.evict("pause");
        assert_eq!((refusal(&mut bench), losses(&bench)), (None, 1));
    }
}

#[test]
fn what_was_over_is_not_recalled() {
    let mut bench = paused(1000);
    bench.now += 1001;
    bench.evict("pause");
    assert_eq!((refusal(&mut bench), losses(&bench)), (None, 0));
    let mut bench = paused(5000);
    bench.resume();
    bench.evict("pause");
    assert_eq!((refusal(&mut bench), losses(&bench)), (None, 0));
}

#[test]
fn a_declaration_that_nobody_deleted_is_forgotten() {
    let mut bench = Bench::new(&budget(vec![minute(10)]));
    bench.remembers = true;
    bench.take(1);
    bench.evict("spec");
    assert_eq!(bench.refused_as(), "FORGOTTEN");
    // Whoever remembers nothing of it cannot know that there was one.
    let mut strange = Bench::new(&budget(vec![minute(10)]));
    strange.evict("spec");
    assert_eq!(strange.refused_as(), "NOBUDGET");
    // Put again, the account goes on.
    bench.put(&budget(vec![minute(10)]));
    assert_eq!(bench.available(), 9);
    bench.delete();
    assert_eq!(bench.refused_as(), "NOBUDGET");
}

/// A replica that remembers nothing of the budget asks for one; when it may come again, or `None` if it is granted.
fn strange(bench: &mut Bench) -> Option<u128> {
    let (witness, told) = (std::mem::take(&mut bench.witness), bench.told.clone());
    bench.remembers = false;
    let refused = refusal(bench);
    (bench.witness, bench.told, bench.remembers) = (witness, told, true);
    refused.map(|(_, after)| after.expect("a time"))
}

/// Asks as a stranger until it is granted one, and says after how long.
fn granted_to_a_stranger_after(bench: &mut Bench) -> u64 {
    let began = bench.now;
    while let Some(after) = strange(bench) {
        bench.now += u64::try_from(after).unwrap().max(1);
        assert!(bench.now < began + 1_000_000);
    }
    bench.now - began
}

#[test]
fn a_limit_that_was_lost_with_its_declaration_begins_lost() {
    let once = |limit: LimitSpec| LimitSpec { counted_at: CountedAt::Completion, ..limit };
    // 5 s until all is sent and a window; what counts when a call is over: by the longest deadline that is usual or was told.
    for (limit, ttl, expected) in [
        (minute(10), 1000, 65_001),
        (slots(10, 0), 1000, 60_000),
        (slots(10, 0), 90_000, 90_001),
        (once(minute(10)), 90_000, 150_001),
    ] {
        let spec = budget(vec![limit]);
        let mut bench = Bench::new(&spec);
        bench.remembers = true;
        let group = bench.acquire(10, 1, ttl);
        assert_eq!(bench.commit(Vec::new(), vec![group]).decisions[0].granted, 10);
        bench.come_back_empty();
        assert_eq!(bench.refused_as(), "FORGOTTEN");
        bench.recover();
        assert_eq!(losses(&bench), 1);
        bench.put(&spec);
        assert_eq!(granted_to_a_stranger_after(&mut bench), expected);
        assert_eq!((refusal(&mut bench), losses(&bench)), (None, 1), "it is told once");
    }
}

#[test]
fn pauses_that_were_lost_with_all_else_go_on() {
    let mut bench = paused(500_000);
    bench.come_back_empty();
    bench.remembers = true;
    bench.witness.incarnation.clone_from(&bench.told.incarnation);
    bench.recover();
    bench.put(&budget(vec![minute(1000)]));
    assert_eq!(granted_to_a_stranger_after(&mut bench), 500_001);
}

#[test]
fn an_account_that_another_declaration_kept_is_lost_with_it() {
    let minutes = |minutes: u64| {
        let window = Duration::from_secs(60 * minutes);
        let kind = LimitKind::Window { capacity: 10, window, aligned: false, on_clock: false };
        budget(vec![LimitSpec { kind, ..minute(10) }])
    };
    let mut bench = Bench::unproven(&minutes(1));
    bench.put(&minutes(2));
    bench.remembers = true;
    assert_eq!(bench.try_take(10).1.granted, 10);
    bench.evict("spec");
    bench.put(&minutes(2));
    assert_eq!(granted_to_a_stranger_after(&mut bench), 125_001);
}

#[test]
fn nothing_is_told_of_a_budget_that_was_deleted() {
    let mut bench = Bench::new(&budget(vec![minute(10)]));
    bench.remembers = true;
    bench.take(10);
    bench.delete();
    assert_eq!(bench.try_recover(), Err("NOBUDGET".to_owned()));
    bench.put(&budget(vec![minute(10)]));
    assert_eq!(strange(&mut bench), None, "whoever declares it again wants it new");
}
