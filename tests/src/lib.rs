//! What the black-box tests in `tests/tests` share: the real binary as a process, a way to the store that can be cut, a
//! fleet that remembers what it was given, and a report of how it fared through a fault.
#![allow(clippy::expect_used, clippy::panic, reason = "this is test code: it ends where it cannot go on")]

mod fleet;
mod process;
mod proxy;
mod report;
mod world;

pub use fleet::Book;
pub use process::{Replica, binary};
pub use proxy::{Cut, FaultProxy};
pub use report::Report;
pub use world::{Setup, World, configuration};
