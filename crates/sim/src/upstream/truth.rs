//! What an upstream really counted: the answer to `GET /__truth`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The most windows that are listed of each limit of a token, the latest; older ones are in the sums alone.
pub const MAX_WINDOWS: usize = 128;

/// What an upstream counted since it started. Times are milliseconds of its own monotonic clock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Truth {
    /// Which vendor it plays.
    pub profile: String,
    /// How many times faster than the vendor.
    pub scale: f64,
    /// Now.
    pub now_ms: f64,
    /// The length of its first limit's windows.
    pub window_ms: f64,
    /// How long until a window of its first limit ends. By the clock, whatever kind of windows it has.
    pub next_window_in_ms: f64,
    /// Calls that it accepted.
    pub accepted: u64,
    /// Calls that it refused for quota.
    pub refused: u64,
    /// The latter by what refused them: the limit's name, or `concurrency`.
    pub refused_by: BTreeMap<String, u64>,
    /// Calls turned away for a token beyond the number that it keeps. They are in no other figure.
    pub unknown_tokens: u64,
    /// Calls of others that it accepted. They are in no other figure.
    pub foreign: u64,
    /// What it offered so far: the sum over its tokens.
    pub capacity: u64,
    /// Calls under way now.
    pub under_way: u64,
    /// The most calls that one token had under way at once.
    pub max_concurrent: u64,
    /// By token, in order of their labels.
    pub tokens: Vec<TokenTruth>,
}

/// What was counted of one token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenTruth {
    /// The token's label, as [`token_label`](super::token_label) makes it: never the token.
    pub token: String,
    /// Calls accepted.
    pub accepted: u64,
    /// Calls refused for quota.
    pub refused: u64,
    /// The latter by what refused them.
    pub refused_by: BTreeMap<String, u64>,
    /// By class of call.
    pub classes: BTreeMap<String, ClassTruth>,
    /// Calls of others that were accepted.
    pub foreign: u64,
    /// What was offered so far: the sum of `offered` over the limits that offer (of Autotask `requests`, which the
    /// limit on authentication only narrows; of SalesTim `reads` and `writes`). Concurrency is not considered.
    pub capacity: u64,
    /// The most calls under way at once.
    pub max_concurrent: u64,
    /// By limit, in order of precedence.
    pub limits: Vec<LimitTruth>,
}

/// Calls of one class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassTruth {
    /// Calls accepted.
    pub accepted: u64,
    /// Calls refused for quota.
    pub refused: u64,
}

/// One limit of one token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LimitTruth {
    /// `requests`, `auth`, `reads`, `writes`.
    pub name: String,
    /// The most in a window.
    pub capacity: u64,
    /// Whether it is part of what is offered.
    pub offers: bool,
    /// `capacity` times the windows from the one of the token's first call to the current one, both in full.
    ///
    /// Windows are counted on a clock with the limit's phase. Where the limit has such windows, this is exactly what
    /// it would have accepted. A rolling limit accepts at most as much in each of them. One whose windows start with
    /// their first call, or a bucket, accepts no more in the long run, but may exceed it by one capacity.
    pub offered: u64,
    /// Accepted calls that counted on it.
    pub accepted: u64,
    /// Calls that it refused.
    pub refused: u64,
    /// Accepted calls of others that counted on it.
    pub foreign: u64,
    /// The latest windows, oldest first, without a gap; at most [`MAX_WINDOWS`].
    pub windows: Vec<WindowTruth>,
}

/// One window of one limit of one token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WindowTruth {
    /// When it began.
    pub start_ms: f64,
    /// When it ends, exclusive.
    pub end_ms: f64,
    /// Whether it is over.
    pub complete: bool,
    /// Accepted calls that counted on it.
    pub accepted: u64,
    /// Calls that the limit refused.
    pub refused: u64,
    /// Accepted calls of others that counted on it.
    pub foreign: u64,
}

impl Truth {
    /// What was counted of the token with this label.
    pub fn token(&self, label: &str) -> Option<&TokenTruth> {
        self.tokens.iter().find(|token| token.token == label)
    }
}

impl TokenTruth {
    /// The share of what was offered that was used, over the listed windows that began at `from_ms` or later and end at
    /// `to_ms` or before (each with a tolerance of 1 ms, which rounding may take), and are over: accepted, divided by
    /// the capacity that others left. Over the limits that offer and `wanted` by their name. `None`: there is no such
    /// window.
    pub fn share(&self, from_ms: f64, to_ms: f64, wanted: impl Fn(&str) -> bool) -> Option<f64> {
        let (mut accepted, mut offered) = (0, 0);
        for limit in self.limits.iter().filter(|limit| limit.offers && wanted(&limit.name)) {
            let inside =
                |w: &&WindowTruth| w.complete && w.start_ms >= from_ms - 1.0 && w.end_ms <= to_ms + 1.0;
            for window in limit.windows.iter().filter(inside) {
                accepted += window.accepted;
                offered += limit.capacity.saturating_sub(window.foreign);
            }
        }
        #[allow(clippy::cast_precision_loss, reason = "counts of calls are exact in a double")]
        let share = accepted as f64 / offered as f64;
        (offered > 0).then_some(share)
    }
}
