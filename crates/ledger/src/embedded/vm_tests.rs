//! What a VM keeps from its scripts, and from one run to the next.

use std::time::Duration;

use super::{Vm, VmLimits};
use crate::{HostError, Reply, Script, ScriptCall};

const START: Duration = Duration::from_secs(1_700_000_000);

fn call(keys: &[&str], args: &[&str]) -> ScriptCall {
    let bytes = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    ScriptCall { keys: bytes(keys), args: bytes(args) }
}

fn run_at(vm: &mut Vm, source: &str, now: Duration) -> Result<Reply, HostError> {
    let script = Script::from_source("test", source.to_owned());
    vm.run(&script, &call(&["a", "b"], &["x"]), now)
}

fn run(vm: &mut Vm, source: &str) -> Result<Reply, HostError> {
    run_at(vm, source, START)
}

fn failure(vm: &mut Vm, source: &str) -> (String, String) {
    match run(vm, source) {
        Err(HostError::Script { code, message }) => (code, message),
        other => panic!("{source}: expected a script error, got {other:?}"),
    }
}

fn small() -> Vm {
    let limits = VmLimits { lua_bytes_max: 4 << 20, instructions_max: 1_000_000, keyspace_bytes_max: 10_000 };
    Vm::with_limits(limits).unwrap()
}

#[test]
fn nothing_dangerous_is_in_sight() {
    let mut vm = Vm::new().unwrap();
    for name in [
        "load",
        "loadstring",
        "loadfile",
        "dofile",
        "setfenv",
        "getfenv",
        "newproxy",
        "os",
        "io",
        "debug",
        "package",
        "require",
        "module",
        "collectgarbage",
        "print",
        "coroutine",
        "pcall",
        "xpcall",
        "rawset",
        "rawget",
        "setmetatable",
        "getmetatable",
        "_G",
        "cjson",
        "cmsgpack",
        "bit",
        "struct",
        "gcinfo",
    ] {
        let (code, message) = failure(&mut vm, &format!("return {name}"));
        assert_eq!(code, "ERR");
        assert!(message.contains(&format!("undefined global '{name}'")), "{name}: {message}");
    }
    for hidden in ["string.dump", "('').dump", "math.random", "math.randomseed", "redis.sha1hex"] {
        assert_eq!(
            run(&mut vm, &format!("return type({hidden})")),
            Ok(Reply::Bulk(b"nil".into())),
            "{hidden}"
        );
    }
}

#[test]
fn globals_and_libraries_are_frozen() {
    let mut vm = Vm::new().unwrap();
    for source in [
        "fresh = 1",
        "KEYS = {}",
        "string = nil",
        "redis.call = nil",
        "string.format = 1",
        "math.pi = 3",
        "table.fresh = 1",
        "local function f() hidden = 1 end f()",
    ] {
        let (_, message) = failure(&mut vm, source);
        assert!(message.contains("frozen"), "{source}: {message}");
    }
    assert_eq!(run(&mut vm, "return {#KEYS, string.format('%.0f', 2)}").unwrap(), {
        Reply::Array(vec![Reply::Int(2), Reply::Bulk(b"2".into())])
    });
}

#[test]
fn what_a_run_did_to_its_arguments_is_gone_in_the_next() {
    let mut vm = Vm::new().unwrap();
    run(&mut vm, "KEYS[1] = 'z' ARGV[1] = nil ARGV.named = 1").unwrap();
    assert_eq!(run(&mut vm, "return {KEYS[1], ARGV[1], ARGV.named}").unwrap(), {
        Reply::Array(vec![Reply::Bulk(b"a".into()), Reply::Bulk(b"x".into())])
    });
}

#[test]
fn an_error_keeps_its_code_and_leaves_what_was_written() {
    let mut vm = Vm::new().unwrap();
    let source = "redis.call('HSET', KEYS[1], 'f', 'v') redis.call('GET', KEYS[1])";
    let (code, message) = failure(&mut vm, source);
    assert_eq!(code, "WRONGTYPE");
    assert!(message.starts_with("Operation against"), "{message}");
    assert_eq!(run(&mut vm, "return redis.call('HGET', KEYS[1], 'f')"), Ok(Reply::Bulk(b"v".into())));
    let told = failure(&mut vm, "return redis.error_reply('NOBUDGET none is\\nnamed x')");
    assert_eq!(told, ("NOBUDGET".into(), "none is named x".into()));
    assert_eq!(failure(&mut vm, "return redis.error_reply('alone')"), ("ERR".into(), "alone".into()));
    assert_eq!(failure(&mut vm, "return {1, {err = 'DEEP in there'}}").0, "DEEP");
}

