//! An engine whose scripts see the time that the test says, and nothing of its own.
//!
//! Two engines can only be compared to the millisecond if both have the same time: so a script is changed before it is
//! sent. Where it reads TIME, it gets what the test hands over; where it lets a key expire, or deletes one, it tells so, and
//! the test lets keys expire when their time has come. That keys expire by themselves is another test's business.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Mutex, MutexGuard},
};

use bursar_ledger::{HostError, Reply, Script, ScriptCall, ScriptHost};
use bursar_quota::{BoxFuture, BoxStream, Clock as _, ManualClock};

const HEAD: &str = "\
local told__ = {}
local micros__, seconds__ = table.remove(ARGV), table.remove(ARGV)
local function expire__(key, ms)
  told__[#told__ + 1] = key
  told__[#told__ + 1] = ms
  return 1
end
local function delete__(...)
  for i = 1, select('#', ...) do
    expire__(select(i, ...), '-')
  end
  return redis.call('DEL', ...)
end
local function set__(key, text, ms)
  expire__(key, ms)
  return redis.call('SET', key, text)
end
local function main__()
";

const TAIL: &str = "
end
local reply__ = main__()
if type(reply__) == 'table' and (reply__.err or reply__.ok) then
  return reply__
end
return { reply__ or false, told__ }
";

/// What is replaced, and by what.
const CHANGES: [(&str, &str); 5] = [
    ("redis.call('SET', lease_key, text_of(l), 'PX', ", "set__(lease_key, text_of(l), "),
    // No key has a time of its own here.
    (", 'KEEPTTL')", ")"),
    ("redis.call('TIME')", "{ seconds__, micros__ }"),
    ("redis.call('PEXPIRE', ", "expire__("),
    ("redis.call('DEL', ", "delete__("),
];

/// Words that would read the time, or set one, in another way.
const LEFT_OVER: [&str; 6] = ["'TIME'", "EXPIRE", "TTL'", "'PX'", "'EX'", "PERSIST"];

fn frozen(script: &'static Script) -> Script {
    let mut source = script.source.clone();
    for (from, to) in CHANGES {
        source = source.replace(from, to);
    }
    let code = source.lines().map(|line| line.split("--").next().unwrap_or_default());
    for line in code {
        assert!(!LEFT_OVER.iter().any(|word| line.contains(word)), "{}: {line}", script.name);
    }
    Script::from_source(script.name, format!("{HEAD}{source}{TAIL}"))
}

/// Changed scripts, by the digest of what they were. They are kept for good, as all scripts are.
fn changed(script: &'static Script) -> &'static Script {
    static CHANGED: Mutex<BTreeMap<String, &'static Script>> = Mutex::new(BTreeMap::new());
    let mut changed = CHANGED.lock().unwrap();
    changed.entry(script.sha1.clone()).or_insert_with(|| Box::leak(Box::new(frozen(script))))
}

/// Deletes all its keys.
fn drop_keys() -> &'static Script {
    static DROP: std::sync::OnceLock<Script> = std::sync::OnceLock::new();
    DROP.get_or_init(|| {
        Script::from_source("drop", "for i = 1, #KEYS do redis.call('DEL', KEYS[i]) end return 1".to_owned())
    })
}

/// The engine below, in the time of `clock`.
pub(crate) struct Frozen {
    inner: Box<dyn ScriptHost>,
    clock: ManualClock,
    /// Unix milliseconds after which keys are gone.
    deadlines: Mutex<HashMap<Vec<u8>, u64>>,
}

impl fmt::Debug for Frozen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frozen").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl Frozen {
    pub(crate) fn new(inner: impl ScriptHost, clock: ManualClock) -> Self {
        Self { inner: Box::new(inner), clock, deadlines: Mutex::default() }
    }

    fn deadlines(&self) -> MutexGuard<'_, HashMap<Vec<u8>, u64>> {
        self.deadlines.lock().unwrap()
    }

    /// Runs a script as it is, in the engine's own time.
    pub(crate) async fn plain(&self, script: &'static Script, call: ScriptCall) -> Reply {
        self.inner.run(script, call).await.unwrap()
    }

    /// Takes keys away.
    pub(crate) async fn drop_keys(&self, keys: Vec<Vec<u8>>) {
        if !keys.is_empty() {
            self.deadlines().retain(|key, _| !keys.contains(key));
            self.plain(drop_keys(), ScriptCall { keys, args: Vec::new() }).await;
        }
    }

    /// Which keys go when, in order.
    pub(crate) fn expiries(&self) -> BTreeMap<Vec<u8>, u64> {
        self.deadlines().clone().into_iter().collect()
    }

    /// Says when keys go, instead of what was said before.
    pub(crate) fn set_expiries(&self, deadlines: &BTreeMap<Vec<u8>, u64>) {
        *self.deadlines() = deadlines.clone().into_iter().collect();
    }

    /// Keys whose time has come.
    fn gone(&self, now_ms: u64) -> Vec<Vec<u8>> {
        let deadlines = self.deadlines();
        deadlines.iter().filter(|(_, until)| **until <= now_ms).map(|(key, _)| key.clone()).collect()
    }

    async fn freeze_and_run(
        &self,
        script: &'static Script,
        mut call: ScriptCall,
    ) -> Result<Reply, HostError> {
        let now = self.clock.unix();
        let now_ms = u64::try_from(now.as_millis()).unwrap();
        self.drop_keys(self.gone(now_ms)).await;
        call.args.push(now.as_secs().to_string().into_bytes());
        call.args.push(now.subsec_micros().to_string().into_bytes());
        let reply = self.inner.run(changed(script), call).await?;
        let Reply::Array(mut parts) = reply else { return Ok(reply) };
        let Some(Reply::Array(told)) = parts.pop() else { panic!("{} answered no pair", script.name) };
        let mut deadlines = self.deadlines();
        for pair in told.chunks(2) {
            let [Reply::Bulk(key), Reply::Bulk(ms)] = pair else { panic!("{} told {pair:?}", script.name) };
            match std::str::from_utf8(ms).unwrap() {
                "-" => drop(deadlines.remove(key)),
                ms => drop(deadlines.insert(key.clone(), now_ms + ms.parse::<u64>().unwrap())),
            }
        }
        Ok(parts.remove(0))
    }
}

impl ScriptHost for Frozen {
    fn run<'a>(
        &'a self,
        script: &'static Script,
        call: ScriptCall,
    ) -> BoxFuture<'a, Result<Reply, HostError>> {
        Box::pin(self.freeze_and_run(script, call))
    }

    fn announcements(&self) -> BoxStream<Vec<u8>> {
        self.inner.announcements()
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), HostError>> {
        self.inner.ready()
    }
}
