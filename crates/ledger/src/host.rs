//! Where a script runs: the one seam between the two engines.

use std::{fmt, time::Duration};

use bursar_quota::{BoxFuture, BoxStream, Eviction, Trouble};

use crate::Script;

/// One run's arguments. All are text or opaque bytes: engines turn numbers into text differently.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScriptCall {
    /// `KEYS`, in the order of the script's contract; every key that the run may touch, all with one hash tag.
    pub keys: Vec<Vec<u8>>,
    /// `ARGV`, in the order of the script's contract.
    pub args: Vec<Vec<u8>>,
}

/// What a script answered, as RESP2 carries it: no floats, no booleans.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Nothing; `nil` and `false` in Lua.
    Nil,
    /// A number, truncated towards zero.
    Int(i64),
    /// A string.
    Bulk(Vec<u8>),
    /// A status, such as `OK`.
    Status(String),
    /// A table, up to its first `nil`.
    Array(Vec<Reply>),
}

/// Why a run gave no reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// The script answered an error, or broke. What it had written by then stays written.
    #[error("the script answered {code} {message}")]
    Script {
        /// The leading word of the error, the only part that every engine words alike: `NOBUDGET`, `WRONGTYPE`, `ERR`.
        code: String,
        /// What follows that word; may be empty.
        message: String,
    },
    /// The engine could not be asked, or did not answer in time: the script may or may not have run.
    #[error("the engine is unavailable ({cause}); try again in {} ms", retry_after.as_millis())]
    Unavailable {
        /// What happened, without secrets.
        cause: String,
        /// When to try again.
        retry_after: Duration,
    },
}

impl HostError {
    /// The error that `text` spells: its first word is the code.
    pub(crate) fn from_text(text: &str) -> Self {
        let (code, message) = text.split_once(' ').unwrap_or((text, ""));
        Self::Script { code: code.to_owned(), message: message.to_owned() }
    }
}

/// An engine that runs scripts. A run is atomic: no other run sees its writes half done.
pub trait ScriptHost: fmt::Debug + Send + Sync + 'static {
    /// Runs `script`. Dropping the future does not undo a run.
    fn run<'a>(
        &'a self,
        script: &'static Script,
        call: ScriptCall,
    ) -> BoxFuture<'a, Result<Reply, HostError>>;

    /// As [`ScriptHost::run`], ahead of what waits while the engine's server is another one than before.
    fn run_ahead<'a>(
        &'a self,
        script: &'static Script,
        call: ScriptCall,
    ) -> BoxFuture<'a, Result<Reply, HostError>> {
        self.run(script, call)
    }

    /// Says each time that the engine's server is another, which may not know the last of what the one before was told: for a
    /// moment it runs nothing but what is run ahead. Moves in quick succession are one.
    fn moves(&self) -> BoxStream<()> {
        Box::pin(futures_util::stream::pending())
    }

    /// The payloads that scripts publish from now on. Hints: a reader that lags misses some.
    fn announcements(&self) -> BoxStream<Vec<u8>>;

    /// Whether a script could write now; answers within a bound.
    fn ready(&self) -> BoxFuture<'_, Result<(), HostError>>;

    /// A run that took so long may have been sent more than once, and may yet run again.
    fn resends_after(&self) -> Duration {
        Duration::MAX
    }

    /// Why the engine could last not be reached; `None`: it could, or nobody has tried. A hint, which asks nobody.
    fn trouble(&self) -> Option<Trouble> {
        None
    }

    /// Whether the engine may forget what it was told for want of memory, as far as was seen.
    fn eviction(&self) -> Eviction {
        Eviction::Never
    }

    /// Commands sent over a network so far, tries included; 0 where the engine is in this process.
    fn round_trips(&self) -> u64 {
        0
    }
}
