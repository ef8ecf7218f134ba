//! What a simulation is made of: budgets and their upstreams, the load, the network, the faults, and what is demanded.
//!
//! Plain data. Times are [`Duration`]s since the simulation's start; ranges of times are milliseconds, both ends
//! included; shares are parts per thousand. Whatever is drawn at random is drawn by whoever acts, from its own seed.

use std::{ops::RangeInclusive, time::Duration};

use bursar_quota::{BudgetSpec, Tier};

/// What a right clock shows at the simulation's start, since the Unix epoch: 2026-11-22, 00:00 UTC.
pub const START_UNIX: Duration = Duration::from_secs(1_795_305_600);

/// A range of whole milliseconds, both ends included.
pub type Millis = RangeInclusive<u64>;

/// So many of a thousand, 0 to 1000.
pub type PerMille = u32;

/// One world, and what is demanded of it.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// As on the command line.
    pub name: &'static str,
    /// One line for people.
    pub about: &'static str,
    /// The budgets that are shared, mostly one. Worker `i` calls on the budget `i` modulo their number.
    pub budgets: Vec<BudgetPlan>,
    /// What the workers ask for.
    pub load: Load,
    /// How long messages take.
    pub network: NetworkPlan,
    /// What goes wrong.
    pub faults: FaultPlan,
    /// What is demanded.
    pub expects: Expectation,
    /// How many replicas there are, at least 1.
    pub replicas: u16,
    /// How many workers there are, at least 1.
    pub workers: u16,
    /// How many windows are measured, at least 1.
    pub windows: u32,
    /// The length of one of them: that of the first budget's first limit.
    pub window: Duration,
    /// When the first of them begins. What is before it is a part of a window: invariants and refusals count, what was
    /// accepted of what was offered does not.
    pub from: Duration,
}

impl Scenario {
    /// Which tier a worker is of.
    pub fn tier(&self, worker: usize) -> Tier {
        let tiers = &self.load.tiers;
        tiers.get(worker % tiers.len().max(1)).copied().unwrap_or_default()
    }

    /// When the last measured window ends, and demand with it: this many windows after `from`. The share that was used is
    /// `(accepted(span) - accepted(from)) / (offered(span) - offered(from))`.
    pub fn span(&self) -> Duration {
        self.from + self.window * self.windows
    }
}

/// What the command line may say otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sizes {
    /// [`Scenario::replicas`].
    pub replicas: Option<u16>,
    /// [`Scenario::workers`].
    pub workers: Option<u16>,
    /// [`Scenario::windows`].
    pub windows: Option<u32>,
    /// Every sort of fault besides, whatever the scenario.
    pub faults: bool,
    /// [`Expectation::utilisation_least`], in ten-thousandths, whatever the scenario promises.
    pub used_least: Option<u16>,
}

/// One budget: what is declared of it, and what its upstream is in truth.
#[derive(Debug, Clone)]
pub struct BudgetPlan {
    /// The declaration.
    pub spec: BudgetSpec,
    /// The truth. Its rules have the names of the limits that declare them.
    pub upstream: UpstreamPlan,
    /// The text of a profile that is to be known beside those that are built in; absent: none.
    pub profile: Option<&'static str>,
}

/// What the workers ask for.
#[derive(Debug, Clone)]
pub struct Load {
    /// How long a worker does something else between two calls; `0..=0`: full demand.
    pub think: Millis,
    /// How long the upstream takes to answer a call that it accepted. Refusals are answered at once.
    pub service: Millis,
    /// Of the accepted calls: answered within [`Load::quick_service`] all the same.
    pub quick: PerMille,
    /// How long those take.
    pub quick_service: Millis,
    /// The kinds of calls, drawn by weight; never empty.
    pub classes: Vec<ClassPlan>,
    /// What calls cost beside one request.
    pub costs: Vec<CostPlan>,
    /// How long a worker is willing to wait for a permit, before it asks again.
    pub max_wait: Duration,
    /// What a worker asks for as its permit's time to live; `None`: the budget's.
    pub ttl: Option<Duration>,
    /// Worker `i` works for tenant `i` modulo this, at least 1.
    pub tenants: u16,
    /// Where workers are.
    pub placement: Placement,
    /// Worker `i` is of this tier, `i` modulo their number; never empty.
    pub tiers: Vec<Tier>,
    /// When there is demand, `[from, to)`, in order; empty: always.
    pub spikes: Vec<(Duration, Duration)>,
}

