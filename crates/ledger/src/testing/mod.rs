//! What tests need, of this crate and of others: scripts from a folder (see [`LUA_VARIABLE`]), and real servers.
//!
//! A server is Redis or Valkey, alone, with TLS and users, behind a sentinel, or as a cluster. Each listens
//! on a free port of 127.0.0.1, keeps its files in a temporary folder, and ends with the value that holds it.
//!
//! The server's program is the one that `BURSAR_TEST_REDIS_SERVER` names, or `redis-server` or `valkey-server` on the
//! `PATH`; for tests with TLS `BURSAR_TEST_REDIS_TLS_SERVER` goes first, since not every build has it. If there is none, starting one panics and says what to do: a test that needs a server is never skipped.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "for tests alone: what cannot be started fails the test that wanted it"
)]

mod certificates;
mod cluster;
mod lua;
mod program;
mod sentinel;
mod server;

use std::{fmt::Debug, time::Duration};

pub use certificates::{Certificates, Flaw};
pub use cluster::RedisCluster;
pub use lua::{LUA_VARIABLE, PROBES_VARIABLE};
pub(crate) use lua::{file as lua_file, install_probes};
pub use program::{PROGRAM_VARIABLE, SERVERS_VARIABLE, TLS_PROGRAM_VARIABLE, programs};
pub use sentinel::RedisSentinel;
pub use server::{RedisServer, ServerSetup};

/// Tries `attempt` every 10 ms until it succeeds, at most 20 s; then panics with `what` was waited for and what it said
/// last.
pub(crate) fn wait_for<T, E: Debug>(what: &str, mut attempt: impl FnMut() -> Result<T, E>) -> T {
    let mut last = None;
    for _ in 0..2000 {
        match attempt() {
            Ok(found) => return found,
            Err(error) => last = Some(error),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("waited in vain for {what}: {last:?}");
}
