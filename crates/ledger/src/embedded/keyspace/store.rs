//! The keys, when they expire, and how much they weigh.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use super::{
    command::{CommandError, OUT_OF_MEMORY},
    outbox::Outbox,
};

/// What a key, a field or a member costs beyond its bytes; an estimate.
const OVERHEAD: usize = 64;
/// Expired keys that every run drops at least, if there are so many.
const SWEEP_PER_RUN: usize = 16;

/// What a key holds.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Text(Vec<u8>),
    Hash(BTreeMap<Vec<u8>, Vec<u8>>),
    Set(BTreeSet<Vec<u8>>),
    /// By member: scripts rely on the order of members of one score alone.
    Sorted(BTreeMap<Vec<u8>, f64>),
}

#[derive(Debug, Clone)]
struct Entry {
    value: Value,
    /// Unix milliseconds after which the key is gone.
    expires: Option<u64>,
}

/// Keys and what they hold, as they were at one moment.
#[derive(Debug, Clone, Default)]
pub struct KeyspaceCopy {
    entries: HashMap<Vec<u8>, Entry>,
}

/// All keys of one VM. Bounded: beyond `bytes_max` a script that has written nothing yet may not write more.
#[derive(Debug)]
pub(crate) struct Keyspace {
    entries: HashMap<Vec<u8>, Entry>,
    /// Every key that expires, by its moment. Invariant: holds (e, k) just if `entries[k].expires` is e.
    expiries: BTreeSet<(u64, Vec<u8>)>,
    /// Sorted names that the current run has declared.
    declared: Vec<Vec<u8>>,
    /// The current run's time, frozen.
    now: Duration,
    bytes: usize,
    bytes_max: usize,
    /// Whether the current run began above `bytes_max`.
    full: bool,
    /// Whether the current run has written.
    dirty: bool,
    /// Keys to sweep in the next run: as many as expiries were set, so that sweeping keeps up with any script.
    sweep: usize,
    /// Commands that the current run has done.
    pub(super) commands: u64,
    pub(super) outbox: Outbox,
}

