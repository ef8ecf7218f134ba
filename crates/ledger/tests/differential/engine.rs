//! An engine with a ledger on it, and what is observed of it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bursar_ledger::{
    Embedded, RedisConfig, RedisHost, Reply, Script, ScriptCall, ScriptHost, ScriptLedger,
    testing::RedisServer,
};
use bursar_quota::{BoxStream, CommitReply, Ledger as _, LedgerError, LedgerEvent, ManualClock};
use futures_util::StreamExt as _;

use super::{frozen::Frozen, operations::Operation};

pub(crate) const PREFIX: &str = "bursar:";

/// The longest that announcements may take over a socket.
const HEARD_WITHIN: Duration = Duration::from_secs(10);

/// What an operation gave: its whole text, to compare; and what the next operations depend on.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) text: String,
    pub(crate) reply: Option<CommitReply>,
    pub(crate) version: Option<u64>,
}

/// What is under some keys, and when they go.
type Stored = (Vec<BTreeMap<Vec<u8>, Vec<u8>>>, BTreeMap<Vec<u8>, u64>);

pub(crate) struct Engine {
    pub(crate) name: String,
    ledger: ScriptLedger<Frozen>,
    /// The store's time, and the replica's own.
    clocks: [ManualClock; 2],
    events: BoxStream<LedgerEvent>,
    /// Keys, and what was stored under them at some moment, to come back.
    older: Option<(Vec<Vec<u8>>, Stored)>,
    /// Which history it is, to say it where something breaks.
    seed: u64,
    counts: BTreeMap<String, u64>,
}

/// Answers what its keys hold: of a hash fields and values, of a lease, which is a text, it under no name.
fn read_keys() -> &'static Script {
    static READ: std::sync::OnceLock<Script> = std::sync::OnceLock::new();
    let source = "local all = {}
        for i = 1, #KEYS do
          if string.find(KEYS[i], ':lease:', 1, true) then
            local text = redis.call('GET', KEYS[i])
            all[i] = text and { '', text } or {}
          else
            all[i] = redis.call('HGETALL', KEYS[i])
          end
        end
        return all";
    READ.get_or_init(|| Script::from_source("read", source.to_owned()))
}

/// Writes what was read of one key: fields and values, or a text under no name.
fn write_key() -> &'static Script {
    static WRITE: std::sync::OnceLock<Script> = std::sync::OnceLock::new();
    let source = "for i = 1, #ARGV, 2 do
          if ARGV[i] == '' then
            redis.call('SET', KEYS[1], ARGV[i + 1])
          else
            redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
          end
        end
        return 1";
    WRITE.get_or_init(|| Script::from_source("write", source.to_owned()))
}

fn clocks() -> [ManualClock; 2] {
    [ManualClock::default(), ManualClock::default()]
}

impl Engine {
    fn new(name: String, host: impl ScriptHost, clocks: [ManualClock; 2]) -> Self {
        let [store, replica] = &clocks;
        let host = Frozen::new(host, store.clone());
        let ledger = ScriptLedger::new(host, PREFIX, Arc::new(replica.clone()));
        let events = ledger.events();
        Self { name, ledger, clocks, events, older: None, seed: 0, counts: BTreeMap::new() }
    }

    pub(crate) fn embedded() -> Self {
        // The engine's own time stands still: the scripts do not see it.
        let host = Embedded::new(Arc::new(ManualClock::at(Duration::from_secs(1_700_000_000)))).unwrap();
        Self::new("embedded".to_owned(), host, clocks())
    }

    pub(crate) async fn redis(server: &RedisServer) -> Self {
        let host = RedisHost::connect(RedisConfig::at(server.url())).unwrap();
        let mut listening = host.listening();
        let engine = Self::new(server.version(), host, clocks());
        listening.wait_for(|heard| *heard).await.unwrap();
        engine
    }

    /// A new history, at this time.
    pub(crate) fn begin(&mut self, seed: u64, time: Duration) {
        self.seed = seed;
        for clock in &self.clocks {
            clock.set(time);
        }
    }

    /// Does it and says what came of it.
    pub(crate) async fn apply(&mut self, operation: &Operation) -> Outcome {
        *self.counts.entry(operation.name().to_owned()).or_default() += 1;
        let outcome = self.done(operation).await;
        if let Some(reply) = &outcome.reply {
            let granted = reply.decisions.iter().map(|it| u64::from(it.granted)).sum::<u64>();
            *self.counts.entry("permits".to_owned()).or_default() += granted;
            for refusal in reply.decisions.iter().filter_map(|it| it.refusal.as_ref()) {
                *self.counts.entry(format!("refused:{}", refusal.reason)).or_default() += 1;
            }
        }
        outcome
    }

