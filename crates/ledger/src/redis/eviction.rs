//! Whether the server may evict what it was told, and behind sentinels whether it may be told what its successor never
//! hears: looked at when it can first be asked, and each minute, for servers are configured anew and replaced.

use std::{sync::Arc, time::Duration};

use bursar_quota::Eviction;
use redis::Value;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::sleep,
};

use crate::HostError;

use super::{
    driver::{Job, Work},
    jitter::Jitter,
};

/// How long a look is good for.
const LOOK: Duration = Duration::from_secs(60);
/// The least and the longest rest between two attempts to look.
pub(super) const REST: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// The deepest nesting that a reply of many nodes has.
const MAX_DEPTH: usize = 4;

/// Looks through one driver.
pub(super) struct Inspector {
    pub(super) driver: mpsc::Sender<Job>,
    pub(super) jitter: Arc<Jitter>,
    pub(super) into: watch::Sender<Eviction>,
    /// Whether the master stops writes once its replicas have left it; only asked where sentinels may promote another.
    pub(super) fenced: Option<watch::Sender<Option<bool>>>,
}

impl Inspector {
    /// Looks, tells what is new, and looks again, for ever.
    pub(super) async fn run(self) {
        let mut failures = 0;
        loop {
            match self.look().await {
                Some(seen) => {
                    failures = 0;
                    self.tell(seen);
                    if let (Some(fenced), Some(seen)) = (&self.fenced, self.is_fenced().await)
                        && fenced.send_replace(Some(seen)) != Some(seen)
                        && !seen
                    {
                        tracing::warn!("{UNFENCED}");
                    }
                    sleep(LOOK).await;
                }
                // It cannot be reached, which others say.
                None => {
                    failures += 1;
                    sleep(self.jitter.backoff(failures)).await;
                }
            }
        }
    }

    fn tell(&self, seen: Eviction) {
        if *self.into.borrow() == seen {
            return;
        }
        match &seen {
            Eviction::May { .. } => tracing::warn!("{seen}"),
            Eviction::Unseen { .. } => tracing::warn!("{seen}"),
            Eviction::Never | Eviction::Unknown => tracing::debug!("{seen}"),
        }
        self.into.send_replace(seen);
    }

    /// Said by more servers than answer CONFIG, which many providers forbid; of a cluster, by each master.
    async fn info(&self, section: &str) -> Option<Result<Value, HostError>> {
        let mut command = redis::cmd("INFO");
        command.arg(section);
        let (answer, answered) = oneshot::channel();
        self.driver.send(Job::new(Work::Command(command), answer)).await.ok()?;
        answered.await.ok()
    }

    async fn look(&self) -> Option<Eviction> {
        match self.info("memory").await? {
            Ok(value) => Some(match judge(&value) {
                Eviction::May { policy, .. } => Eviction::May { policy, evicted: self.evicted().await },
                seen => seen,
            }),
            Err(HostError::Script { code, message }) => {
                Some(Eviction::Unseen { cause: format!("{code} {message}") })
            }
            Err(HostError::Unavailable { cause, .. }) => {
                cause.starts_with("NOPERM").then_some(Eviction::Unseen { cause })
            }
        }
    }

    /// How many keys its servers have evicted since they started, as far as they say.
    async fn evicted(&self) -> u64 {
        let Some(Ok(stats)) = self.info("stats").await else { return 0 };
        let mut counts = Vec::new();
        collect(&stats, MAX_DEPTH, evicted, &mut counts);
        counts.into_iter().fold(0, u64::saturating_add)
    }

    /// `None`: it does not say.
    async fn is_fenced(&self) -> Option<bool> {
        match self.info("replication").await?.ok()? {
            Value::BulkString(text) => is_fenced(&String::from_utf8_lossy(&text)),
            Value::VerbatimString { text, .. } => is_fenced(&text),
            _ => None,
        }
    }
}

/// What a master says that goes on alone.
const UNFENCED: &str = "the master takes writes when no replica follows it (min-replicas-to-write is 0): what it grants \
                        while another is promoted, that one does not know of; set min-replicas-to-write to 1 at both";

