//! What the ledger's tests share.

pub(crate) mod commands;
pub(crate) mod conversions;
pub(crate) mod expect;