/// Which replica is a worker's, and which tenant it works for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// As many at each replica as [`ReplicaPlan::share`] says, whatever their tenants.
    Spread,
    /// Tenants are not spread evenly: the last one is everywhere, the one before it at the last replica, all others at the first.
    ByTenant,
    /// Worker 0 is alone at the last replica and of the first tenant, all others are at the first and of the second.
    Crowd,
}

/// A kind of call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassPlan {
    /// Its class; `None`: none is named, so the budget's default.
    pub name: Option<String>,
    /// How often, in proportion to the others; at least 1.
    pub weight: u32,
}

/// What a call costs in a unit beside requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CostPlan {
    /// The unit.
    pub unit: String,
    /// What it reserves, at least 1.
    pub estimate: RangeInclusive<u64>,
    /// What it really costs, of the estimate; at least 1 in the end. Above 1000 the estimate was too low.
    pub actual: RangeInclusive<PerMille>,
}

/// How long messages take, one way.
#[derive(Debug, Clone)]
pub struct NetworkPlan {
    /// Between a worker and its replica.
    pub worker_replica: Millis,
    /// Between a replica and the store.
    pub replica_store: Millis,
    /// From a worker to the upstream, and back. A worker sends so that its call arrives within the permit's time, or
    /// does not send.
    pub worker_upstream: Millis,
    /// What is different for the replica of this number; what is missing is as above, with a share of 1.
    pub replicas: Vec<ReplicaPlan>,
}

/// Where a replica stands.
#[derive(Debug, Clone)]
pub struct ReplicaPlan {
    /// Between its workers and it.
    pub worker_replica: Millis,
    /// Between it and the store.
    pub replica_store: Millis,
    /// How many of the workers are its, in proportion to the others; 0: none.
    pub share: u32,
}

/// What goes wrong. Everything of a rate goes wrong until [`FaultPlan::heal_at`].
#[derive(Debug, Clone)]
pub struct FaultPlan {
    /// Of the permits that a worker gets: it stalls before it sends, for [`FaultPlan::stall_for`]; if that is longer
    /// than the permit may be sent, it says that it did not send.
    pub stall: PerMille,
    /// For how long.
    pub stall_for: Millis,
    /// Of the permits: the worker dies with it, before or after it sends (one half each), and never settles. Another
    /// worker takes its place.
    pub death: PerMille,
    /// Of the settlements: sent twice.
    pub twice: PerMille,
    /// Of the settlements: late, by [`FaultPlan::late_by`].
    pub late: PerMille,
    /// By how much.
    pub late_by: Millis,
    /// Of the settlements: the call was sent, but no answer came (settled as lost).
    pub lost_answer: PerMille,
    /// Of the acquires: sent again with the same request id, while the first is under way or after its answer.
    pub retried: PerMille,
    /// Of the script calls: it ran, and its reply is lost.
    pub reply_lost: PerMille,
    /// Of the script calls: it did not run, and the replica learns that it failed.
    pub call_lost: PerMille,
    /// Of all messages: late, by [`FaultPlan::delay_by`]; so messages overtake each other.
    pub delayed: PerMille,
    /// By how much.
    pub delay_by: Millis,
    /// Of the messages between workers and replicas: delivered twice.
    pub doubled: PerMille,
    /// What happens at times, in order of `at`.
    pub events: Vec<FaultEvent>,
    /// From then on nothing goes wrong, and progress is demanded. Zero: nothing ever goes wrong.
    pub heal_at: Duration,
}

/// One fault at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultEvent {
    /// When it begins.
    pub at: Duration,
    /// For how long; zero where it is over at once.
    pub lasts: Duration,
    /// What.
    pub what: Fault,
}

/// What goes wrong at a time. Replicas are numbered from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The replica crashes, with all that it knows; it is started again, empty, after the span.
    Crash(u16),
    /// The replica cannot reach the store: calls that are under way run, their replies are lost.
    CutFromStore(u16),
    /// The replica cannot reach its workers, nor they it.
    CutFromWorkers(u16),
    /// Nobody can reach the store.
    StoreDown,
    /// Nobody can reach the store for the span; then it is back, empty.
    StoreEmpty,
    /// Nobody can reach the store for the span; then it is back as it was so long before the fault began.
    StoreOlder(Duration),
    /// The store's clock steps by so many milliseconds.
    StoreStep(i64),
    /// The store's clock runs so many millionths too fast, for the span.
    StoreDrift(i32),
}

