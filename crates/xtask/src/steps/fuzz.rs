//! Inputs at random, for a bounded time. What is kept of them is replayed by the tests.

use super::{Context, Done};
use crate::fuzz::{Plan, step};

/// How many inputs each target tries: the same ones on every machine, fast or slow, so that what breaks here broke
/// before. Longer runs, which find what is new, are by hand: `cargo xtask fuzz --seconds N`.
const INPUTS: u64 = 25_000;
/// How long each target runs at most.
const SECONDS: u64 = 30;

/// Every target, from the same seed each time.
pub(super) fn run(context: &mut Context<'_>) -> Done {
    let features = context.features();
    let plan = Plan { targets: &[], seconds: SECONDS, inputs: Some(INPUTS), seed: 1, jobs: None, features };
    step(&context.workspace, &context.console, &plan)
}
