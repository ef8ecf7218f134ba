//! Inputs at random, for a bounded time. What is kept of them is replayed by the tests.

use super::{Context, Done};
use crate::fuzz::{Plan, step};

/// How long each target runs. Longer runs are by hand: `cargo xtask fuzz --seconds N`.
const SECONDS: u64 = 8;

/// Every target, from the same seed each time.
pub(super) fn run(context: &mut Context<'_>) -> Done {
    let features = context.features();
    let plan = Plan { targets: &[], seconds: SECONDS, seed: 1, jobs: None, features };
    step(&context.workspace, &context.console, &plan)
}
