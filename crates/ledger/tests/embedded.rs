//! The embedded engine against the tables that every engine must satisfy, and what is its own: threads, bounds, time.

mod support;

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

use bursar_ledger::{Embedded, EmbeddedConfig, HostError, Reply, Script, ScriptCall, ScriptHost, VmLimits};
use bursar_quota::{Clock, ManualClock};
use futures_util::{FutureExt, StreamExt};
use support::{commands, conversions};

const START: Duration = Duration::from_secs(1_700_000_000);

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(START))
}

fn script(source: &str) -> &'static Script {
    Box::leak(Box::new(Script::from_source("test", source.to_owned())))
}

fn keys(keys: &[&str]) -> ScriptCall {
    ScriptCall { keys: keys.iter().map(|key| key.as_bytes().to_vec()).collect(), args: Vec::new() }
}

/// A clock at which whoever asks waits until it is opened.
#[derive(Default)]
struct Gate {
    shut: Mutex<bool>,
    moved: Condvar,
}

impl Gate {
    fn set(&self, shut: bool) {
        *self.shut.lock().unwrap_or_else(PoisonError::into_inner) = shut;
        self.moved.notify_all();
    }
}

impl Clock for Gate {
    fn monotonic(&self) -> Duration {
        let shut = self.shut.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.moved.wait_while(shut, |shut| *shut));
        Duration::ZERO
    }

    fn unix(&self) -> Duration {
        START
    }
}

#[tokio::test]
async fn commands_answer_as_documented() {
    let found = commands::deviations(&Embedded::new(clock()).unwrap(), "test:").await;
    assert!(found.is_empty(), "{found:#?}");
}

#[tokio::test]
async fn values_convert_as_documented() {
    let found = conversions::deviations(&Embedded::new(clock()).unwrap(), "test:").await;
    assert!(found.is_empty(), "{found:#?}");
}

#[tokio::test]
async fn orders_are_the_bytes() {
    let engine = Embedded::new(clock()).unwrap();
    let source = "redis.call('SADD', KEYS[1], 'b', 'c', 'a') redis.call('HSET', KEYS[2], 'z', '1', 'y', '2') \
                  return table.concat(redis.call('SMEMBERS', KEYS[1])) .. table.concat(redis.call('HGETALL', KEYS[2]))";
    assert_eq!(engine.run(script(source), keys(&["s", "h"])).await, Ok(Reply::Bulk(b"abcy2z1".to_vec())));
}

#[tokio::test]
async fn time_begins_with_the_wall_clock_and_does_not_step_with_it() {
    struct Stepping(ManualClock, ManualClock);
    impl Clock for Stepping {
        fn monotonic(&self) -> Duration {
            self.0.monotonic()
        }
        fn unix(&self) -> Duration {
            self.1.unix()
        }
    }
    let (monotonic, wall) = (ManualClock::at(Duration::from_secs(5)), ManualClock::at(START));
    let engine = Embedded::new(Arc::new(Stepping(monotonic.clone(), wall.clone()))).unwrap();
    let time = script("return redis.call('TIME')");
    wall.set(Duration::from_secs(1));
    monotonic.advance(Duration::from_micros(1_500_000));
    let expected = ["1700000001", "500000"].map(|text| Reply::Bulk(text.as_bytes().to_vec()));
    assert_eq!(engine.run(time, keys(&[])).await, Ok(Reply::Array(expected.to_vec())));
}

#[tokio::test]
async fn keys_of_one_tag_share_a_shard_and_shards_share_nothing() {
    let config = EmbeddedConfig { shards: 4, ..EmbeddedConfig::default() };
    let engine = Embedded::with_config(clock(), config).unwrap();
    let put = script("redis.call('SET', KEYS[2], 'v') return 1");
    let get = script("return redis.call('GET', KEYS[1])");
    for n in 0..64 {
        let (one, other) = (format!("a:{{{n}}}:x"), format!("b:{{{n}}}:y"));
        engine.run(put, keys(&[&one, &other])).await.unwrap();
        assert_eq!(engine.run(get, keys(&[&other])).await, Ok(Reply::Bulk(b"v".to_vec())), "tag {n}");
    }
    engine.ready().await.unwrap();
}

