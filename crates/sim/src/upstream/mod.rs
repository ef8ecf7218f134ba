//! A real HTTP server that behaves as a vendor does, and keeps the true count.
//!
//! Every path but `GET /__truth` is an API call. It is accepted or refused at the moment it arrives, by the models of
//! [`crate::model`], which owe nothing to Bursar's own accounting; an accepted one then takes its time.
//!
//! | | |
//! | --- | --- |
//! | token | the `Authorization` header; else `ApiIntegrationCode`; else all calls are one token's. Each token has an account of its own; windows have the same phase for all |
//! | Autotask | every call counts on `requests` (600 a minute) and takes one of 3 slots, freed 50 ms after its response; a call on an authentication endpoint counts on `auth` (10 a minute) as well. A path is such an endpoint if it starts with `/auth`, or contains `authenticat` or `zoneinformation` in any case |
//! | SalesTim | GET and HEAD count on `reads`, everything else on `writes`: 6 in 15 minutes each (Tier 1; other tiers: override the capacity). Both are rolling logs in which refused calls count, so a retry that comes too early prolongs the throttle |
//! | readings | of the first limit that applies; a refusal tells of the limit that refused, and one for concurrency of the first that applies, with what remains there. They are made when the call is counted |
//! | Retry-After | when the limit that refused has room if nobody else calls; for concurrency, where no slot is known to be freed, 1 s |
//! | order | limits in their order, then concurrency. A refused call takes no slot, and is answered at once |
//! | scale | times of the vendor are divided by it. Where the vendor sends whole seconds, rounded up, it sends milliseconds as 3 decimals; `Date` has whole seconds always |

mod budget;
mod config;
mod foreign;
mod headers;
mod meter;
mod server;
mod state;
#[cfg(test)]
mod tests;
mod truth;
mod vendor;

pub use config::{ConfigError, UpstreamConfig, VendorProfile, WindowKind};
pub use server::{ServeError, Upstream, serve};
pub use truth::{ClassTruth, LimitTruth, MAX_WINDOWS, TokenTruth, Truth, WindowTruth};

/// How the truth calls the token that a call sends as its `Authorization` header (or `ApiIntegrationCode`): a hash, so
/// that a real token is not shown.
pub fn token_label(token: &str) -> String {
    state::label(state::key_of(token.as_bytes()))
}
