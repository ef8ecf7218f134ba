//! What changed, as the scripts announce it to all replicas.

use crate::{BudgetName, LimitName, ReplicaName};

/// One announcement. Announcements are hints: nothing is right only because one arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerEvent {
    /// Whose.
    pub budget: BudgetName,
    /// What.
    pub kind: EventKind,
}

/// What changed in a budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventKind {
    /// Capacity freed early while another replica waits: try again now.
    Wake,
    /// A scope was paused.
    Paused {
        /// `budget`, `operator`, `class:<name>` or `limit:<name>`.
        scope: String,
        /// For how long from now; `None` until it is resumed.
        for_ms: Option<u64>,
    },
    /// A scope grants again.
    Resumed {
        /// As in `Paused`.
        scope: String,
    },
    /// The upstream says that a limit's capacity is another one than was known.
    LimitChanged {
        /// Which limit.
        limit: LimitName,
        /// What was known.
        from: u64,
        /// What the upstream says.
        to: u64,
    },
    /// Use of a limit rose above the share at which the budget wants to be told.
    ThresholdCrossed {
        /// Which limit.
        limit: LimitName,
        /// Cost that weighs.
        used: u64,
        /// Of this capacity.
        capacity: u64,
    },
    /// Somebody else used the same token.
    ForeignUse {
        /// In which limit.
        limit: LimitName,
        /// How much more than was known.
        cost: u64,
    },
    /// A limit is accounted in another way from now on.
    RungChanged {
        /// Which limit.
        limit: LimitName,
        /// How it was: `aligned`, `sliding`, `paced` or `bucket`.
        from: String,
        /// How it is, as `from`.
        to: String,
    },
    /// The budget's specification was put, at this version.
    SpecChanged {
        /// The new version.
        version: u64,
    },
    /// The budget was deleted.
    Deleted,
    /// The store lost the budget's state; what it knows is being learned again.
    StateLost,
    /// A replica cannot reach the store and grants by the declared ration from now on. Told by that replica alone.
    RationBegan {
        /// Which replica.
        replica: ReplicaName,
        /// For how long at most.
        for_ms: u64,
    },
    /// A replica grants by the ration no more. Told by that replica alone.
    RationEnded {
        /// Which replica.
        replica: ReplicaName,
        /// Permits that it granted so since it began.
        granted: u64,
        /// Whether the store answers again; otherwise the ration's time is over and the replica refuses.
        store_back: bool,
    },
}
