//! What a lane hands to the ledger in one script call, and what comes back.

use std::fmt::{self, Write as _};

use crate::{ClassName, LeaseId, Refusal, ReplicaName, Span, TenantName, Tier, UnitName};

/// One script call's worth of work on one budget. Order of effect: settlements, renewals, then acquires in the
/// order given. Retrying a commit whose reply was lost changes nothing: leases are keyed by ids that the caller chose.
#[derive(Debug, Clone, PartialEq)]
pub struct Commit {
    /// Who calls.
    pub replica: ReplicaName,
    /// The version of the specification that `costs` and limit indexes below were made from.
    pub spec_version: u64,
    /// Callers that will wait at this replica beyond this commit, 0 if none: others' freed capacity is announced to it.
    pub waiting: u64,
    /// Who of them waits, at most [`MAX_CONTENDERS`]; empty where it is not told, or nobody waits.
    pub contenders: Vec<Contender>,
    /// A uniform random number in `[0, 1)`, the jitter of a back-off that this commit may cause.
    pub jitter: f64,
    /// At most 512 groups.
    pub settles: Vec<SettleGroup>,
    /// At most 512 groups.
    pub renews: Vec<RenewGroup>,
    /// At most 512 groups.
    pub acquires: Vec<AcquireGroup>,
    /// Requests by id that wait and are not asked for now: whether they were granted before is looked up. At most
    /// [`MAX_LOOKS`].
    pub looks: Vec<RequestTag>,
}

/// The most requests that a commit looks up beside those that it asks for.
pub const MAX_LOOKS: usize = 512;

/// The most contenders that a commit names.
pub const MAX_CONTENDERS: usize = 32;

/// Calls of one tenant, tier and class that wait at a replica, those that the commit itself asks for included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contender {
    /// How urgent.
    pub tier: Tier,
    /// Who waits; `None`: all of the tier that the commit does not name.
    pub tenant: Option<TenantName>,
    /// How many tenants they are: 1, but for those that are not named.
    pub tenants: u32,
    /// The calls' class; of those that are not named that of one of them.
    pub class: ClassName,
    /// How many calls, at least 1.
    pub calls: u64,
    /// What one of them costs by limit.
    pub costs: Vec<u64>,
}

/// Permits of one lease with the same outcome.
#[derive(Debug, Clone, PartialEq)]
pub struct SettleGroup {
    /// Which lease.
    pub lease: LeaseId,
    /// Which of its permits: 1 to 1024, distinct.
    pub indexes: Vec<u16>,
    /// What became of them.
    pub kind: SettleKind,
    /// Actual cost of each permit by limit (0: as granted), where it is known only now. Empty: as granted.
    pub costs: Vec<u64>,
    /// As `costs`, by unit, for the accounts of use. Empty: as granted.
    pub units: Vec<(UnitName, u64)>,
    /// At most one a limit.
    pub readings: Vec<LimitReading>,
    /// A pause that the response asks for.
    pub pause: Option<PauseOrder>,
    /// How long ago the response came, milliseconds; never more than is certain.
    pub age_ms: u64,
}

/// What became of permits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettleKind {
    /// Never sent: refunded.
    NotSent,
    /// Granted to a caller that had gone away, or perhaps to be granted yet: refunded, and granted no more; unless its request claimed it
    /// since, or a ration told of it again, for then somebody holds the permit.
    Unclaimed,
    /// Answered and not refused: charged. Blind in every limit that no reading names.
    Accepted,
    /// Sent, or perhaps sent, and no answer came: charged, blind in every limit.
    Lost,
    /// Refused by the upstream.
    Refused {
        /// Whether this upstream counts refused calls.
        counted: bool,
    },
}

/// What a response said of one limit of the budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitReading {
    /// Index of the limit in the specification.
    pub limit: u16,
    /// The least remaining among the group's readings.
    pub remaining_least: Option<u64>,
    /// The remaining of any one of them, the last by preference.
    pub remaining_last: Option<u64>,
    /// The limit's capacity, where sent.
    pub capacity: Option<u64>,
    /// When its window ends, from the moment the response was made.
    pub reset: Option<Span>,
}

/// A pause that a response asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PauseOrder {
    /// What it covers.
    pub scope: Scope,
    /// Stay away for so long from the moment the response was received, milliseconds. `None`: the hit limit's reset
    /// if its reading says that nothing remains, otherwise back-off.
    pub retry_after_ms: Option<u64>,
}

/// What a pause covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// The budget.
    Budget,
    /// Calls of one class.
    Class(ClassName),
    /// Calls that fall under the limit at this index.
    Limit(u16),
}

