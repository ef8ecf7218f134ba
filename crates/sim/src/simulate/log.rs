//! The event log: one line an event, hashed as it is written, the last lines kept.

use std::{
    collections::VecDeque,
    fmt::{self, Write as _},
    time::Duration,
};

/// What is kept of the log's lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// So many, the last ones.
    Last(usize),
    /// All of them.
    All,
}

/// The log of one simulation.
#[derive(Debug)]
pub(crate) struct Log {
    keep: Keep,
    lines: VecDeque<String>,
    line: String,
    hash: u64,
    events: u64,
}

/// FNV-1a, 64 bits: two logs with one hash are one log. It guards against accidents alone.
fn fnv(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

impl Log {
    pub(crate) fn new(keep: Keep) -> Self {
        Self {
            keep,
            lines: VecDeque::new(),
            line: String::with_capacity(256),
            hash: 0xcbf2_9ce4_8422_2325,
            events: 0,
        }
    }

    /// Notes that `actor` did `what` at `now`.
    pub(crate) fn note(&mut self, now: Duration, actor: fmt::Arguments<'_>, what: fmt::Arguments<'_>) {
        self.line.clear();
        // Writing to a text cannot fail.
        let _ = write!(self.line, "{:>9} {actor} {what}", now.as_millis());
        self.hash = fnv(fnv(self.hash, self.line.as_bytes()), b"\n");
        self.events += 1;
        match self.keep {
            Keep::Last(0) => {}
            Keep::Last(most) if self.lines.len() >= most => {
                // The oldest line's memory is used again.
                let mut oldest = self.lines.pop_front().unwrap_or_default();
                oldest.clone_from(&self.line);
                self.lines.push_back(oldest);
            }
            Keep::Last(_) | Keep::All => self.lines.push_back(self.line.clone()),
        }
    }

    /// How many events there were.
    pub(crate) fn events(&self) -> u64 {
        self.events
    }

    /// The hash of all lines, 16 hexadecimal digits.
    pub(crate) fn hash(&self) -> String {
        format!("{:016x}", self.hash)
    }

    /// The lines that were kept, oldest first.
    pub(crate) fn into_lines(self) -> Vec<String> {
        self.lines.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three(keep: Keep) -> Log {
        let mut log = Log::new(keep);
        for n in 0..3 {
            log.note(Duration::from_millis(n), format_args!("w{n}"), format_args!("asks"));
        }
        log
    }

    #[test]
    fn the_hash_is_of_all_lines_whatever_is_kept() {
        let (few, all) = (three(Keep::Last(1)), three(Keep::All));
        assert_eq!((few.hash(), few.events()), (all.hash(), 3));
        assert_eq!(few.into_lines(), ["        2 w2 asks"]);
        assert_eq!(all.into_lines().len(), 3);
        assert_ne!(three(Keep::All).hash(), Log::new(Keep::All).hash());
    }
}
