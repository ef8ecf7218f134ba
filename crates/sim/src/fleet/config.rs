//! What a fleet is like.

use std::time::Duration;

use http::Method;
use rand::Rng;

/// One kind of call that workers make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallKind {
    /// The class that Bursar is asked for; `None`: the budget's default.
    pub class: Option<&'static str>,
    /// The method of the request.
    pub method: Method,
    /// The path of the request, beginning with `/`.
    pub path: String,
    /// How often it is made, in proportion to the weights of all kinds; 0: never.
    pub weight: u32,
}

/// How a worker retries: what the vendor's guide shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryHandler {
    /// The most tries of one call, the first among them; then it is given up. At least 1.
    pub tries: u32,
    /// The first back-off where no Retry-After says how long.
    pub base: Duration,
    /// The longest back-off.
    pub max: Duration,
}

impl RetryHandler {
    /// Three tries; back-off from 1 s to at most 300 s, doubling; both `scale` times faster.
    pub fn guide(scale: f64) -> Self {
        let scaled = |seconds: u64| Duration::from_secs(seconds).div_f64(scale.clamp(1e-3, 1e6));
        Self { tries: 3, base: scaled(1), max: scaled(300) }
    }

    /// How long to stay away after the `tries`-th refusal (from 1): what Retry-After said, otherwise the back-off.
    pub fn delay(&self, tries: u32, retry_after: Option<Duration>) -> Duration {
        let factor = 2_u32.saturating_pow(tries.saturating_sub(1));
        retry_after.unwrap_or_else(|| self.base.saturating_mul(factor).min(self.max))
    }
}

/// A fleet. No `Debug`: it holds the token.
#[derive(Clone)]
pub struct FleetConfig {
    /// How many workers call, 1 to [`MAX_WORKERS`].
    pub workers: usize,
    /// What they call; at least one of a weight above 0.
    pub calls: Vec<CallKind>,
    /// Sent as the `Authorization` header.
    pub token: String,
    /// How long a worker pauses between two calls.
    pub think: Duration,
    /// How long a request may take in all, 1 ms or more.
    pub request_timeout: Duration,
    /// How workers retry what the upstream refused. Through Bursar the delays are Bursar's, the tries are these.
    pub retry: RetryHandler,
    /// The budget that permits are of. Only through Bursar.
    pub budget: String,
    /// How long a worker waits in Bursar for a permit before it asks again. Only through Bursar.
    pub max_wait: Duration,
    /// What everything random follows from.
    pub seed: u64,
}

/// The most workers of a fleet.
pub const MAX_WORKERS: usize = 10_000;

impl FleetConfig {
    /// Workers that read tickets of Autotask without pausing, one call in `auth_every` (0: none) on an authentication
    /// endpoint, in an upstream that is `scale` times faster than the vendor.
    pub fn autotask(workers: usize, token: &str, auth_every: u32, scale: f64) -> Self {
        let kind = |class, path: &str, weight| CallKind {
            class,
            method: Method::GET,
            path: path.to_owned(),
            weight,
        };
        let auth = kind(Some("auth"), "/v1.0/zoneInformation", u32::from(auth_every > 0));
        let others = if auth_every > 0 { auth_every - 1 } else { 1 };
        let calls = vec![kind(None, "/v1.0/Tickets", others), auth];
        Self { calls, ..Self::plain(workers, token, "/", scale) }
    }

    /// Workers that read from SalesTim, one call in `write_every` (0: none) a write.
    pub fn salestim(workers: usize, token: &str, write_every: u32, scale: f64) -> Self {
        let kind = |class, method, weight| CallKind {
            class: Some(class),
            method,
            path: "/teams".to_owned(),
            weight,
        };
        let write = kind("write", Method::POST, u32::from(write_every > 0));
        let others = if write_every > 0 { write_every - 1 } else { 1 };
        let calls = vec![kind("read", Method::GET, others), write];
        Self { calls, ..Self::plain(workers, token, "/", scale) }
    }

    /// Workers that get `path` without pausing.
    pub fn plain(workers: usize, token: &str, path: &str, scale: f64) -> Self {
        Self {
            workers,
            calls: vec![CallKind { class: None, method: Method::GET, path: path.to_owned(), weight: 1 }],
            token: token.to_owned(),
            think: Duration::ZERO,
            request_timeout: Duration::from_secs(30),
            retry: RetryHandler::guide(scale),
            budget: "default".to_owned(),
            max_wait: Duration::from_secs(30),
            seed: 0,
        }
    }

    /// The kind of the next call; `None`: there is no kind of a weight above 0.
    pub(super) fn pick(&self, rng: &mut impl Rng) -> Option<&CallKind> {
        let total: u64 = self.calls.iter().map(|kind| u64::from(kind.weight)).sum();
        let mut at = if total > 0 { rng.random_range(0..total) } else { return None };
        self.calls.iter().find(|kind| {
            let weight = u64::from(kind.weight);
            let found = at < weight;
            at = at.saturating_sub(weight);
            found
        })
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    #[test]
    fn the_guide_backs_off_by_doubling_and_believes_retry_after() {
        let guide = RetryHandler::guide(10.0);
        let delays: Vec<_> = (1..=13).map(|tries| guide.delay(tries, None).as_millis()).collect();
        assert_eq!(delays[..4], [100, 200, 400, 800]);
        assert_eq!(delays[9..], [30_000, 30_000, 30_000, 30_000]);
        let told = Duration::from_millis(7);
        assert_eq!(guide.delay(9, Some(told)), told);
    }

    #[test]
    fn calls_are_mixed_by_weight() {
        let config = FleetConfig::autotask(1, "t", 10, 1.0);
        let mut rng = StdRng::seed_from_u64(1);
        let auth = (0..10_000).filter(|_| config.pick(&mut rng).unwrap().class == Some("auth")).count();
        assert!((800..1200).contains(&auth), "{auth}");
        let never = FleetConfig::autotask(1, "t", 0, 1.0);
        assert!((0..1000).all(|_| never.pick(&mut rng).unwrap().class.is_none()));
        assert_eq!(FleetConfig { calls: Vec::new(), ..never }.pick(&mut rng), None);
    }
}