    async fn done(&mut self, operation: &Operation) -> Outcome {
        let ledger = &self.ledger;
        match operation {
            Operation::Commit { budget, commit, .. } => {
                let result = ledger.commit(budget, commit).await;
                let broke = matches!(result, Err(LedgerError::Corrupt(_)));
                assert!(!broke, "BURSAR_SEED={}: {}: {result:?} to {operation:?}", self.seed, self.name);
                Outcome { text: format!("{result:?}"), reply: result.ok(), version: None }
            }
            Operation::Put(spec) => {
                let result = ledger.put(spec).await;
                let version = result.as_ref().ok().map(|put| put.version);
                Outcome { text: format!("{result:?}"), version, ..Outcome::default() }
            }
            Operation::Get(budget) => {
                let known = ledger.knows(budget).await;
                let mut result = ledger.get(budget).await;
                let found = result.as_ref().map(Option::is_some).map_err(Clone::clone);
                assert_eq!(known, found, "BURSAR_SEED={}: {}: {operation:?}", self.seed, self.name);
                if let Ok(Some(stored)) = &mut result {
                    // In no order: a hash's fields come as the server has them.
                    stored.snapshot.waiting.sort();
                    stored.snapshot.pauses.sort_by(|a, b| a.scope.cmp(&b.scope));
                }
                of(result)
            }
            Operation::List(after, most) => of(ledger.list(after.as_ref(), *most).await),
            Operation::Delete(budget) => of(ledger.delete(budget).await),
            Operation::Pause(budget, span) => of(ledger.pause(budget, *span).await),
            Operation::Resume(budget) => of(ledger.resume(budget).await),
            Operation::Pass(span) => {
                self.clocks.iter().for_each(|clock| clock.advance(*span));
                Outcome::default()
            }
            Operation::Step(time) => {
                self.clocks[0].set(*time);
                Outcome::default()
            }
            Operation::Remember(keys) => {
                self.older = Some((keys.clone(), self.stored(keys).await));
                Outcome::default()
            }
            Operation::Lose { keys, all } => {
                self.lose(keys, *all).await;
                Outcome::default()
            }
        }
    }

    /// The store comes back empty, or as it was when it was remembered.
    async fn lose(&mut self, keys: &[Vec<u8>], all: bool) {
        self.ledger.host().drop_keys(keys.to_vec()).await;
        let Some((keys, (hashes, expiries))) = self.older.as_ref().filter(|_| !all) else { return };
        for (key, fields) in keys.iter().zip(hashes).filter(|(_, fields)| !fields.is_empty()) {
            let args = fields.iter().flat_map(|(field, value)| [field.clone(), value.clone()]).collect();
            self.ledger.host().plain(write_key(), ScriptCall { keys: vec![key.clone()], args }).await;
        }
        self.ledger.host().set_expiries(expiries);
    }

    /// What these keys hold, and which go when.
    pub(crate) async fn stored(&self, keys: &[Vec<u8>]) -> Stored {
        let call = ScriptCall { keys: keys.to_vec(), args: Vec::new() };
        let Reply::Array(hashes) = self.ledger.host().plain(read_keys(), call).await else {
            panic!("no array")
        };
        let bulk = |reply: &Reply| match reply {
            Reply::Bulk(bytes) => bytes.clone(),
            other => panic!("{other:?} in a hash"),
        };
        let hash = |reply: &Reply| match reply {
            Reply::Array(flat) => flat.chunks(2).map(|pair| (bulk(&pair[0]), bulk(&pair[1]))).collect(),
            other => panic!("{other:?} is no hash"),
        };
        (hashes.iter().map(hash).collect(), self.ledger.host().expiries())
    }

    /// What was announced since the last time; at least so many events, if they come.
    pub(crate) async fn announced(&mut self, least: usize) -> Vec<String> {
        let mut events = Vec::new();
        loop {
            let wait = if events.len() < least { HEARD_WITHIN } else { Duration::from_millis(5) };
            match tokio::time::timeout(wait, self.events.next()).await {
                Ok(Some(event)) => events.push(format!("{event:?}")),
                Ok(None) | Err(_) => break,
            }
        }
        // What one script says of several scopes comes in the order of a hash's fields, which is the server's.
        events.sort();
        events
    }

    /// What was done how often.
    pub(crate) fn spread(&self) -> String {
        let counts: Vec<_> = self.counts.iter().map(|(what, count)| format!("{count} {what}")).collect();
        counts.join(", ")
    }
}

fn of(result: impl std::fmt::Debug) -> Outcome {
    Outcome { text: format!("{result:?}"), ..Outcome::default() }
}
