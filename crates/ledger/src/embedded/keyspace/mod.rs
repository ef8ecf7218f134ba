//! A keyspace with Redis' semantics for the commands that scripts may call.
//!
//! Every order is deterministic: fields and members come sorted by their bytes. (Redis promises none.)

mod command;
mod hashes;
mod keys;
mod outbox;
mod sets;
mod sorted;
mod store;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use command::names;
pub(crate) use command::{CommandError, OUT_OF_MEMORY, Output};
pub(crate) use store::Keyspace;
pub use store::KeyspaceCopy;
