//! Lanes: what stands between the callers and the ledger.
//!
//! Each budget in use has a lane. A lane queues what arrives while a commit is under way, folds what is equal, orders
//! it fairly, and hands it to the [`bursar_quota::Ledger`] as one call. It lets callers wait, tells those at once whose
//! wait cannot succeed, and asks again when capacity may have come free.
//!
//! Architecture Invariant: no grant is decided here, but for a budget's declared ration while the store is lost
//! (`lane/rationing.rs`). A lane chooses whom to ask for first, and remembers what it was told; nothing it remembers is
//! needed for the ledger to be right.

mod acquire;
mod bars;
mod config;
mod coordinator;
mod core;
mod error;
mod events;
mod expected;
mod lane;
mod metrics;
mod millis;
mod request;
mod settle;
mod slab;
mod spec;
mod spec_cell;
mod store_metrics;
mod watch;

pub use config::Config;
pub use coordinator::Coordinator;
pub use error::{AcquireError, CoordinatorError};
pub use request::{Acquire, Granted, Outcome, Renew, Settle, SettleReport};
pub use watch::{WatchItem, Watcher};
