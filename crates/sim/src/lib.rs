//! Upstreams that behave like the vendors, and fleets that call them.
//!
//! - [`model`]: the rules of real APIs, pure. Alone without the feature `http`.
//! - `upstream`: an HTTP server that plays a vendor by those models and keeps the true count.
//! - `fleet`: many workers that call an upstream, through Bursar or each with a retry handler of its own.
//! - `simulate`: the real lanes and the real scripts under virtual time, against the models; with the feature of that name.
//! - `demo`: both fleets against one upstream; `report`: the figures that compare them.

#[cfg(feature = "http")]
pub mod demo;
#[cfg(feature = "http")]
pub mod fleet;
pub mod model;
#[cfg(feature = "http")]
pub mod report;
#[cfg(feature = "simulate")]
pub mod simulate;
#[cfg(feature = "http")]
pub mod upstream;