#[test]
fn a_broken_script_is_told_with_its_line() {
    let mut vm = Vm::new().unwrap();
    let (code, message) = failure(&mut vm, "local x = nil\nreturn x.y");
    assert_eq!(code, "ERR");
    assert!(message.contains("test:2:"), "{message}");
    assert!(!message.contains('\n'), "{message}");
    assert!(failure(&mut vm, "return )").1.contains("test:1:"));
    assert_eq!(failure(&mut vm, "error({err = 'X y'})").0, "ERR");
}

#[test]
fn a_loop_without_end_is_ended() {
    let mut vm = small();
    for source in ["while true do end", "local function f() return f() end f()", "repeat until false"] {
        let (code, message) = failure(&mut vm, source);
        assert_eq!((code.as_str(), message.as_str()), ("ERR", "the script ran too long"), "{source}");
    }
    assert_eq!(run(&mut vm, "for i = 1, 10000 do end return 1"), Ok(Reply::Int(1)));
}

#[test]
fn memory_is_bounded_and_freed() {
    let mut vm = small();
    for source in [
        "return #string.rep('x', 1e9)",
        "local t = {} for i = 1, 1e7 do t[i] = {} end",
        "local s = 'x' for i = 1, 40 do s = s .. s end",
    ] {
        assert_eq!(failure(&mut vm, source).0, "ERR", "{source}");
        assert_eq!(run(&mut vm, "return #string.rep('x', 1e6)"), Ok(Reply::Int(1_000_000)));
    }
}

#[test]
fn deep_recursion_and_circular_replies_end() {
    let mut vm = Vm::new().unwrap();
    assert_eq!(failure(&mut vm, "local function f() return 1 + f() end return f()").0, "ERR");
    assert_eq!(failure(&mut vm, "local t = {} t[1] = t return t").0, "ERR");
    assert_eq!(failure(&mut vm, "local t = {} for i = 1, 9 do t[i] = t end return t").0, "ERR");
    assert_eq!(run(&mut vm, "return 1"), Ok(Reply::Int(1)));
}

#[test]
fn numbers_that_engines_write_differently_are_refused() {
    let mut vm = Vm::new().unwrap();
    for number in ["0.1", "1e17", "-0", "0/0", "1/0", "-1/0", "2^60"] {
        let (_, message) = failure(&mut vm, &format!("redis.call('SET', KEYS[1], {number})"));
        assert!(message.contains("string.format"), "{number}: {message}");
    }
    run(&mut vm, "redis.call('SET', KEYS[1], 9007199254740992)").unwrap();
    assert_eq!(
        run(&mut vm, "return redis.call('GET', KEYS[1])"),
        Ok(Reply::Bulk(b"9007199254740992".into()))
    );
}

#[test]
fn a_key_must_be_declared() {
    let mut vm = Vm::new().unwrap();
    assert!(failure(&mut vm, "return redis.call('GET', 'c')").1.contains("not in KEYS"));
    assert!(failure(&mut vm, "return redis.call('DEL', 'a', 'c')").1.contains("not in KEYS"));
    assert_eq!(run(&mut vm, "return redis.call('DEL', 'a', 'b')"), Ok(Reply::Int(0)));
}

#[test]
fn time_is_the_callers_and_stands_still() {
    let mut vm = Vm::new().unwrap();
    let now = Duration::new(1_700_000_000, 42_999);
    let reply = run_at(&mut vm, "return redis.call('TIME')", now).unwrap();
    assert_eq!(reply, Reply::Array(vec![Reply::Bulk(b"1700000000".into()), Reply::Bulk(b"42".into())]));
}

#[test]
fn a_key_is_gone_after_the_millisecond_of_its_expiry() {
    let mut vm = Vm::new().unwrap();
    run(&mut vm, "redis.call('SET', KEYS[1], 'v', 'PX', 250)").unwrap();
    let get = "return {redis.call('PTTL', KEYS[1]), redis.call('EXISTS', KEYS[1])}";
    let ms = Duration::from_millis;
    let mut at = |after| run_at(&mut vm, get, START + after).unwrap();
    assert_eq!(at(ms(0)), Reply::Array(vec![Reply::Int(250), Reply::Int(1)]));
    assert_eq!(at(ms(250)), Reply::Array(vec![Reply::Int(0), Reply::Int(1)]));
    assert_eq!(at(ms(251)), Reply::Array(vec![Reply::Int(-2), Reply::Int(0)]));
}

