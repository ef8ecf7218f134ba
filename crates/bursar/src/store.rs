//! Opens the store that a configuration names.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use bursar_ledger::{Embedded, RedisHost, ScriptLedger, redis::Secret};
use bursar_quota::{Clock, Ledger};

use crate::{
    config::{self, Store},
    exit::Failure,
};

/// What the embedded store's keys begin with. Nobody else sees them.
const EMBEDDED_PREFIX: &str = "bursar:";

/// Opens the store; relative paths start from `folder`. Redis need not be reachable: until it is, what is asked of it is
/// answered so. Fails if files cannot be read or the configuration cannot be. Within a tokio runtime.
pub(crate) fn open(
    store: &Store,
    folder: &Path,
    clock: Arc<dyn Clock>,
    seed: u64,
) -> Result<Arc<dyn Ledger>, Failure> {
    match store {
        Store::Embedded => {
            let host = Embedded::new(Arc::clone(&clock)).map_err(|error| Failure::doing("store", error))?;
            Ok(Arc::new(ScriptLedger::new(host, EMBEDDED_PREFIX, clock)))
        }
        Store::Redis(redis) => {
            let mut config = redis.config.clone();
            let password = |key: &str, file: &Option<PathBuf>| {
                file.as_ref().map(|file| secret(key, &folder.join(file)).map(Secret::from)).transpose()
            };
            if let Some(text) = password("store.password_file", &redis.password_file)? {
                config.password = Some(text);
            }
            if let Some(text) = password("store.sentinel_password_file", &redis.sentinel_password_file)? {
                config.sentinel_password = Some(text);
            }
            let tls = &mut config.tls;
            for file in [&mut tls.ca_file, &mut tls.cert_file, &mut tls.key_file].into_iter().flatten() {
                *file = folder.join(&*file);
            }
            config.seed = seed;
            let prefix = config.prefix.clone();
            let host =
                RedisHost::connect(config).map_err(|error| Failure::Failed(format!("store.{error}")))?;
            let ledger = Arc::new(ScriptLedger::new(host, &prefix, clock));
            // It ends with the ledger.
            tokio::spawn(ScriptLedger::attest(Arc::downgrade(&ledger)));
            Ok(ledger)
        }
    }
}

/// Reads a secret from a file, less the white space around it; `key` is the setting that named the file.
pub(crate) fn secret(key: &str, file: &Path) -> Result<String, Failure> {
    let text = config::read_text(file)
        .map_err(|problem| Failure::Failed(format!("{key}: {} {problem}", file.display())))?;
    match text.trim() {
        "" => Err(Failure::Failed(format!("{key}: {} is empty", file.display()))),
        text => Ok(text.to_owned()),
    }
}
