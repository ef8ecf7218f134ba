//! What comes from outside, at random: responses, requests, configurations, ids.
//!
//! A [`Target`] is a function of bytes that must hold whatever the bytes are: no panic, and more (round trips, bounds,
//! errors that name a field). `cargo xtask fuzz` runs the targets under libFuzzer, which grows inputs by what they
//! reach; `cargo test` replays the inputs that were kept (`corpus/`) and the [`seeds`], with no fuzzer. An input that broke
//! something goes into `corpus/` with a name that says what it was.
//!
//! Each target's words, which the fuzzer could hardly guess, are in `dictionaries/`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "to panic is how a target says that something does not hold"
)]

mod checks;
mod response;
mod seeds;
mod targets;

use std::path::{Path, PathBuf};

pub use seeds::seeds;

/// Something that must hold of any bytes.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, and that of its corpus.
    pub name: &'static str,
    /// What it is about, in a line.
    pub about: &'static str,
    /// Panics if something does not hold.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 12] = [
    Target {
        name: "address",
        about: "the store's address: no password shown, and its place leads to the same",
        run: targets::address::run,
    },
    Target {
        name: "config-toml",
        about: "a configuration in TOML: bounds, faults with a place and a field, budgets that read back",
        run: targets::config::toml,
    },
    Target { name: "config-yaml", about: "the same in YAML", run: targets::config::yaml },
    Target {
        name: "declaration",
        about: "PutBudget: bounds, faults with a field, and what is answered can be put again",
        run: targets::declaration::run,
    },
    Target {
        name: "dialect",
        about: "a response, as a profile reads it: bounds of the observation, whatever the headers' case",
        run: targets::dialect::run,
    },
    Target {
        name: "name",
        about: "names, patterns of names, durations: read back as they were, or told where they are wrong",
        run: targets::name::run,
    },
    Target {
        name: "number",
        about: "limit and remaining as a response writes them, against decimals read digit by digit",
        run: targets::number::run,
    },
    Target {
        name: "permit",
        about: "permit ids: one id, one text, of one budget",
        run: targets::permit::run,
    },
    Target {
        name: "profile",
        about: "a profile in TOML, then a response to it: faults with a field, bounds of the observation",
        run: targets::profile::run,
    },
    Target {
        name: "request",
        about: "Acquire, Settle, Renew, Session, and what operators ask: bounds, faults with a field",
        run: targets::request::run,
    },
    Target {
        name: "retry-after",
        about: "resets and Retry-Afters in every unit and rounding, against the interval worked out by hand",
        run: targets::moment::run,
    },
    Target {
        name: "session",
        about: "a message of a session: each request in it as one of its own",
        run: targets::request::session,
    },
];

/// The target of this name.
pub fn target(name: &str) -> Option<Target> {
    TARGETS.into_iter().find(|target| target.name == name)
}

/// Where this crate's sources are: corpora and seeds are read from there.
pub(crate) fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

impl Target {
    /// Where its corpus is kept.
    pub fn corpus(&self) -> PathBuf {
        folder().join("corpus").join(self.name)
    }
}
