//! The server in process, on a port of its own, over a ledger that does what it is told.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that fails may say so by panicking"
)]

mod admin;
mod auth;
mod bad_input;
mod budgets;
mod ending;
mod ledger;
mod permits;
mod session;
mod support;
mod tls;
