//! The Rust SDK of Bursar: acquire, a [`Permit`], settle.
//!
//! ```no_run
//! # async fn call() -> http::Response<()> { http::Response::new(()) }
//! use bursar_client::{AcquireOptions, Client, ClientConfig};
//!
//! # async fn worker() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::connect(ClientConfig::new("http://127.0.0.1:7411")).await?;
//! let permit = client.acquire(AcquireOptions::new("autotask")).await?;
//! let response = call().await; // the upstream, at once: see `Permit::send_within`
//! permit.settle_response(&response).await?;
//! # Ok(())
//! # }
//! ```
//!
//! - [`Client`] makes each request a call of its own; a [`Session`] carries those of many tasks over one stream.
//! - A refusal ([`AcquireError::Refused`]) is an answer: it names what binds and when to come back.
//! - Broken connections are opened again, with jittered back-off; what is tried again carries the same request id, and
//!   is granted once.
//! - A name with several addresses is several replicas, as a list of them is; it is followed as it changes.
//! - **Balancing is between clients, not within one.** Each client begins with a random replica, so that many clients spread
//!   evenly, and keeps to it: what a client asks at once then arrives together, and Bursar folds it into few calls of the
//!   store. It leaves a replica that fails, does not answer, is draining, or is no longer among the addresses. A process that
//!   alone is too much for one replica makes several clients, and gives each a part of its workers.
//! - [`Permit::settle_and_acquire`] makes a steady worker's settlement and next acquire one call.

mod acquire;
mod alone;
mod budgets;
mod client;
mod config;
mod core;
mod endpoints;
mod error;
mod link;
mod options;
mod outcome;
mod permit;
mod resolver;
mod retry;
mod session;
mod ticket;
mod tls;

pub use budgets::{BudgetsClient, Declared, Watch, Watched};
pub use bursar_quota::{Reason, Settled, Tier};
pub use client::Client;
pub use config::{ClientConfig, ConfigError, MAX_ENDPOINTS, RetryConfig, Token};
pub use error::{AcquireError, CallError, ConnectError, Refusal};
pub use options::AcquireOptions;
pub use outcome::{MAX_BODY_BYTES, MAX_HEADER_BYTES, MAX_HEADER_LINES, Outcome, Settlement};
pub use permit::{Next, Permit};
pub use resolver::{Resolver, Resolving, SystemResolver};
pub use session::Session;
pub use tls::TlsConfig;
