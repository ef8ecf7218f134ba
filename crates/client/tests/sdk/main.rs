//! The SDK against a server in the same process, over connections that can be cut, in paused time.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, its helpers too"
)]

mod acquire;
mod alone;
mod names;
mod permit;
mod real;
mod session;
mod support;
