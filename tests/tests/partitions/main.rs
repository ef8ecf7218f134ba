//! The whole over a simulated network: the real server and the real Redis client in three replicas, workers with the real
//! client, a store that speaks Redis' protocol, and between them delays, partitions, messages that are held back, and
//! crashes. Judged by a model upstream that owes nothing to the ledger: it refuses no permit, and once everything has
//! healed everybody goes on.
//!
//! `BURSAR_SEEDS=1..20` runs these seeds instead of the usual few. Each runs in a process of its own: within one, what is
//! random to Rust's hash maps would make a seed's second run another one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where it cannot go on"
)]

mod faults;
mod network;
mod replica;
mod store;
mod worker;

use std::{io::Write as _, process::Command, rc::Rc, time::Duration};

use faults::Faults;
use worker::Upstream;

/// Says that this process runs one seed, and which.
const SEED: &str = "BURSAR_PARTITIONS_SEED";
/// Which seeds to run: `A..B`, B left out.
const SEEDS: &str = "BURSAR_SEEDS";

const REPLICAS: [&str; 3] = ["replica-1", "replica-2", "replica-3"];
const WORKERS: usize = 9;

/// After this nothing goes wrong any more.
const HEALED: Duration = Duration::from_secs(40);
/// Connections and leases take this long, at most, to be as they were.
const RECOVERED: Duration = Duration::from_secs(50);
/// The end.
const END: Duration = Duration::from_secs(70);

fn worker_name(index: usize) -> String {
    format!("worker-{index}")
}

/// One world from its seed.
fn run(seed: u64) {
    let mut sim = turmoil::Builder::new()
        .rng_seed(seed)
        .simulation_duration(END + Duration::from_secs(60))
        .tick_duration(Duration::from_millis(1))
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(25))
        .tcp_capacity(65_536)
        .build();
    sim.host("store", store::run);
    for (index, name) in (0_u64..).zip(REPLICAS) {
        sim.host(name, move || replica::run(name, seed * 100 + index));
    }
    let upstream = Rc::new(Upstream::new(seed));
    for index in 0..WORKERS {
        let upstream = Rc::clone(&upstream);
        sim.host(worker_name(index), move || {
            worker::run(index, seed * 1000 + index as u64, Rc::clone(&upstream))
        });
    }
    let mut faults = Faults::new(seed);
    let mut at_recovery = None;
    while sim.elapsed() < END {
        faults.turn(&mut sim);
        sim.step().unwrap();
        if sim.elapsed() >= RECOVERED && at_recovery.is_none() {
            at_recovery = Some(upstream.accepted());
        }
    }
    let (before, after) = (at_recovery.unwrap(), upstream.accepted());
    let told = format!("seed {seed}: {} accepted, faults: {}", after.iter().sum::<u64>(), faults.told());
    assert!(
        upstream.refused().is_empty(),
        "the upstream refused live permits: {:#?}\n{told}",
        upstream.refused()
    );
    for (index, (before, after)) in before.iter().zip(&after).enumerate() {
        assert!(after > before, "{} stands still after everything has healed; {told}", worker_name(index));
    }
    // Of what the upstream takes in that time, by its windows, of which the first and the last are cut.
    let (served, possible) =
        (after.iter().sum::<u64>() - before.iter().sum::<u64>(), upstream.possible(END - RECOVERED));
    assert!(served * 4 >= possible * 3, "{served} of {possible} served once healed; {told}");
    assert!(faults.count() >= 5, "nothing went wrong: {told}");
    let _ = writeln!(std::io::stderr(), "partitions: {told}; {served} of {possible} served once healed");
}

#[test]
fn nothing_is_refused_and_all_goes_on_once_it_has_healed() {
    if let Ok(seed) = std::env::var(SEED) {
        return run(seed.parse().unwrap());
    }
    let text = std::env::var(SEEDS).unwrap_or_else(|_| "1..3".to_owned());
    let (from, to) = text.split_once("..").unwrap_or_else(|| panic!("{SEEDS}={text:?}, expected A..B"));
    let (from, to): (u64, u64) = (from.parse().unwrap(), to.parse().unwrap());
    assert!(from < to, "{SEEDS}={text:?} names none");
    for seed in from..to {
        let test = ["--exact", "nothing_is_refused_and_all_goes_on_once_it_has_healed", "--nocapture"];
        let mut child = Command::new(std::env::current_exe().unwrap());
        let status = child.args(test).env(SEED, seed.to_string()).status().unwrap();
        assert!(status.success(), "again: {SEED}={seed} cargo test -p bursar-tests --test partitions");
    }
}
