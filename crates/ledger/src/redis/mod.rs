//! The Redis engine: scripts run in Redis or Valkey, by EVALSHA, on a single server, behind sentinels or in a cluster.
//!
//! [`RedisHost`] is a few *drivers* (`driver.rs`), each of which keeps one connection checked out of a pool
//! (`pool.rs`) and pipelines the calls of many lanes through it, and one *listener* (`announce.rs`) for what scripts
//! publish. Behind sentinels a *lookout* (`sentinels.rs`) sees to it that both are at the master. `failure.rs` judges errors; `config.rs`
//! bounds every wait. Nothing here decides about permits.

mod announce;
mod certificate;
mod config;
mod crypto;
mod dial;
mod driver;
mod eviction;
mod failure;
mod host;
mod jitter;
mod moves;
mod pool;
mod reach;
mod reply;
mod secret;
mod sentinels;
mod target;
mod url;

pub use config::{RedisConfig, RedisConfigError, RedisTls};
pub use crypto::install_crypto;
pub use dial::{Dial, Dialled, Stream};
pub use host::RedisHost;
pub use secret::Secret;
