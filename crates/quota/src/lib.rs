//! The domain of Bursar, pure: no task, no socket, no clock of its own.
//!
//! A [`BudgetSpec`] says what an upstream allows. A [`Ledger`] decides what may be granted and remembers what
//! was. Everything that crosses from one room to another is one of the types here, validated once, at the door.

mod budget;
mod clock;
mod commit;
mod duration;
mod event;
mod ledger;
mod limit;
mod name;
mod permit;
mod ration;
mod reading;
mod refusal;
mod snapshot;
mod tier;

pub use budget::{Backoff, BudgetSpec, MAX_LIMITS, SpecError};
pub use clock::{Clock, ManualClock, SystemClock};
pub use commit::{
    AcquireGroup, Commit, CommitReply, Contender, Decision, LimitReading, MAX_CONTENDERS, MAX_LOOKS,
    PauseOrder, Place, RenewGroup, Renewal, RequestTag, Requests, Scope, SettleGroup, SettleKind, Settled,
};
pub use duration::{duration_text, opt_duration_text};
pub use event::{EventKind, LedgerEvent};
pub use ledger::{BoxFuture, BoxStream, Eviction, Ledger, LedgerError, Put, StoreCalls, Stored, Trouble};
pub use limit::{Cap, CountedAt, LimitKind, LimitSpec, MAX_CAPACITY, MAX_SHARES, Party, Reservation};
pub use name::{BudgetName, ClassName, LimitName, NameError, ProfileName, ReplicaName, TenantName, UnitName};
pub use permit::{LeaseId, MAX_LEASE_PERMITS, PermitId, PermitIdError, class_tag};
pub use ration::{OnStoreLoss, Ration};
pub use reading::{Hit, LimitSelector, Observation, Reading, ResponseView, Span, Verdict};
pub use refusal::{Reason, Refusal};
pub use snapshot::{BudgetSnapshot, LimitSnapshot, PauseSnapshot, Usage};
pub use tier::Tier;
