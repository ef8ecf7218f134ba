//! Single rules of one key of a budget that the server evicted, and nothing else of it.

use bursar_quota::{EventKind, PauseOrder, Reason, Scope, SettleGroup, SettleKind};

use crate::bench::{Bench, budget, minute, settle};

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
