//! The coordinator over a ledger made for tests, under tokio's paused time: no test waits for real.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod book;
mod expected;
mod fairness;
mod fake;
mod faults;
mod flow;
mod lanes;
mod lost;
mod ration;
mod ration_bound;
mod retries;
mod scripts;
mod settling;
mod waiting;
mod world;
