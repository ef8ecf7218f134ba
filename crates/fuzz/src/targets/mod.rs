//! The targets: a file a thing that is fuzzed.

pub(crate) mod address;
pub(crate) mod config;
pub(crate) mod declaration;
pub(crate) mod dialect;
pub(crate) mod moment;
pub(crate) mod name;
pub(crate) mod number;
pub(crate) mod permit;
pub(crate) mod profile;
pub(crate) mod request;