#[tokio::test]
async fn announcements_reach_every_reader_and_a_late_one_misses_some() {
    let config = EmbeddedConfig { announcements: 2, ..EmbeddedConfig::default() };
    let engine = Embedded::with_config(clock(), config).unwrap();
    let (mut one, mut two) = (engine.announcements(), engine.announcements());
    let publish =
        script("for i = 1, 5 do redis.call('PUBLISH', 'ch', i) end redis.call('GET', 'undeclared')");
    engine.run(publish, keys(&[])).await.unwrap_err();
    for reader in [&mut one, &mut two] {
        assert_eq!(reader.next().await, Some(b"4".to_vec()), "1 to 3 were dropped for a reader that lagged");
        assert_eq!(reader.next().await, Some(b"5".to_vec()));
        assert!(reader.next().now_or_never().is_none());
    }
    drop(engine);
    assert_eq!(one.next().await, None);
}

#[tokio::test]
async fn an_inline_run_ends_before_it_is_awaited() {
    let config = EmbeddedConfig { inline: true, ..EmbeddedConfig::default() };
    let engine = Embedded::with_config(clock(), config).unwrap();
    assert_eq!(engine.run(script("return 5"), keys(&[])).now_or_never(), Some(Ok(Reply::Int(5))));
    assert_eq!(engine.ready().now_or_never(), Some(Ok(())));
}

#[tokio::test]
async fn a_script_error_spoils_nothing() {
    let engine = Embedded::new(clock()).unwrap();
    for source in ["return )", "return nil + 1", "redis.call('GET', 'undeclared')", "while true do end"] {
        assert!(
            matches!(engine.run(script(source), keys(&[])).await, Err(HostError::Script { .. })),
            "{source}"
        );
        assert_eq!(engine.run(script("return 1"), keys(&[])).await, Ok(Reply::Int(1)), "after {source}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_mailbox_makes_callers_wait_and_readiness_fail_within_its_bound() {
    let gate = Arc::new(Gate::default());
    let config = EmbeddedConfig { mailbox: 1, ..EmbeddedConfig::default() };
    let engine = Embedded::with_config(Arc::clone(&gate) as Arc<dyn Clock>, config).unwrap();
    gate.set(true);
    let count = script("return redis.call('HINCRBY', KEYS[1], 'n', 1)");
    let mut callers: Vec<_> = (0..4).map(|_| engine.run(count, keys(&["k"]))).collect();
    for caller in &mut callers {
        assert!(caller.now_or_never().is_none());
    }
    assert!(matches!(engine.ready().await, Err(HostError::Unavailable { .. })));
    // Who went away while it waited, or while its call lay in the mailbox, has no effect.
    callers.truncate(1);
    gate.set(false);
    assert_eq!(callers.remove(0).await, Ok(Reply::Int(1)));
    assert_eq!(engine.run(count, keys(&["k"])).await, Ok(Reply::Int(2)));
    tokio::time::resume();
    engine.ready().await.unwrap();
}

#[tokio::test]
async fn a_full_mailbox_refuses_an_inline_caller() {
    let gate = Arc::new(Gate::default());
    let config = EmbeddedConfig { mailbox: 1, inline: true, ..EmbeddedConfig::default() };
    let engine = Arc::new(Embedded::with_config(Arc::clone(&gate) as Arc<dyn Clock>, config).unwrap());
    gate.set(true);
    let one = script("return 1");
    let callers: Vec<_> = (0..3)
        .map(|_| {
            let engine = Arc::clone(&engine);
            std::thread::spawn(move || engine.run(one, keys(&[])).now_or_never().unwrap())
        })
        .collect();
    // One is being run, one lies in the mailbox, so one is refused: only it can end while the gate is shut.
    while !callers.iter().any(|caller| caller.is_finished()) {
        std::thread::yield_now();
    }
    gate.set(false);
    let results: Vec<_> = callers.into_iter().map(|caller| caller.join().unwrap()).collect();
    assert!(results.iter().any(|result| matches!(result, Err(HostError::Unavailable { .. }))), "{results:?}");
    assert!(results.contains(&Ok(Reply::Int(1))), "{results:?}");
}

#[tokio::test]
async fn dropping_it_ends_its_threads() {
    let clock = clock();
    let config = EmbeddedConfig { shards: 3, ..EmbeddedConfig::default() };
    let engine = Embedded::with_config(Arc::clone(&clock) as Arc<dyn Clock>, config).unwrap();
    engine.run(script("return 1"), keys(&[])).await.unwrap();
    drop(engine);
    for _ in 0..5_000 {
        if Arc::strong_count(&clock) == 1 {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("a thread still holds the clock after five seconds");
}

#[test]
fn no_memory_for_lua_is_told() {
    let limits = VmLimits { lua_bytes_max: 1, ..VmLimits::default() };
    let config = EmbeddedConfig { limits, ..EmbeddedConfig::default() };
    assert!(Embedded::with_config(clock(), config).is_err());
}
