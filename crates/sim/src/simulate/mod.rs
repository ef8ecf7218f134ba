//! The real lanes and the real scripts under virtual time, against upstreams that alone know the truth.
//!
//! One simulation is one thread: replicas are real coordinators over the production scripts, on a runtime whose clock
//! stands still until nobody has anything to do; then it steps to the next moment at which somebody has. Workers, messages,
//! faults and upstreams are made up, each from dice of its own, so that a scenario and a seed tell the whole history.
//! An observer holds what the scripts answer against what the upstreams accept: see [`invariants`].
//!
//! | module | what |
//! | --- | --- |
//! | [`plan`], [`scenario`] | what a world is made of, as data; the worlds there are |
//! | [`upstream`] | who alone knows the truth |
//! | `store`, `link` | the scripts' machine; a replica's way to it |
//! | `replica`, `worker`, `settlement`, `faults` | who acts |
//! | `book`, `exact`, [`invariants`] | who watches, and what must hold |
//! | [`run`](run()), [`seeds`](seeds()), `report` | one history, many histories, and their figures |
//!
//! Architecture Invariant: no actor reads a clock but the virtual one, draws from dice but its own, or iterates over
//! something whose order is not the same every time.

mod book;
mod clock;
mod dice;
mod exact;
mod faults;
pub mod invariants;
mod link;
mod log;
#[cfg(test)]
mod mutant_tests;
mod placement;
pub mod plan;
mod replica;
mod report;
mod run;
pub mod scenario;
mod seeds;
mod settlement;
mod store;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod told_tests;
pub mod upstream;
mod worker;
mod world;

pub use log::Keep;
pub use report::Report;
pub use run::{Outcome, SimulateError, run};
pub use seeds::{Seeds, SeedsOutcome, seeds};