/// What is demanded of a run, beside the invariants that hold always.
#[derive(Debug, Clone)]
pub struct Expectation {
    /// The most refusals of live permits in the whole run; `None`: not bounded.
    pub refused_most: Option<u64>,
    /// The most in any one of the measured windows; `None`: not bounded by themselves.
    pub refused_per_window_most: Option<u64>,
    /// The most congestion epochs: refusals of permits granted before the first of them was settled are one. `None`:
    /// not bounded.
    pub epochs_most: Option<u64>,
    /// The most refusals for reasons that no limit shows, which the three above do not count; `None`: not bounded.
    pub secondary_most: Option<u64>,
    /// Of these, in each span in which everything is refused: the most of permits granted after the first was settled. `None`:
    /// not bounded.
    pub probes_most: Option<u64>,
    /// What is accepted of what would have been, at least; 0: nothing demanded.
    pub utilisation_least: f64,
    /// Jain's index over what equal tenants got, at least; 0: nothing demanded.
    pub jain_least: f64,
    /// How far a tier's share of what was accepted may be from that of its weight, as a part of that; `None`: not demanded.
    pub tier_error_most: Option<f64>,
    /// The longest that worker 0 waits; `None`: not demanded.
    pub lone_wait_most: Option<Duration>,
    /// At rest what is available is never above the truth: of limits that are declared as they are, and without foreign
    /// use.
    pub bounded_at_rest: bool,
    /// At rest what is available is the truth exactly, in limits that are aligned and whose every reading was seen.
    pub exact_at_rest: bool,
    /// At the end all that the ledger charged is all that the upstream counted.
    pub charges_exact: bool,
    /// The longest that anybody waits for a permit, counted from [`FaultPlan::heal_at`] at the earliest; `None`: not
    /// demanded.
    pub wait_bound: Option<Duration>,
    /// The longest that nobody is served while somebody waits, counted alike; `None`: not demanded.
    pub idle_bound: Option<Duration>,
}

/// An upstream in truth.
#[derive(Debug, Clone)]
pub struct UpstreamPlan {
    /// In order of precedence, at most 16. A call must fit all that apply to its class.
    pub rules: Vec<RulePlan>,
    /// How many calls at once; `None`: any number.
    pub slots: Option<SlotsPlan>,
    /// How a refusal is spelled.
    pub refusal: RefusalPlan,
    /// What is wrong with the headers.
    pub noise: Noise,
    /// Refusals for reasons of its own, in order of `from`.
    pub secondary: Vec<Secondary>,
    /// How far its wall clock is ahead of the true time, milliseconds.
    pub clock_ms: i64,
    /// What others use.
    pub foreign: Foreign,
    /// Which class the others' calls are of.
    pub foreign_class: String,
    /// Capacities that change, in order of `at`.
    pub changes: Vec<Change>,
    /// When we want anything, `[from, to)`, in order: what is offered outside of it does not count. Empty: always. That of
    /// [`Load::spikes`].
    pub demand: Vec<(Duration, Duration)>,
    /// The unit in which what is accepted is compared with what would have been.
    pub main_unit: String,
    /// The classes of calls that would have been: each as if there were no other.
    pub main_classes: Vec<String>,
}

/// How a rule counts. What [`crate::model`] names so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleKind {
    /// Fixed windows, whoever calls.
    Clock,
    /// Windows that start with their first call.
    FirstCall,
    /// What was called in the last window.
    Rolling,
    /// A bucket that refills `capacity` a window.
    Bucket,
    /// The same rule in its other form.
    Gcra,
    /// The count of this window on a clock, and of the one before as far as it overlaps the last window's length.
    Weighted,
    /// The same, naming its current window's end as its reset, though nothing is given back there at once.
    WeightedEnds,
    /// Fixed windows, each also enforced in so many equal parts, while the headers speak of the whole.
    Parts(u32),
}

