//! Upstreams as pure models: how the rules of real APIs count, in the plainest form, under a time that is passed in.
//!
//! They owe nothing to Bursar's own accounting: each is coded from the definition of its rule, so that it can judge
//! what the ledger grants. No task, no socket, no clock. Time is a [`Duration`] since any fixed moment; it must not go
//! back from one use of a model to the next.
//!
//! ```
//! use std::time::Duration;
//! use bursar_sim::model::{ClockWindow, Model, Verdict};
//!
//! let ms = Duration::from_millis;
//! let mut upstream = ClockWindow::new(2, ms(1000), ms(250));
//! assert_eq!(upstream.call(ms(0), 2), Verdict::Accepted);
//! assert_eq!(upstream.call(ms(249), 1), Verdict::Refused);
//! assert_eq!(upstream.window_end(ms(249)), Some(ms(250)));
//! assert_eq!(upstream.call(ms(250), 1), Verdict::Accepted);
//! ```

mod account;
mod bucket;
mod clock_window;
mod concurrency;
mod first_call;
mod gcra;
mod rolling;
mod sub_windows;
#[cfg(test)]
mod tests;
mod weighted;

use std::{fmt::Debug, time::Duration};

pub use account::{Account, Answer, Rule, Standing};
pub use bucket::LeakyBucket;
pub use clock_window::ClockWindow;
pub use concurrency::Concurrency;
pub use first_call::FirstCallWindow;
pub use gcra::Gcra;
pub use rolling::RollingLog;
pub use sub_windows::SubWindows;
pub use weighted::WeightedWindows;

/// What an upstream does with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It counts and goes on.
    Accepted,
    /// It is turned away. Whether it counts all the same is the model's user's to say: see [`Model::charge`].
    Refused,
}

/// One rule of an upstream that counts cost over time.
pub trait Model: Debug + Send {
    /// The most that counts at any moment, in the rule's unit.
    fn capacity(&self) -> u64;

    /// What a call could cost at most to be accepted at `now`. What a response that was made now would say.
    fn remaining(&mut self, now: Duration) -> u64;

    /// What implementations of this rule are seen to send as what remains, true or not.
    fn named_remaining(&mut self, now: Duration) -> u64 {
        self.remaining(now)
    }

    /// From `now` on the capacity is another one, at least 1. What counts goes on counting; a bucket refills in
    /// proportion.
    fn resize(&mut self, now: Duration, capacity: u64);

    /// Counts `cost` at `now` whether it fits or not: an accepted call, or a refused one where refusals count.
    fn charge(&mut self, now: Duration, cost: u64);

    /// The moment at which all that counts at `now` is forgotten at once. `None`: nothing is ever forgotten at once
    /// (rolling, leaking), or no window is open.
    fn window_end(&mut self, now: Duration) -> Option<Duration>;

    /// The moment that implementations of this rule are seen to send as their reset, true or not: the window's end, the
    /// moment at which a rolling log's *oldest* call drops out, the moment at which a bucket is *full*.
    fn named_reset(&mut self, now: Duration) -> Option<Duration> {
        self.window_end(now)
    }

    /// The earliest moment, `now` or later, at which `cost` fits if nobody else calls. `None`: never.
    fn fits_at(&mut self, now: Duration, cost: u64) -> Option<Duration>;

    /// Whether a call of `cost` would be accepted at `now`.
    fn fits(&mut self, now: Duration, cost: u64) -> bool {
        cost <= self.remaining(now)
    }

    /// A call of `cost` that arrives at `now`; only an accepted one counts.
    fn call(&mut self, now: Duration, cost: u64) -> Verdict {
        if self.fits(now, cost) {
            self.charge(now, cost);
            Verdict::Accepted
        } else {
            Verdict::Refused
        }
    }
}

/// The greatest number that divides both; that of 0 and `n` is `n`.
fn common_divisor(a: u128, b: u128) -> u128 {
    if b == 0 { a } else { common_divisor(b, a % b) }
}

/// Whole nanoseconds; saturates after 584 years.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The duration of so many nanoseconds, at most 584 years.
fn from_nanos(nanos: u128) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}
