//! The same random operations on the embedded engine and on every real server there is: every reply is the same, to the
//! last digit, and so is what is stored and announced.
//!
//! `BURSAR_SERVERS=PATH:PATH` names servers beside the usual one. `BURSAR_OPERATIONS=N` says how many operations,
//! `BURSAR_SEED=N` with which history to begin: what a failure prints is one that shows it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod engine;
mod frozen;
mod operations;
mod specs;

use std::io::Write as _;

use bursar_ledger::testing::{RedisServer, programs};
use engine::Engine;
use operations::{Operation, World};
use rand::{SeedableRng as _, rngs::SmallRng};

/// Operations of one history.
const HISTORY: u64 = 150;

fn variable(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}")),
        Err(_) => default,
    }
}

/// Says something even where a test's output is kept back: what was compared must not be left to guesses.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "differential: {text}");
}

/// Runs one history on all engines; the first is what the others are held against.
async fn history(engines: &mut [Engine], seed: u64, operations: u64) {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut world = World::new(&mut random);
    let mut past: Vec<Operation> = Vec::new();
    for engine in engines.iter_mut() {
        engine.begin(seed, world.time);
    }
    for step in 0..operations {
        let operation = world.operation(&mut random);
        let expected = engines[0].apply(&operation).await;
        for engine in &mut engines[1..] {
            let found = engine.apply(&operation).await;
            if found.text != expected.text {
                let recent: Vec<_> = past.iter().rev().take(4).rev().map(|it| format!("{it:?}")).collect();
                panic!(
                    "BURSAR_SEED={seed}, step {step}: {operation:?}\nafter\n  {}\nembedded: {}\n{}: {}",
                    recent.join("\n  "),
                    expected.text,
                    engine.name,
                    found.text
                );
            }
        }
        world.learn(&operation, &expected);
        past.push(operation);
    }
    let keys = world.keys();
    let stored = engines[0].stored(&keys).await;
    let announced = engines[0].announced(0).await;
    for engine in &mut engines[1..] {
        assert_eq!(
            engine.stored(&keys).await,
            stored,
            "{} stores something else; BURSAR_SEED={seed}",
            engine.name
        );
        let also = engine.announced(announced.len()).await;
        let first = also.iter().zip(&announced).position(|(also, expected)| also != expected);
        let from = first.unwrap_or(also.len().min(announced.len())).saturating_sub(2);
        let part = |all: &[String]| all.iter().skip(from).take(6).cloned().collect::<Vec<_>>();
        assert!(
            also == announced,
            "BURSAR_SEED={seed}: {} announces {} events, embedded {}; from {from} on\n{:#?}\nand\n{:#?}",
            engine.name,
            also.len(),
            announced.len(),
            part(&also),
            part(&announced)
        );
    }
}

#[tokio::test]
async fn every_server_answers_as_the_embedded_engine_does() {
    let servers: Vec<_> =
        programs().iter().map(|program| RedisServer::setup().program(program).start()).collect();
    let mut engines = vec![Engine::embedded()];
    for server in &servers {
        engines.push(Engine::redis(server).await);
    }
    let operations = variable("BURSAR_OPERATIONS", 3000);
    let first = variable("BURSAR_SEED", 0);
    let names: Vec<_> = engines[1..].iter().map(|engine| engine.name.clone()).collect();
    say(&format!("{operations} operations on the embedded engine and on {}", names.join(", ")));
    let mut left = operations;
    let mut seed = first;
    while left > 0 {
        history(&mut engines, seed, left.min(HISTORY)).await;
        left = left.saturating_sub(HISTORY);
        seed += 1;
    }
    let spread = engines[0].spread();
    say(&format!("every reply was the same on {} and embedded: {spread}", names.join(", ")));
}
