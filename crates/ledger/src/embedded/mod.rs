//! The embedded engine: the production scripts on Lua 5.1, in process, over a keyspace that implements just the
//! commands they call. One owner thread a shard; nothing is shared and nothing is locked.

mod convert;
mod engine;
mod keyspace;
mod sandbox;
mod vm;
#[cfg(test)]
mod vm_tests;

pub use engine::{Embedded, EmbeddedConfig};
pub use keyspace::KeyspaceCopy;
#[cfg(test)]
pub(crate) use keyspace::names as command_names;
pub use vm::{Vm, VmLimits, VmUse};