/// One permit's deadline moved on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenewGroup {
    /// Which lease.
    pub lease: LeaseId,
    /// Which of its permits.
    pub index: u16,
    /// The new deadline, milliseconds from now. A deadline never moves back.
    pub ttl_ms: u64,
}

/// Equal acquires: same class, tenant, tier, cost and time to live.
#[derive(Debug, Clone, PartialEq)]
pub struct AcquireGroup {
    /// The lease that holds what is granted. Random; of a claim, the lease that is claimed from.
    pub lease: LeaseId,
    /// The requests by id that the permits are for, so that each finds its permit again.
    pub requests: Requests,
    /// The calls' class.
    pub class: ClassName,
    /// Who asks.
    pub tenant: TenantName,
    /// How urgent.
    pub tier: Tier,
    /// Cost of each permit by limit, 0 where a limit does not apply: [`crate::BudgetSpec::costs`].
    pub costs: Vec<u64>,
    /// Cost of each permit by unit, for the accounts of use.
    pub units: Vec<(UnitName, u64)>,
    /// How many permits, 1 to 1024.
    pub count: u16,
    /// How long a holder has to settle, milliseconds.
    pub ttl_ms: u64,
}

/// A request by id, as the ledger knows it: a hash of what makes it the same request.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestTag(pub u128);

impl fmt::Display for RequestTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        // 22 digits of 6 bits, the highest first: a store keeps one for each permit, so it is to be short.
        for at in (0..22).rev() {
            let digit = usize::try_from((self.0 >> (6 * at)) & 63).unwrap_or(0);
            f.write_char(char::from(DIGITS[digit]))?;
        }
        Ok(())
    }
}

impl fmt::Debug for RequestTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// For which requests by id a group acquires.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Requests {
    /// Their callers gave no ids.
    #[default]
    None,
    /// One a permit, each once a commit. Who was granted before is told where, and gets nothing here.
    Asked(Vec<RequestTag>),
    /// One a permit, which its holder has already, from a ration: whatever else the request was granted.
    Held(Vec<RequestTag>),
    /// The permit at this index of `lease` was granted to this request before, and is asked for once more; `count` is 1.
    Claim(RequestTag, u16),
}

/// Where the permit of a request by id is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// At this index of the group's lease.
    Here(u16),
    /// It was granted before, by another lease: to be claimed there.
    Elsewhere(LeaseId, u16),
    /// Nowhere: it is refused. What a claim asked for is nowhere when it was given back or forgotten: to be asked for anew.
    Nowhere,
}

/// What the ledger answers.
#[derive(Debug, Clone, PartialEq)]
pub struct CommitReply {
    /// For each settle group, for each of its indexes.
    pub settled: Vec<Vec<Settled>>,
    /// For each renew group.
    pub renewed: Vec<Renewal>,
    /// For each acquire group.
    pub decisions: Vec<Decision>,
    /// For each settle group: for how long its scope (the call's class, its limits and the budget) is now paused,
    /// milliseconds; 0: it is not.
    pub paused_ms: Vec<u64>,
    /// By limit: what could be granted now, what is out, what is paid.
    pub limits: Vec<(i64, u64, u64)>,
    /// For each request that was looked up: the permit that it was granted before.
    pub found: Vec<Option<(LeaseId, u16)>>,
    /// Whether it may have been sent more than once, and may yet run again: what it was refused may be granted then, and nobody
    /// would hear of it.
    pub resent: bool,
}

/// What settling a permit did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// It took effect.
    Applied,
    /// It was settled before; nothing changed.
    Already,
    /// The ledger knows no such permit, or no longer: it expired, or it was never given out. Nothing changed.
    Unknown,
}

/// What renewing a permit did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// Its deadline is now so many milliseconds away.
    Renewed {
        /// Milliseconds from now.
        deadline_ms: u64,
    },
    /// It is settled: there is nothing to renew.
    Settled,
    /// Unknown, or its deadline has passed and its slot is given back.
    Unknown,
}

/// What became of an acquire group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// How many of its permits were granted: indexes 0 to `granted - 1` of its lease. None of a claim.
    pub granted: u16,
    /// For each of its requests by id, where its permit is. Empty: of the first `granted` in order, here.
    pub places: Vec<Place>,
    /// How long they may still be sent, milliseconds.
    pub send_within_ms: u64,
    /// How long until they must be settled, milliseconds.
    pub deadline_ms: u64,
    /// Why the rest was not, and when the next one could be.
    pub refusal: Option<Refusal>,
}
