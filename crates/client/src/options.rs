//! What one acquire asks for.

use std::{collections::BTreeMap, time::Duration};

use bursar_quota::Tier;
use bursar_wire::v1;

use crate::config::ClientConfig;

/// How an acquire is told apart from others.
#[derive(Debug, Clone, PartialEq, Eq)]
enum RequestId {
    /// The client makes one.
    Made,
    /// The caller chose it.
    Given(String),
    /// None: a retry may be granted twice.
    Off,
}

/// What one acquire asks for. Only the budget is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcquireOptions {
    budget: String,
    class: String,
    tenant: Option<String>,
    tier: Option<Tier>,
    costs: BTreeMap<String, u64>,
    max_wait: Option<Duration>,
    deadline: Option<Duration>,
    ttl: Option<Duration>,
    request_id: RequestId,
}

impl AcquireOptions {
    /// A permit of `budget`, a name: 1 to 128 characters of `[a-z0-9._/-]`. The server checks it, as everything here.
    pub fn new(budget: impl Into<String>) -> Self {
        Self {
            budget: budget.into(),
            class: String::new(),
            tenant: None,
            tier: None,
            costs: BTreeMap::new(),
            max_wait: None,
            deadline: None,
            ttl: None,
            request_id: RequestId::Made,
        }
    }

    /// What kind of call it is, a name. Default: the budget's default class.
    #[must_use]
    pub fn class(mut self, class: impl Into<String>) -> Self {
        self.class = class.into();
        self
    }

    /// Who asks, a name. Default: the client's.
    #[must_use]
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// How urgent it is. Default: the client's.
    #[must_use]
    pub fn tier(mut self, tier: Tier) -> Self {
        self.tier = Some(tier);
        self
    }

    /// What the call costs in `unit`, a name: 1 to 1,000,000,000,000; at most 8 units. Default: what the limit says.
    #[must_use]
    pub fn cost(mut self, unit: impl Into<String>, amount: u64) -> Self {
        self.costs.insert(unit.into(), amount);
        self
    }

    /// How long to wait in Bursar for the call's turn, at most 1 h; zero: answer at once. Default: the client's.
    #[must_use]
    pub fn max_wait(mut self, max_wait: Duration) -> Self {
        self.max_wait = Some(max_wait);
        self
    }

    /// How long the acquire may take in all, with everything that is tried again. Default: `max_wait` and twice the
    /// client's `rpc_timeout`. If it is less than `max_wait`, it bounds the wait too.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// How long the holder needs to settle, 1 ms to the budget's maximum. Default: the budget's.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// An id of the caller's own, at most 128 bytes and never used for another call: asking again with it, even from
    /// another process, gets the same permit. Default: the client makes one (unless
    /// [`request_ids`](ClientConfig::request_ids) is off), so that its retries are safe.
    #[must_use]
    pub fn request_id(mut self, id: impl Into<String>) -> Self {
        self.request_id = RequestId::Given(id.into());
        self
    }

    /// Sends no id: what is tried again after a broken connection may be granted twice, and what is then unused expires.
    #[must_use]
    pub fn without_request_id(mut self) -> Self {
        self.request_id = RequestId::Off;
        self
    }

    /// The budget asked for.
    pub fn budget(&self) -> &str {
        &self.budget
    }

    /// How long to wait in Bursar: a little less than the deadline allows, so that the refusal still arrives.
    pub(crate) fn waits(&self, config: &ClientConfig) -> Duration {
        const ON_THE_WAY: Duration = Duration::from_millis(250);
        let wanted = self.max_wait.unwrap_or(config.max_wait);
        let bound = |deadline: Duration| wanted.min(deadline - ON_THE_WAY.min(deadline / 10));
        self.deadline.map_or(wanted, bound)
    }

    /// How long the acquire may take in all.
    pub(crate) fn total(&self, config: &ClientConfig) -> Duration {
        let usual = || self.waits(config).saturating_add(2 * config.rpc_timeout);
        self.deadline.unwrap_or_else(usual)
    }

    /// Whether the caller chose the request id: then there is no other to be had.
    pub(crate) fn has_own_id(&self) -> bool {
        matches!(self.request_id, RequestId::Given(_))
    }

    /// The request, but for what changes from attempt to attempt (`max_wait_ms`, and what rides along).
    pub(crate) fn request(&self, config: &ClientConfig, made: impl FnOnce() -> String) -> v1::AcquireRequest {
        let tenant = || config.tenant.as_ref().map(|tenant| tenant.as_str().to_owned());
        let tier = match self.tier.unwrap_or(config.tier) {
            Tier::Interactive => v1::Tier::Interactive,
            Tier::Standard => v1::Tier::Standard,
            Tier::Batch => v1::Tier::Batch,
        };
        v1::AcquireRequest {
            budget: self.budget.clone(),
            class: self.class.clone(),
            tenant: self.tenant.clone().or_else(tenant).unwrap_or_default(),
            tier: tier.into(),
            costs: self.costs.clone(),
            max_wait_ms: 0,
            ttl_ms: self.ttl.map_or(0, |ttl| millis(ttl).max(1)),
            request_id: match &self.request_id {
                RequestId::Made if config.request_ids => made(),
                RequestId::Given(id) => id.clone(),
                RequestId::Made | RequestId::Off => String::new(),
            },
            settle: None,
        }
    }
}

/// Whole milliseconds, rounded down.
pub(crate) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
