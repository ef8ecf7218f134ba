//! One suite on both engines: whatever holds of the embedded engine holds of a real server, and the other way round.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod keyspace;
mod ledger;
#[path = "../support/mod.rs"]
mod support;
