//! The network side of Bursar: what `proto/bursar/v1` promises, over a [`Coordinator`](bursar_coordinator::Coordinator).
//!
//! A call is validated at the door (`convert`), asked of the coordinator (`desk`), and answered; its failure becomes
//! a gRPC error in one function (`failure`). Beside the services stand health, reflection, and an admin port with
//! metrics.
//!
//! Architecture invariant: nothing is decided here. This room knows neither the store nor the time of day.

mod admin;
mod auth;
mod budgets;
mod convert;
mod deadline;
mod desk;
mod failure;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod invalid;
mod listen;
mod metrics;
mod options;
mod permits;
mod readiness;
mod serve;
mod session;

pub use auth::{BudgetPattern, PatternError, Role, Token};
pub use listen::Accept;
pub use options::{Options, Tls};
pub use serve::{ServeError, serve};
