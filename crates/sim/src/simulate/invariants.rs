//! What must hold, by name.
//!
//! | name | what must hold | when it is looked at | where it is not claimed |
//! | --- | --- | --- | --- |
//! | `no_refusal` | the upstream refuses no live permit: none that arrives within the time it may be sent; at most as many as the scenario allows | every call that arrives | refusals for reasons that no limit shows, for which the scenario has a bound of its own; a refusal for concurrency while a call outlasts its permit |
//! | `few_epochs` | at most so many congestion epochs as the scenario allows; and while everything is refused for a reason that no limit shows no more probes than its back-off has | every settled refusal; every call that arrives | other refusals for such reasons; the probes: with every sort of fault |
//! | `never_above` | were all that is available granted at once, and were it to arrive with all that may still come, the upstream would accept it | at twelve moments of every window, whatever is under way | as at rest, below; nothing is known yet of the limit; units of which a permit does not tell what its call will have cost |
//! | `at_rest_not_above` | at rest no limit has more available than the truth | at rest, at several moments over two windows | scenarios that do not promise it; others use the token; the capacity changed, or the store's clock stepped or drifted, in the last windows; the rule is of another sort than declared; a lost store is being recovered |
//! | `at_rest_exact` | and exactly the truth, in aligned limits | as above | as above; scenarios that do not promise it; in the last two windows somebody died, or some response told nothing of the limit; an end that the account does not know; responses slower than a quarter of the window |
//! | `slots_within` | no more permits are held than may be at once | every grant, every commit | what workers hold: while a lost store is being recovered; permits granted before a loss, where a replica lost its memory as well |
//! | `slots_return` | every slot comes back | at the end, when every deadline has passed | never |
//! | `charges_equal` | what the budget was charged is what the upstream counted, and what might have been sent and was not; nothing is given back that was sent | every settlement that gives back; the sums at the end | the sums: scenarios that do not promise it; where the store lost something |
//! | `no_grant_in_pause` | once a refusal with Retry-After is settled, nothing of its class is granted until then | every commit | after the store's clock stepped or drifted, or the store lost something |
//! | `one_event_counts_once` | refusals of permits granted before a pause began move its end no further than they say themselves; back-off doubles once an epoch | every settled refusal | where the store lost something |
//! | `refusal_exact` | who is refused with a time is granted then if nothing else happens, and not a millisecond before | some of the refusals, tried out on a copy of the store | adaptive limits; a shared part (reservations, caps); after the store's clock stepped or drifted; a refusal that others behind it were granted past; up to a second too late where something may be left to others who contend |
//! | `bounded_wait` | nobody who waits in a queue (is willing to wait as long as the bound) waits longer than the scenario's bound; of those who give up before and ask again, somebody is served within it; counted from the moment at which all faults were healed | every grant, the end of the load, after which who still waits is to be served within it | scenarios without a bound |
//! | `bounded_work` | the commands and instructions of a commit are bounded by what it was asked, and the commits of which nothing comes by what happens | every commit | never |
//! | `bounded_memory` | the store's keys and bytes are bounded by the leases that may still be asked for; a lane tells of no more waiters than there are workers | every commit | never |
//! | `utilisation` | at least so much is accepted of what the upstream would have accepted | at the end | scenarios that do not promise it, fewer than 50 workers (in `chaos` 12) or 5 windows |
//! | `scripts_answer` | a script answers as its callers read it, or refuses by a name that they know | every script that runs | never |
//! | `fair` | Jain's index over equal tenants is at least so much | at the end | scenarios that do not promise it, tenants with unequally many workers |

use std::{fmt, time::Duration};

use serde::Serialize;

/// What must hold; the module says when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the module's table says what each means")]
pub enum Invariant {
    NoRefusal,
    FewEpochs,
    NeverAbove,
    AtRestNotAbove,
    AtRestExact,
    SlotsWithin,
    SlotsReturn,
    ChargesEqual,
    NoGrantInPause,
    OneEventCountsOnce,
    RefusalExact,
    BoundedWait,
    BoundedWork,
    BoundedMemory,
    ScriptsAnswer,
    Utilisation,
    Fair,
}

impl Invariant {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::NoRefusal,
        Self::FewEpochs,
        Self::NeverAbove,
        Self::AtRestNotAbove,
        Self::AtRestExact,
        Self::SlotsWithin,
        Self::SlotsReturn,
        Self::ChargesEqual,
        Self::NoGrantInPause,
        Self::OneEventCountsOnce,
        Self::RefusalExact,
        Self::BoundedWait,
        Self::BoundedWork,
        Self::BoundedMemory,
        Self::ScriptsAnswer,
        Self::Utilisation,
        Self::Fair,
    ];

    /// Its name in snake case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoRefusal => "no_refusal",
            Self::FewEpochs => "few_epochs",
            Self::NeverAbove => "never_above",
            Self::AtRestNotAbove => "at_rest_not_above",
            Self::AtRestExact => "at_rest_exact",
            Self::SlotsWithin => "slots_within",
            Self::SlotsReturn => "slots_return",
            Self::ChargesEqual => "charges_equal",
            Self::NoGrantInPause => "no_grant_in_pause",
            Self::OneEventCountsOnce => "one_event_counts_once",
            Self::RefusalExact => "refusal_exact",
            Self::BoundedWait => "bounded_wait",
            Self::BoundedWork => "bounded_work",
            Self::BoundedMemory => "bounded_memory",
            Self::ScriptsAnswer => "scripts_answer",
            Self::Utilisation => "utilisation",
            Self::Fair => "fair",
        }
    }
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One that did not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// When it was seen, milliseconds since the start.
    pub at_ms: u64,
    /// What was seen.
    pub text: String,
}

/// Violations of one run, the first ones: what follows a violation is often but its consequence.
#[derive(Debug, Default)]
pub(crate) struct Violations {
    found: Vec<Violation>,
}

/// The most violations that a run tells, in all and of each invariant.
const TOLD: (usize, usize) = (20, 4);

impl Violations {
    pub(crate) fn add(&mut self, now: Duration, invariant: Invariant, text: String) {
        let of_it = self.found.iter().filter(|found| found.invariant == invariant).count();
        if self.found.len() < TOLD.0 && of_it < TOLD.1 {
            let at_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
            self.found.push(Violation { invariant, at_ms, text });
        }
    }

    pub(crate) fn told(&self) -> &[Violation] {
        &self.found
    }
}
