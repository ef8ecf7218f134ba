//! What the keyspace keeps to itself: expiry without access, and its own size.

use std::time::Duration;

use super::{Keyspace, Output};

const MS: Duration = Duration::from_millis(1);

fn execute(space: &mut Keyspace, line: &str) -> i64 {
    let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    match space.execute(&words) {
        Ok(Output::Int(n)) => n,
        Ok(_) => 0,
        Err(error) => panic!("{line}: {error}"),
    }
}

fn begin(space: &mut Keyspace, now: Duration, key: &str) {
    space.begin(now, &[key.as_bytes().to_vec()]);
}

#[test]
fn expired_keys_go_without_being_touched() {
    let mut space = Keyspace::new(1 << 30);
    // Each run makes one key that lives 100 ms, and time moves 1 ms a run.
    for n in 0..10_000_u32 {
        let key = format!("k{n}");
        begin(&mut space, MS * n, &key);
        execute(&mut space, &format!("HSET {key} f v"));
        execute(&mut space, &format!("PEXPIRE {key} 100"));
        assert!(space.len() <= 102, "{} keys after {n} runs", space.len());
    }
    begin(&mut space, MS * 20_000, "none");
    for _ in 0..20 {
        begin(&mut space, MS * 20_000, "none");
    }
    assert_eq!((space.len(), space.bytes()), (0, 0));
}

#[test]
fn a_run_sweeps_a_bounded_number_and_keeps_up_with_a_burst() {
    let mut space = Keyspace::new(1 << 30);
    let keys: Vec<Vec<u8>> = (0..1000).map(|n| format!("k{n}").into_bytes()).collect();
    space.begin(Duration::ZERO, &keys);
    for n in 0..1000 {
        execute(&mut space, &format!("SET k{n} v PX 1"));
    }
    // What one run set to expire, one run can sweep.
    begin(&mut space, MS * 2, "none");
    assert_eq!(space.len(), 0);

    space.begin(MS * 2, &keys);
    for n in 0..1000 {
        execute(&mut space, &format!("SET k{n} v PX 1000"));
    }
    begin(&mut space, MS * 3, "none");
    begin(&mut space, MS * 2000, "none");
    assert_eq!(space.len(), 984, "a run without expiries of its own sweeps 16");
}

#[test]
fn a_changed_expiry_counts_once() {
    let mut space = Keyspace::new(1 << 30);
    begin(&mut space, Duration::ZERO, "k");
    execute(&mut space, "HSET k f v");
    for span in [5, 50, 10] {
        assert_eq!(execute(&mut space, &format!("PEXPIRE k {span}")), 1);
    }
    begin(&mut space, MS * 10, "k");
    assert_eq!(execute(&mut space, "EXISTS k"), 1);
    assert_eq!(execute(&mut space, "PTTL k"), 0);
    begin(&mut space, MS * 11, "k");
    assert_eq!(space.len(), 0);
}

#[test]
fn every_byte_that_is_counted_is_given_back() {
    let mut space = Keyspace::new(1 << 30);
    for line in [
        "SET k text",
        "SET k other",
        "HSET h f one g two",
        "HSET h f longer",
        "HINCRBY h n 5",
        "HINCRBY h n 99",
        "HDEL h g",
        "SADD s a b a",
        "SREM s b none",
        "ZADD z 0 a 0 b",
        "ZADD z 1 a",
        "ZREM z b",
        "PEXPIRE k 9",
    ] {
        let key = line.split(' ').nth(1).unwrap_or_default();
        begin(&mut space, Duration::ZERO, key);
        execute(&mut space, line);
        assert!(space.bytes() > 0, "{line}");
    }
    for line in ["DEL h", "SREM s a", "ZREM z a"] {
        let key = line.split(' ').nth(1).unwrap_or_default();
        begin(&mut space, Duration::ZERO, key);
        execute(&mut space, line);
    }
    begin(&mut space, MS * 10, "none");
    assert_eq!((space.len(), space.bytes()), (0, 0));
}
