//! How much one replica's coordinator holds and how long it keeps it.

use std::time::Duration;

use bursar_quota::ReplicaName;

/// Bounds and identity of one coordinator. Every queue and every map it has is bounded by one of these, or by
/// [`bursar_quota::BudgetSpec::max_waiting`].
#[derive(Debug, Clone)]
pub struct Config {
    /// Who this is among the replicas.
    pub replica: ReplicaName,
    /// Seed of lease ids and jitter. It must come from the system's entropy in production: who knows it can guess
    /// permit ids.
    pub seed: u64,
    /// The most budgets that have a lane at once, 1 at least. Beyond, the idlest empty lane makes room; where none is
    /// empty, an acquire is refused with `QueueFull`.
    pub max_lanes: usize,
    /// How long a lane is kept without work.
    pub lane_idle: Duration,
    /// The most commits of one lane that are under way at once, 1 at least.
    pub max_in_flight: usize,
    /// The most callers that wait in all lanes together.
    pub max_waiting: usize,
    /// The most settlements and renewals queued in one lane.
    pub max_settling: usize,
    /// The longest a caller may wait, whatever it asks for.
    pub max_wait: Duration,
    /// The longest that waiters are left alone without asking the ledger again: it bounds what a lost wake-up costs.
    pub recheck: Duration,
    /// How long before the caller's deadline an answer is given, so that it arrives in time; at most a tenth of what
    /// is left.
    pub answer_margin: Duration,
    /// Whether commits tell who waits here, so that tenants and tiers share across replicas, and not replicas: of all
    /// replicas of a store or of none.
    pub shares_across_replicas: bool,
    /// How many events a slow watcher may lag behind before it misses the oldest.
    pub watch_capacity: usize,
}

impl Config {
    /// The defaults for `replica`, with this seed.
    pub fn new(replica: ReplicaName, seed: u64) -> Self {
        Self {
            replica,
            seed,
            max_lanes: 100_000,
            lane_idle: Duration::from_secs(60),
            max_in_flight: 1,
            max_waiting: 1_000_000,
            max_settling: 100_000,
            max_wait: Duration::from_secs(3600),
            recheck: Duration::from_secs(5),
            answer_margin: Duration::from_millis(20),
            shares_across_replicas: true,
            watch_capacity: 1024,
        }
    }
}
