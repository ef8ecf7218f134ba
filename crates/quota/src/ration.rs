//! What a replica may grant by itself while it cannot reach the store.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{CountedAt, LimitKind, LimitSpec, duration_text};

/// What becomes of acquires while the store gives no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnStoreLoss {
    /// Nothing is granted: callers get a typed error with a time to come back.
    #[default]
    Refuse,
    /// Each replica grants a declared part by itself, for a declared time: [`Ration`].
    Ration,
}

impl OnStoreLoss {
    /// As declarations spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Ration => "ration",
        }
    }

    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// How much all replicas together may grant without the store, and for how long.
///
/// Of a limit of capacity `n` one replica grants at most `floor(fraction * n / replicas)` within any span in which the
/// upstream could count it in one window: so all of them together at most `fraction * n`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ration {
    /// Part of each limit's capacity that all replicas together may grant: above 0, at most 1.
    pub fraction: f64,
    /// How many replica processes share it, 1 to 1,000: the most that may be at work within one window, those that are
    /// started anew included. The bound holds for as many, and grows with each beyond.
    pub replicas: u32,
    /// For how long since a replica found that it cannot reach the store: 1 ms to 1 day. The store's return begins it anew.
    #[serde(with = "duration_text")]
    pub span: Duration,
}

impl Ration {
    /// The most replicas that share one.
    pub const MAX_REPLICAS: u32 = 1000;

    /// One replica's part of `capacity`, in whole units, rounded down.
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a capacity is at most 10^12, exact in a double; the part is not negative"
    )]
    pub fn share(&self, capacity: u64) -> u64 {
        self.part(capacity as f64).floor() as u64
    }

    /// One replica's part of a rate or of what is not whole.
    pub fn part(&self, of: f64) -> f64 {
        (of * self.fraction / f64::from(self.replicas.max(1))).max(0.0)
    }

    /// Whether a call of the least cost could ever be granted by it at this limit.
    pub(crate) fn reaches(&self, limit: &LimitSpec) -> bool {
        matches!(limit.kind, LimitKind::Adaptive { .. }) || self.share(limit.kind.capacity()) > 0
    }
}

impl LimitSpec {
    /// How long after its grant a call may still come to be counted, where it must be sent within `send_within` and
    /// settled within `max_permit_ttl`.
    pub fn counted_within(&self, send_within: Duration, max_permit_ttl: Duration) -> Duration {
        match self.counted_at {
            CountedAt::Start => send_within,
            CountedAt::Completion => max_permit_ttl.max(send_within),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_replicas_together_stay_within_the_fraction() {
        for replicas in 1..=20 {
            for fraction in [0.01, 0.1, 0.3, 1.0 / 3.0, 0.5, 0.9, 1.0] {
                for capacity in [1_u64, 3, 10, 599, 600, 10_000, 1_000_000_000_000] {
                    let ration = Ration { fraction, replicas, span: Duration::from_secs(1) };
                    let all = ration.share(capacity) * u64::from(replicas);
                    #[allow(clippy::cast_precision_loss, reason = "exact below 2^53")]
                    let (all, most) = (all as f64, capacity as f64 * fraction);
                    assert!(all <= most * (1.0 + 1e-12), "{ration:?} of {capacity}: {all}");
                }
            }
        }
    }

    #[test]
    fn it_is_spelled_in_words_and_with_a_unit() {
        let ration: Ration =
            serde_json::from_str(r#"{"fraction": 0.25, "replicas": 3, "span": "30s"}"#).unwrap();
        assert_eq!((ration.share(600), ration.share(3)), (50, 0));
        assert_eq!(serde_json::from_str::<OnStoreLoss>("\"ration\"").unwrap(), OnStoreLoss::Ration);
        assert!(serde_json::from_str::<Ration>(r#"{"fraction": 0.25, "replicas": 3, "span": 30}"#).is_err());
    }
}
