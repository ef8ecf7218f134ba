//! What tells this process from the other replicas.

use bursar_quota::ReplicaName;
use rand::{TryRngCore as _, rngs::OsRng};

use crate::exit::Failure;

/// 64 bits that nobody can guess.
pub(crate) fn entropy() -> Result<u64, Failure> {
    OsRng.try_next_u64().map_err(|error| Failure::doing("asking the system for random bits", error))
}

/// A name that no other replica has.
pub(crate) fn replica() -> Result<ReplicaName, Failure> {
    ReplicaName::new(&format!("r-{:016x}", entropy()?)).map_err(Failure::of)
}
