//! How much a permit costs: load from this process, servers in others, and the floor beside every figure.
//!
//! A figure alone says more of the machine than of the program. So each is taken beside a *floor*, in the same minute: a
//! server that answers the same messages at once and decides nothing ([`echo`]). What is told of a run is its ratio.
//!
//! - **Closed loop**: each caller's next call begins when its last has ended: the most that so many callers get.
//! - **Open loop** ([`Load::rate`]): calls are due at moments fixed beforehand, and the latency of each counts from when it
//!   was due, whether or not a caller was free. So a stall is seen by all calls that it held up (no coordinated omission).
//!
//! `measure` makes one [`Row`]; [`suite`] puts rows beside their floors, [`cluster`] those of a cluster beside one server's;
//! [`idle`] weighs memory, [`soak`] over time; [`wake`] tells how soon one replica acts on what another was told.

mod call;
pub mod chart;
mod child;
pub mod cluster;
mod drive;
pub mod echo;
mod error;
pub mod idle;
mod load;
mod measure;
mod probe;
mod recorder;
mod row;
pub mod script;
pub mod soak;
mod stage;
pub mod suite;
pub mod wake;

pub use error::BenchError;
pub use load::{Load, MAX_BUDGETS, MAX_CALLERS, MAX_CONNECTIONS, MAX_RATE, MAX_SPAN};
pub use measure::{Bench, Kind};
pub use row::{Row, median, table};
pub use stage::{Programs, Stage, Store, Target};