/// One rule of an upstream.
#[derive(Debug, Clone)]
pub struct RulePlan {
    /// What it is called; in the headers too, where those name limits.
    pub name: String,
    /// What it counts.
    pub unit: String,
    /// The classes that it applies to; empty: all.
    pub classes: Vec<String>,
    /// How it counts.
    pub kind: RuleKind,
    /// At most this.
    pub capacity: u64,
    /// In so long.
    pub window: Duration,
    /// Of fixed windows: one ends then, modulo the window.
    pub phase: Duration,
    /// Whether a refused call counts all the same.
    pub refusals_count: bool,
    /// What is used of it at the start, by somebody else.
    pub used_at_start: u64,
    /// How responses tell of it.
    pub style: Style,
}

/// How responses tell of a rule. [`Style::Epoch`], [`Style::NoReset`] and [`Style::Delta`] are about one limit: the first
/// rule of the call's class that has one of these speaks, or the rule that refused, if it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Not at all.
    Silent,
    /// `X-RateLimit-Limit`, `-Remaining`, `-Reset` in epoch seconds, rounded up (Autotask, Flask-Limiter).
    Epoch,
    /// `X-RateLimit-Limit`, `-Remaining` (SalesTim).
    NoReset,
    /// `RateLimit-Limit`, `-Remaining`, `-Reset` in seconds from now, rounded up, and `RateLimit-Policy`.
    Delta,
    /// The structured fields `RateLimit-Policy` and `RateLimit`; a line of each for every rule that has this style and
    /// applies.
    Structured,
    /// `x-ratelimit-limit-<unit>`, `-remaining-<unit>`, `-reset-<unit>` as `6m0s` or `12ms` (OpenAI); of every rule that
    /// has this style and applies.
    PerUnit,
}

/// How many calls at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotsPlan {
    /// At most this many.
    pub capacity: u64,
    /// How long after its response a call still holds its slot.
    pub linger: Duration,
}

/// How a refusal is spelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefusalPlan {
    /// The status.
    pub status: u16,
    /// Whether, and how, it says when to come back.
    pub retry_after: RetryAfter,
    /// Of the refusals: without Retry-After all the same.
    pub omitted: PerMille,
    /// Whether the rule's headers come with it.
    pub readings: bool,
    /// What its body is.
    pub body: Body,
}

/// How a refusal says when to come back: when it would be accepted if nobody else called, in whole seconds, rounded up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryAfter {
    /// Not at all.
    Absent,
    /// `Retry-After: 17`.
    Seconds,
    /// `Retry-After: Sun, 22 Nov 2026 06:00:17 GMT`, on the upstream's clock.
    Date,
    /// `Retry-After: 0`, whatever it is.
    Zero,
}

/// The body of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// None.
    Empty,
    /// Autotask: `error.code`, and `error.retryAfter` where there is a Retry-After.
    ErrorCode,
    /// SalesTim: `rateLimitExceeded`.
    RateLimitExceeded,
    /// RFC 9457 with the draft's `#quota-exceeded`.
    Problem,
}

/// What is wrong with headers. At most one of the first four for each response, in this order of precedence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Noise {
    /// Of the responses: no readings.
    pub missing: PerMille,
    /// Of the responses: one value is garbage.
    pub garbled: PerMille,
    /// Of the responses: the reset lies in the past.
    pub past: PerMille,
    /// Of the responses: two lines of one header that disagree, or more remaining than there is.
    pub contradictory: PerMille,
    /// No `Date`.
    pub undated: PerMille,
    /// Every accepted call's response says `Retry-After`, as some middleware does.
    pub retry_after_always: bool,
    /// Readings are of a copy of the counters that is so old at most, as where a cache answers for them.
    pub lag: Duration,
}

/// A span in which calls are refused for a reason that no limit shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Secondary {
    /// From then.
    pub from: Duration,
    /// Until then.
    pub to: Duration,
    /// Of the calls in it.
    pub share: PerMille,
    /// Whether it says, by Retry-After, when it is over.
    pub says_when: bool,
}

/// What others use of the same token, of the first rule's unit. It is only taken where it fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Foreign {
    /// Nothing.
    None,
    /// Calls at random moments, independent of each other, so many thousandths of the first rule's capacity a window.
    Poisson(PerMille),
    /// The same, and who is refused comes again every second until it is accepted.
    Patient(PerMille),
    /// So many calls at once, at about such intervals (from a half to one and a half of it).
    Bursts {
        /// The mean interval.
        every: Duration,
        /// How many calls.
        size: u64,
    },
}

/// The capacity of a rule changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// When.
    pub at: Duration,
    /// Which rule.
    pub rule: String,
    /// To what, at least 1.
    pub capacity: u64,
}
