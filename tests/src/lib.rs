//! What the black-box tests in `tests/tests` share: the real binary as a process.
#![allow(clippy::expect_used, reason = "this is test code: it ends where it cannot go on")]

mod process;

pub use process::{Replica, binary};
