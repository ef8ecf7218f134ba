//! Single rules of a store that went on from an earlier state: a new master that never heard of the last commits, and of
//! which some replica asked for more before those whose commits they were.

use bursar_quota::{BudgetSpec, SettleKind};

use crate::bench::{Bench, budget, minute, settle};

/// One replica's memory.
type Memory = (bursar_ledger::codec::Witness, bursar_ledger::codec::Remembered);

fn remembering() -> (Bench, BudgetSpec) {
    let spec = budget(vec![minute(100)]);
    let mut bench = Bench::new(&spec);
    bench.remembers = true;
    bench.witness.name = "r".to_owned();
    (bench, spec)
}

/// The next commits are of the replica `name`, which remembers `memory`.
fn act_as(bench: &mut Bench, name: &str, memory: Memory) -> Memory {
    let before = (bench.witness.clone(), bench.told.clone());
    (bench.witness, bench.told) = memory;
    bench.witness.name = name.to_owned();
    before
}

#[test]
fn whose_own_commits_were_lost_finds_out_however_far_others_went_on() {
    let (mut bench, spec) = remembering();
    bench.take(1);
    let older = bench.copy();
    bench.take(60);
    bench.come_back(Some(&older), &spec);
    let busy = act_as(&mut bench, "idle", Memory::default());
    for _ in 0..5 {
        bench.take(1);
    }
    let idle = act_as(&mut bench, "r", busy);
    assert!(bench.witness.seq < idle.0.seq, "the sequence shows nothing");
    assert_eq!(bench.try_take(1).1.granted, 0, "sixty are out that nobody here knows of");
    // The other one has lost nothing itself, and is told nothing else.
    act_as(&mut bench, "idle", idle);
    assert_eq!(bench.try_take(1).1.granted, 0);
}

#[test]
fn so_does_whose_every_commit_was_lost() {
    let (mut bench, spec) = remembering();
    bench.take(1);
    let older = bench.copy();
    let first = act_as(&mut bench, "new", Memory::default());
    bench.take(60);
    bench.come_back(Some(&older), &spec);
    let new = act_as(&mut bench, "r", first);
    for _ in 0..5 {
        bench.take(1);
    }
    act_as(&mut bench, "new", new);
    assert_eq!(bench.try_take(1).1.granted, 0);
}

#[test]
fn who_lost_nothing_goes_on_beside_others_and_after_a_loss_was_told() {
    let (mut bench, spec) = remembering();
    let (mut a, mut b) = (Memory::default(), Memory::default());
    for _ in 0..3 {
        act_as(&mut bench, "a", a);
        bench.take(1);
        a = act_as(&mut bench, "b", b);
        bench.take(1);
        b = act_as(&mut bench, "b", Memory::default());
    }
    let older = bench.copy();
    act_as(&mut bench, "a", a);
    let (lease, _) = bench.ask();
    bench.come_back(Some(&older), &spec);
    a = act_as(&mut bench, "b", b);
    bench.take(2);
    b = act_as(&mut bench, "a", a);
    let losses = |bench: &Bench| {
        bench.announced.iter().filter(|event| event.kind == bursar_quota::EventKind::StateLost).count()
    };
    assert_eq!(bench.try_take(1).1.granted, 0);
    assert_eq!(losses(&bench), 1);
    for _ in 0..3 {
        bench.commit(vec![settle(lease, SettleKind::NotSent)], Vec::new());
        a = act_as(&mut bench, "b", b);
        assert_eq!(bench.try_take(1).1.granted, 0);
        b = act_as(&mut bench, "a", a);
    }
    assert_eq!(losses(&bench), 1, "one loss is one");
}

#[test]
fn of_whom_many_came_after_the_sequence_alone_tells() {
    let (mut bench, spec) = remembering();
    bench.take(1);
    let first = act_as(&mut bench, "r", Memory::default());
    for n in 0..30 {
        act_as(&mut bench, &format!("replica-with-quite-a-long-name-{n}"), Memory::default());
        bench.take(1);
    }
    let tips = bench.state("life.tips");
    assert!((353..=512).contains(&tips.len()), "{tips}");
    let older = bench.copy();
    act_as(&mut bench, "r", first);
    bench.take(1);
    bench.come_back(Some(&older), &spec);
    assert_eq!(bench.try_take(1).1.granted, 0, "a commit is missing");
}