#[test]
fn writes_find_an_expired_key_gone() {
    let ms = Duration::from_millis;
    for (write, then) in [
        ("redis.call('HSET', KEYS[1], 'g', '1')", "return redis.call('HLEN', KEYS[1])"),
        ("redis.call('HINCRBY', KEYS[1], 'f', 1)", "return tonumber(redis.call('HGET', KEYS[1], 'f'))"),
        ("redis.call('SADD', KEYS[1], 'g')", "return redis.call('SCARD', KEYS[1])"),
        ("redis.call('ZADD', KEYS[1], 0, 'g')", "return #redis.call('ZRANGEBYLEX', KEYS[1], '-', '+')"),
        ("if redis.call('HDEL', KEYS[1], 'f') == 0 then redis.call('SADD', KEYS[1], 'x') end", "return 1"),
        ("if redis.call('DEL', KEYS[1]) == 0 then redis.call('SADD', KEYS[1], 'x') end", "return 1"),
        ("if redis.call('PEXPIRE', KEYS[1], 9) == 0 then redis.call('SADD', KEYS[1], 'x') end", "return 1"),
    ] {
        let mut vm = Vm::new().unwrap();
        run(&mut vm, "redis.call('HSET', KEYS[1], 'f', '5') redis.call('PEXPIRE', KEYS[1], 10)").unwrap();
        run_at(&mut vm, write, START + ms(11)).unwrap();
        assert_eq!(run_at(&mut vm, then, START + ms(12)), Ok(Reply::Int(1)), "{write}");
        assert_eq!(
            run_at(&mut vm, "return redis.call('EXISTS', KEYS[1])", START + ms(99)),
            Ok(Reply::Int(1))
        );
    }
}

#[test]
fn a_full_keyspace_refuses_the_first_write_and_finishes_what_was_begun() {
    let mut vm = small();
    // The limit is looked at when a run begins: this one may go over it.
    run(&mut vm, "for i = 1, 400 do redis.call('HSET', KEYS[1], i, 'v') end").unwrap();
    for write in ["'SET', KEYS[2], 'v'", "'HSET', KEYS[2], 'f', 'v'", "'SADD', KEYS[2], 'x'"] {
        let refused = run(&mut vm, &format!("redis.call({write})"));
        assert!(matches!(refused, Err(HostError::Unavailable { .. })), "{write}: {refused:?}");
    }
    assert_eq!(run(&mut vm, "return redis.call('HLEN', KEYS[1])"), Ok(Reply::Int(400)));
    run(&mut vm, "redis.call('HDEL', KEYS[1], '1') redis.call('SET', KEYS[2], 'v')").unwrap();
    run(&mut vm, "redis.call('DEL', KEYS[1], KEYS[2])").unwrap();
    assert_eq!(run(&mut vm, "return redis.call('HSET', KEYS[2], 'f', 'v')"), Ok(Reply::Int(1)));
}

#[test]
fn messages_come_in_order_once_and_bounded() {
    let mut vm = Vm::new().unwrap();
    run(&mut vm, "redis.call('PUBLISH', 'ch', 'one') redis.call('PUBLISH', 'ch', 'two')").unwrap();
    let expected =
        [("ch", "one"), ("ch", "two")].map(|(c, p)| (c.as_bytes().to_vec(), p.as_bytes().to_vec()));
    assert_eq!(vm.take_published(), expected);
    assert!(vm.take_published().is_empty());
    run(&mut vm, "for i = 1, 9999 do redis.call('PUBLISH', 'ch', i) end").unwrap();
    assert_eq!(vm.take_published().len(), 4096);
}

#[test]
fn a_compiled_script_is_kept_and_their_number_bounded() {
    let mut vm = Vm::new().unwrap();
    for n in 0..600 {
        assert_eq!(run(&mut vm, &format!("return {n}")), Ok(Reply::Int(n)));
    }
    assert!(format!("{vm:?}").contains("chunks"));
}

#[test]
fn a_copy_brings_all_back_with_its_expiries_and_weight() {
    let mut vm = Vm::new().unwrap();
    let get = "return redis.call('HGET', KEYS[1], 'f')";
    run(&mut vm, "redis.call('HSET', KEYS[1], 'f', '1') redis.call('PEXPIRE', KEYS[1], '1000')").unwrap();
    let (before, copy, part) = (vm.usage(), vm.copy(), vm.copy_of(&[b"b".to_vec()]));
    run(&mut vm, "redis.call('HSET', KEYS[1], 'f', '2') redis.call('HSET', KEYS[2], 'g', '3')").unwrap();
    assert_eq!(vm.usage().commands, 2);
    vm.restore(&copy);
    assert_eq!((vm.usage().keys, vm.usage().bytes), (before.keys, before.bytes));
    assert_eq!(run(&mut vm, get), Ok(Reply::Bulk(b"1".to_vec())));
    assert_eq!(run(&mut vm, "return redis.call('EXISTS', KEYS[2])"), Ok(Reply::Int(0)));
    let late = START + Duration::from_millis(1001);
    assert_eq!(run_at(&mut vm, get, late), Ok(Reply::Nil));
    // In another machine, and of some keys alone.
    let mut other = Vm::new().unwrap();
    other.restore(&copy);
    assert_eq!(run(&mut other, get), Ok(Reply::Bulk(b"1".to_vec())));
    other.restore(&part);
    assert_eq!((other.usage().keys, other.usage().bytes), (0, 0));
}
