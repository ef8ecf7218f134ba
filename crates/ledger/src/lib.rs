//! The truth: Lua scripts that decide every grant, and the two engines that run them.

pub mod codec;
mod embedded;
mod host;
mod ledger;
#[cfg(test)]
mod lint;
mod loader;
mod memory;
pub mod redis;
pub mod scripts;
#[cfg(feature = "testing")]
pub mod testing;

pub use embedded::{Embedded, EmbeddedConfig, KeyspaceCopy, Vm, VmLimits, VmUse};
pub use host::{HostError, Reply, ScriptCall, ScriptHost};
pub use ledger::ScriptLedger;
pub use loader::{LoadError, expand};
pub use redis::{RedisConfig, RedisHost, RedisTls};
pub use scripts::Script;