impl Keyspace {
    /// An empty keyspace that takes about `bytes_max` of memory.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            entries: HashMap::new(),
            expiries: BTreeSet::new(),
            declared: Vec::new(),
            now: Duration::ZERO,
            bytes: 0,
            bytes_max,
            full: false,
            dirty: false,
            sweep: SWEEP_PER_RUN,
            commands: 0,
            outbox: Outbox::default(),
        }
    }

    /// Begins a run at `now` since the Unix epoch that may touch `keys` alone.
    pub(crate) fn begin(&mut self, now: Duration, keys: &[Vec<u8>]) {
        self.now = now;
        self.declared.clear();
        self.declared.extend_from_slice(keys);
        self.declared.sort_unstable();
        self.sweep();
        self.full = self.bytes > self.bytes_max;
        self.dirty = false;
        self.commands = 0;
    }

    /// Payloads published since the last call, with their channels, in order.
    pub(crate) fn take_published(&mut self) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.outbox.take()
    }

    /// How many keys there are, expired ones that were not swept yet included.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// An estimate of the memory that the keys take.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Commands that the last run did, those that failed included.
    pub(crate) fn commands(&self) -> u64 {
        self.commands
    }

    /// What there is, of all keys or of `keys` alone.
    pub(crate) fn copy(&self, keys: Option<&[Vec<u8>]>) -> KeyspaceCopy {
        let entries = match keys {
            None => self.entries.clone(),
            Some(keys) => {
                let entry = |key: &Vec<u8>| Some((key.clone(), self.entries.get(key)?.clone()));
                keys.iter().filter_map(entry).collect()
            }
        };
        KeyspaceCopy { entries }
    }

    /// Holds what `copy` holds and nothing else. What was published and not taken stays.
    pub(crate) fn restore(&mut self, copy: &KeyspaceCopy) {
        self.entries.clone_from(&copy.entries);
        let expiry = |(key, entry): (&Vec<u8>, &Entry)| Some((entry.expires?, key.clone()));
        self.expiries = self.entries.iter().filter_map(expiry).collect();
        self.bytes = self.entries.iter().map(|(key, entry)| weight(key) + entry.value.weight()).sum();
        self.sweep = SWEEP_PER_RUN;
    }

    /// The run's time.
    pub(super) fn now(&self) -> Duration {
        self.now
    }

    /// The run's time in whole milliseconds.
    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from(self.now.as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether the current run may touch `key`.
    pub(super) fn is_declared(&self, key: &[u8]) -> bool {
        self.declared.binary_search_by(|known| known.as_slice().cmp(key)).is_ok()
    }

    /// Says that a write follows, one that takes memory if `grows`.
    pub(super) fn begin_write(&mut self, grows: bool) -> Result<(), CommandError> {
        // A run that has begun to write is let through: half its writes would be worse than some memory.
        if grows && self.full && !self.dirty {
            return Err(CommandError::new(
                OUT_OF_MEMORY,
                "command not allowed when used memory > 'maxmemory'.",
            ));
        }
        self.dirty = true;
        Ok(())
    }

    /// What `key` holds, unless it has expired.
    pub(super) fn peek(&self, key: &[u8]) -> Option<&Value> {
        let entry = self.entries.get(key)?;
        (!self.is_over(entry.expires)).then_some(&entry.value)
    }

    /// What `key` holds, to be changed. What was expired is dropped first.
    pub(super) fn peek_mut(&mut self, key: &[u8]) -> Option<&mut Value> {
        self.drop_expired(key);
        self.entries.get_mut(key).map(|entry| &mut entry.value)
    }

    /// What `key` holds, made by `empty` where there is nothing.
    pub(super) fn entry(&mut self, key: &[u8], empty: fn() -> Value) -> &mut Value {
        self.drop_expired(key);
        if !self.entries.contains_key(key) {
            self.bytes += weight(key);
        }
        &mut self.entries.entry(key.to_vec()).or_insert_with(|| Entry { value: empty(), expires: None }).value
    }

    /// Replaces whatever `key` holds, its expiry too.
    pub(super) fn replace(&mut self, key: &[u8], value: Value) {
        self.remove(key);
        self.bytes += weight(key) + value.weight();
        self.entries.insert(key.to_vec(), Entry { value, expires: None });
    }

    /// Removes `key`; whether there was one that had not expired.
    pub(super) fn remove(&mut self, key: &[u8]) -> bool {
        let Some((name, entry)) = self.entries.remove_entry(key) else { return false };
        self.bytes = self.bytes.saturating_sub(weight(key) + entry.value.weight());
        if let Some(expires) = entry.expires {
            self.expiries.remove(&(expires, name));
        }
        !self.is_over(entry.expires)
    }

    /// Removes `key` if it holds an empty hash or set: no such thing exists.
    pub(super) fn remove_if_empty(&mut self, key: &[u8]) {
        if self.entries.get(key).is_some_and(|entry| entry.value.is_empty()) {
            self.remove(key);
        }
    }

    /// When `key` expires, in Unix milliseconds: outer `None` if there is no key, inner if it stays.
    pub(super) fn expiry(&self, key: &[u8]) -> Option<Option<u64>> {
        let entry = self.entries.get(key)?;
        (!self.is_over(entry.expires)).then_some(entry.expires)
    }

    /// Lets `key` expire after `at`, in Unix milliseconds; whether there is such a key.
    pub(super) fn set_expiry(&mut self, key: &[u8], at: u64) -> bool {
        self.drop_expired(key);
        let Some(entry) = self.entries.get_mut(key) else { return false };
        if let Some(old) = entry.expires.replace(at) {
            self.expiries.remove(&(old, key.to_vec()));
        }
        self.expiries.insert((at, key.to_vec()));
        self.sweep = self.sweep.saturating_add(1);
        true
    }

    /// Counts memory that a value took or gave back.
    pub(super) fn weigh(&mut self, taken: usize, given_back: usize) {
        self.bytes = (self.bytes + taken).saturating_sub(given_back);
    }

    /// As Redis: a key is there in the very millisecond in which it expires, and gone after it.
    fn is_over(&self, expires: Option<u64>) -> bool {
        expires.is_some_and(|at| self.now_ms() > at)
    }

    fn drop_expired(&mut self, key: &[u8]) {
        if self.entries.get(key).is_some_and(|entry| self.is_over(entry.expires)) {
            self.remove(key);
        }
    }

    fn sweep(&mut self) {
        for _ in 0..std::mem::replace(&mut self.sweep, SWEEP_PER_RUN) {
            match self.expiries.first() {
                Some((at, key)) if self.is_over(Some(*at)) => {
                    let key = key.clone();
                    self.remove(&key);
                }
                _ => break,
            }
        }
    }
}

impl Value {
    fn is_empty(&self) -> bool {
        match self {
            Self::Text(_) => false,
            Self::Hash(fields) => fields.is_empty(),
            Self::Set(members) => members.is_empty(),
            Self::Sorted(members) => members.is_empty(),
        }
    }

    fn weight(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Hash(fields) => fields.iter().map(|(name, value)| weight(name) + value.len()).sum(),
            Self::Set(members) => members.iter().map(|name| weight(name)).sum(),
            Self::Sorted(members) => members.keys().map(|name| weight(name)).sum(),
        }
    }
}

/// What a name costs: a key, a field, a member.
pub(super) fn weight(name: &[u8]) -> usize {
    name.len() + OVERHEAD
}
