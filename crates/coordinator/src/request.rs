//! What callers ask of a coordinator, and what they get.

use std::time::Duration;

use bursar_quota::{BudgetName, ClassName, PermitId, Settled, TenantName, Tier, UnitName};

/// Asks for leave to make one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acquire {
    /// The shared quota to draw from.
    pub budget: BudgetName,
    /// What kind of call it is; `None`: the budget's default class.
    pub class: Option<ClassName>,
    /// Who asks.
    pub tenant: TenantName,
    /// How urgent it is.
    pub tier: Tier,
    /// What the call costs by unit, 1 to [`bursar_quota::MAX_CAPACITY`] each. A unit that is not named costs the limit's
    /// default.
    pub costs: Vec<(UnitName, u64)>,
    /// How long the caller is willing to wait, at most [`crate::Config::max_wait`] (what is more counts as that). Zero:
    /// one decision, then its answer.
    pub max_wait: Duration,
    /// What is left of the time within which the caller must have an answer; `None`: no bound but `max_wait`.
    pub deadline: Option<Duration>,
    /// How long the holder needs to settle, 1 ms to the budget's `max_permit_ttl`; `None`: its `permit_ttl`.
    pub ttl: Option<Duration>,
    /// Makes a retry safe: the same id of the same tenant and budget gets the same permit, on any replica. At most 128
    /// bytes.
    pub request_id: Option<String>,
}

impl Acquire {
    /// Asks for one call of the budget's default class, for the default tenant, in the standard tier, at once.
    pub fn new(budget: BudgetName) -> Self {
        Self {
            budget,
            class: None,
            tenant: TenantName::default_tenant(),
            tier: Tier::Standard,
            costs: Vec::new(),
            max_wait: Duration::ZERO,
            deadline: None,
            ttl: None,
            request_id: None,
        }
    }
}

/// Leave to make one call, once.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a permit that is neither used nor settled holds its quota until its deadline"]
pub struct Granted {
    /// Names the permit when it is settled.
    pub permit: PermitId,
    /// The call must reach the upstream within this, counted from now; zero: too late already, as a retried acquire
    /// may find.
    pub send_within: Duration,
    /// The permit must be settled within this, counted from now.
    pub deadline: Duration,
    /// How long the request waited.
    pub waited: Duration,
    /// Whether it was granted by the budget's ration, because the store gave no answer.
    pub rationed: bool,
}

/// Says what became of a permit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settle {
    /// The permit's budget.
    pub budget: BudgetName,
    /// The permit.
    pub permit: PermitId,
    /// What happened.
    pub outcome: Outcome,
    /// Actual cost by unit, where it is known only now: 0 to [`bursar_quota::MAX_CAPACITY`]. Wins over what the response
    /// says.
    pub costs: Vec<(UnitName, u64)>,
    /// How long ago the response was received; never more than it was.
    pub age: Duration,
}

/// What became of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The upstream answered.
    Response {
        /// The HTTP status code.
        status: u16,
        /// Header lines in the order received, at most 64 KiB in all.
        headers: Vec<(String, Vec<u8>)>,
        /// The first bytes of the body, at most 16 KiB.
        body: Vec<u8>,
    },
    /// The call was not sent and will not be: the permit is given back.
    NotSent,
    /// The call was sent, or may have been, and no answer came: it is charged.
    Lost,
}

/// What settling did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SettleReport {
    /// The outcome.
    pub result: Settled,
    /// For how long the permit's scope now grants nothing; zero: it is not paused.
    pub paused_for: Duration,
    /// How many values of the response were malformed and ignored.
    pub malformed: u32,
}

/// Moves a permit's deadline on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renew {
    /// The permit's budget.
    pub budget: BudgetName,
    /// The permit.
    pub permit: PermitId,
    /// The new deadline from now, 1 ms to the budget's `max_permit_ttl`; `None`: its `permit_ttl`. Never moves back.
    pub ttl: Option<Duration>,
}
