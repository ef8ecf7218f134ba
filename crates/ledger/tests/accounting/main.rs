//! Random adversarial histories against obviously right model upstreams, through the production scripts.
//!
//! `BURSAR_HISTORIES` says how many in all (100,000 unless set), `BURSAR_SEED` with which seed to begin (1). A failure
//! names the seed that replays it: `BURSAR_HISTORIES=1 BURSAR_SEED=<seed> cargo test -p bursar-ledger --test accounting`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    unreachable_pub,
    missing_docs,
    reason = "test code ends where it cannot go on, and says what it did"
)]

mod bench;
mod concurrent;
mod lost;
mod model;
mod pauses;
mod random_foreign;
mod random_ladder;
mod random_limits;
mod random_pauses;
mod random_shares;
mod rules;
mod rules_clock;
mod rules_deciding;
mod rules_declared;
mod rules_ends;
mod rules_evicted;
mod rules_fair;
mod rules_fair_bounds;
mod rules_forks;
mod rules_given_up;
mod rules_kinds;
mod rules_ladder;
mod rules_lagging;
mod rules_learned_bucket;
mod rules_lost;
mod rules_lost_again;
mod rules_overdue;
mod rules_pacing;
mod rules_parts;
mod rules_pauses;
mod rules_put_down;
mod rules_requests;
mod rules_times;
mod rules_too_fast;
mod rules_waiting;
mod rules_weighted;
mod rules_window;
mod shares;
mod windows;
mod words;

use std::sync::atomic::{AtomicU64, Ordering};

fn variable(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().map_or(otherwise, |text| text.parse().expect("a number"))
}

/// Plays `play(seed)` for each seed of this run's range, on two threads; a violation ends the run with its seed.
fn run(what: &str, share: u64, play: fn(u64) -> Result<windows::Tally, String>) {
    let (count, first) = (variable("BURSAR_HISTORIES", 100_000).div_ceil(share), variable("BURSAR_SEED", 1));
    let next = AtomicU64::new(first);
    let totals = std::thread::scope(|scope| {
        let worker = || {
            let mut total = windows::Tally::default();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= first + count {
                    return total;
                }
                match play(seed) {
                    Ok(tally) => total.add(&tally),
                    Err(violation) => {
                        next.store(first + count, Ordering::Relaxed);
                        panic!("{what}: seed {seed}: {violation}");
                    }
                }
            }
        };
        let (a, b) = (scope.spawn(worker), scope.spawn(worker));
        let mut total = a.join().unwrap_or_else(|e| std::panic::resume_unwind(e));
        total.add(&b.join().unwrap_or_else(|e| std::panic::resume_unwind(e)));
        total
    });
    println!("{what}: {count} histories, {totals:?}");
    assert!(
        totals.executed > 0 && totals.refused_by_us > 0,
        "{what}: histories that never met the limit prove nothing"
    );
    if what.contains("aligned") && count >= 100 {
        assert!(totals.exact_checks > count / 16, "{what}: too few histories came to rest");
    }
}

#[test]
fn windows_on_a_clock_aligned() {
    run("windows on a clock, aligned", 8, |seed| {
        windows::play(seed, model::Kind::Clock, windows::Declared::Aligned)
    });
}

#[test]
fn windows_on_a_clock_declared_so_aligned() {
    run("windows on a clock, declared so, aligned", 8, |seed| {
        windows::play(seed, model::Kind::Clock, windows::Declared::OnClock)
    });
}

#[test]
fn windows_that_start_with_their_first_call_aligned() {
    run("windows that start with their first call, aligned", 8, |seed| {
        windows::play(seed, model::Kind::FirstCall, windows::Declared::Aligned)
    });
}

#[test]
fn windows_sliding() {
    run("windows that start with their first call, sliding", 8, |seed| {
        windows::play(seed, model::Kind::FirstCall, windows::Declared::Sliding)
    });
}

#[test]
fn rolling_windows_sliding() {
    run("rolling windows, sliding", 8, |seed| {
        windows::play(seed, model::Kind::Rolling, windows::Declared::Sliding)
    });
}

#[test]
fn leaking_buckets_sliding() {
    run("leaking buckets, sliding", 8, |seed| {
        windows::play(seed, model::Kind::Leaking, windows::Declared::Sliding)
    });
}

#[test]
fn leaking_buckets_as_buckets() {
    run("leaking buckets, as buckets", 8, |seed| {
        windows::play(seed, model::Kind::Leaking, windows::Declared::Bucket)
    });
}

#[test]
fn windows_of_a_store_that_loses() {
    run("windows on a clock, of a store that comes back empty or older", 16, |seed| {
        windows::play_with(seed, model::Kind::Clock, windows::Declared::Aligned, true)
    });
    run("windows that start with their first call, of such a store", 16, |seed| {
        windows::play_with(seed, model::Kind::FirstCall, windows::Declared::Aligned, true)
    });
}

#[test]
fn rolling_windows_and_buckets_of_a_store_that_loses() {
    run("rolling windows, of such a store", 16, |seed| {
        windows::play_with(seed, model::Kind::Rolling, windows::Declared::Sliding, true)
    });
    run("leaking buckets, of such a store", 16, |seed| {
        windows::play_with(seed, model::Kind::Leaking, windows::Declared::Bucket, true)
    });
}

#[test]
fn calls_at_once() {
    run("calls at once", 8, concurrent::play);
}

#[test]
fn pauses_of_every_scope() {
    run("pauses of every scope", 64, random_pauses::play);
}

#[test]
fn several_limits_in_one_decision() {
    run("several limits in one decision", 128, random_limits::play);
}

#[test]
fn reservations_and_caps() {
    run("reservations and caps", 256, random_shares::play);
}

#[test]
fn windows_that_others_use() {
    run("windows that others use", 64, random_foreign::play);
}

#[test]
fn windows_that_are_not_what_they_were_declared() {
    run("windows that are not what they were declared", 10_000, random_ladder::play);
}