/// A server counts its good replicas where it demands some, and only there.
fn is_fenced(info: &str) -> Option<bool> {
    let is_master = info.lines().any(|line| line.trim() == "role:master");
    is_master.then(|| info.lines().any(|line| line.starts_with("min_slaves_good_slaves:")))
}

/// What servers that answered so may do: the first policy that evicts, or none.
fn judge(reply: &Value) -> Eviction {
    let mut policies = Vec::new();
    collect(reply, MAX_DEPTH, policy, &mut policies);
    match policies.iter().find(|policy| *policy != "noeviction") {
        Some(policy) => Eviction::May { policy: policy.clone(), evicted: 0 },
        None if policies.is_empty() => {
            Eviction::Unseen { cause: "INFO memory names no maxmemory_policy".to_owned() }
        }
        None => Eviction::Never,
    }
}

/// What each server's answer says, by `read`.
fn collect<T>(reply: &Value, depth: usize, read: fn(&str) -> Option<T>, into: &mut Vec<T>) {
    if depth == 0 {
        return;
    }
    let mut each = |value: &Value| collect(value, depth - 1, read, into);
    match reply {
        Value::Array(values) => values.iter().for_each(each),
        Value::Map(pairs) => pairs.iter().for_each(|(_, value)| each(value)),
        Value::BulkString(text) => into.extend(read(&String::from_utf8_lossy(text))),
        Value::VerbatimString { text, .. } => into.extend(read(text)),
        _ => {}
    }
}

fn evicted(info: &str) -> Option<u64> {
    info.lines().find_map(|line| line.strip_prefix("evicted_keys:"))?.trim().parse().ok()
}

fn policy(info: &str) -> Option<String> {
    let policy = info.lines().find_map(|line| line.strip_prefix("maxmemory_policy:"))?.trim();
    let known =
        (1..=32).contains(&policy.len()) && policy.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
    known.then(|| policy.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_master_that_demands_replicas_counts_them() {
        assert_eq!(is_fenced("# Replication\r\nrole:master\r\nconnected_slaves:1\r\n"), Some(false));
        assert_eq!(is_fenced("role:master\r\nmin_slaves_good_slaves:0\r\n"), Some(true));
        assert_eq!(is_fenced("role:slave\r\n"), None);
    }

    fn info(policy: &str) -> Value {
        let text = format!("# Memory\r\nmaxmemory:0\r\nmaxmemory_policy:{policy}\r\nallocator_active:1\r\n");
        Value::BulkString(text.into_bytes())
    }

    #[test]
    fn one_node_that_may_evict_is_enough() {
        let of = |policies: &[&str]| {
            let node = |policy: &&str| (Value::BulkString(b"127.0.0.1:1".to_vec()), info(policy));
            judge(&Value::Map(policies.iter().map(node).collect()))
        };
        assert_eq!(of(&["noeviction", "noeviction"]), Eviction::Never);
        assert_eq!(
            of(&["noeviction", "volatile-ttl"]),
            Eviction::May { policy: "volatile-ttl".into(), evicted: 0 }
        );
        assert_eq!(judge(&info("allkeys-lru")), Eviction::May { policy: "allkeys-lru".into(), evicted: 0 });
        assert_eq!(judge(&info("noeviction")), Eviction::Never);
    }

    #[test]
    fn what_was_evicted_is_the_sum_of_what_all_say() {
        assert_eq!(evicted("# Stats\r\nevicted_keys:12\r\nevicted_clients:3\r\n"), Some(12));
        for text in ["", "evicted_keys:", "evicted_keys:-1", "evicted_clients:3"] {
            assert_eq!(evicted(text), None, "{text}");
        }
    }

    #[test]
    fn what_names_no_policy_is_not_seen() {
        for reply in
            [Value::Nil, Value::BulkString(Vec::new()), info(""), info("A\tb"), Value::Map(Vec::new())]
        {
            assert!(matches!(judge(&reply), Eviction::Unseen { .. }), "{reply:?}");
        }
    }
}
