//! The bench, at a tiny size: what it prints, and never how fast it was.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where it cannot go on")]

mod support;

use std::{fs, path::PathBuf};

use serde_json::Value;
use support::{Server, run, stderr};

/// The flags of a run that takes no longer than it must.
const TINY: [&str; 6] = ["--seconds", "0.1", "--warmup", "0.02", "--callers", "2"];

/// The objects that a command printed, one a line.
fn rows(output: &std::process::Output) -> Vec<Value> {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A Redis or Valkey server's program, as other tests find it.
fn redis() -> String {
    let named = std::env::var_os("BURSAR_TEST_REDIS_SERVER").map(PathBuf::from);
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let found = ["redis-server", "valkey-server"]
        .iter()
        .flat_map(|name| std::env::split_paths(&folders).map(move |folder| folder.join(name)))
        .find(|path| path.is_file());
    let found =
        named.or(found).expect("this test needs a redis-server, or BURSAR_TEST_REDIS_SERVER to name one");
    found.to_str().unwrap().to_owned()
}

#[test]
fn all_prints_a_row_for_each_kind_and_store() {
    let folder = tempfile::tempdir().unwrap();
    let chart = folder.path().join("chart.svg");
    let redis = redis();
    let more = ["--json", "--runs", "2", "--redis-server", &redis, "--chart", chart.to_str().unwrap()];
    let rows = rows(&run(["bench", "all"].iter().chain(&TINY).chain(&more)));
    let kinds: Vec<_> =
        rows.iter().map(|row| (row["kind"].as_str().unwrap(), row["store"].as_str().unwrap())).collect();
    let wanted = [
        ("floor", "none"),
        ("session_floor", "none"),
        ("acquire", "embedded"),
        ("session", "embedded"),
        ("acquire", "redis"),
        ("session", "redis"),
    ];
    assert_eq!(kinds, wanted);
    for row in &rows {
        assert_eq!((&row["callers"], &row["runs"]), (&2.into(), &2.into()), "{row}");
        for figure in ["permits_per_s", "ratio_to_floor", "p50_us", "p99_us", "p999_us", "max_us"] {
            assert!(row[figure].as_f64().is_some_and(|figure| figure > 0.0), "{figure} of {row}");
        }
        let floor = row["store"] == "none";
        assert_eq!(row["store_calls_per_permit"].is_null(), floor, "{row}");
        assert!(floor || row["store_calls_per_permit"].as_f64().unwrap() > 0.0, "{row}");
    }
    assert_eq!(rows[2]["round_trips_per_permit"], 0.0, "the embedded store is in the process");
    assert!(rows[4]["round_trips_per_permit"].as_f64().unwrap() > 0.0);
    assert!(fs::read_to_string(chart).unwrap().contains("acquire (redis)"));
}

#[test]
fn without_redis_its_rows_are_left_out_and_that_is_said() {
    let output =
        run(["bench", "all", "--redis-server", "/nowhere/redis-server", "--json"].iter().chain(&TINY));
    assert!(stderr(&output).contains("the rows of Redis are left out"), "{}", stderr(&output));
    assert_eq!(rows(&output).len(), 4);
    let asked = run(["bench", "all", "--store", "redis", "--redis-server", "/nowhere/redis-server"]
        .iter()
        .chain(&TINY));
    assert_eq!(asked.status.code(), Some(1), "who asks for Redis gets it or an error");
}

#[test]
fn an_open_loop_keeps_its_rate_and_a_running_server_can_be_measured() {
    let server = Server::start(&[]);
    let (target, metrics) = (format!("http://{}", server.grpc), server.admin.as_str());
    let fixed = ["bench", "session", "--rate", "200", "--budgets", "3", "--json", "--target", &target];
    let told = rows(&run(fixed.iter().chain(&["--metrics", metrics]).chain(&TINY)));
    assert_eq!((&told[0]["store"], &told[0]["rate"]), (&"target".into(), &200.0.into()));
    assert!(told[0]["store_calls_per_permit"].is_number() && told[0]["server_cpu_us_per_permit"].is_null());
    let listed = server.run(&["budgets", "list", "--json"]);
    assert!(!String::from_utf8_lossy(&listed.stdout).contains("bench/"), "it leaves no budget behind");
    let floor = run(["bench", "floor", "--target", &target].iter().chain(&TINY));
    assert_eq!(floor.status.code(), Some(1), "a real server is no floor");
    assert!(stderr(&floor).contains("needs an echo"), "{}", stderr(&floor));
    // Without the metrics nobody knows what the store was asked.
    assert!(rows(&run(fixed.iter().chain(&TINY)))[0]["store_calls_per_permit"].is_null());
}

#[test]
fn what_does_nothing_is_weighed_and_a_script_is_measured_alone() {
    let redis = redis();
    let small = ["--budgets", "50", "--used", "--sessions", "5", "--waiters", "20"];
    let fixed = ["bench", "memory", "--store", "redis", "--redis-server", &redis, "--json"];
    let weights = rows(&run(fixed.iter().chain(&small)));
    assert_eq!(
        weights.iter().map(|row| row["what"].as_str().unwrap()).collect::<Vec<_>>(),
        ["budget", "session", "waiter"]
    );
    assert!(weights[0]["store_bytes_each"].as_f64().unwrap() > 0.0, "{weights:?}");
    for store in ["embedded", "redis"] {
        let fixed = ["bench", "script", "--json", "--seconds", "0.05", "--warmup", "0", "--store", store];
        let told = rows(&run(fixed.iter().chain(&["--redis-server", &redis])));
        assert_eq!((&told[0]["kind"], &told[0]["store"]), (&"script".into(), &store.into()));
        assert!(told[0]["runs"].as_u64().unwrap() > 0);
    }
}

#[test]
fn what_is_settled_at_one_replica_is_heard_at_the_other() {
    let redis = redis();
    let found = rows(&run(["bench", "wake", "--json", "--many", "20", "--redis-server", &redis]));
    let [slot, pause] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(
        (&slot["what"], &slot["many"], &slot["granted_inside"]),
        (&"slot".into(), &20.into(), &Value::Null)
    );
    assert_eq!(
        (&pause["what"], &pause["many"], &pause["granted_inside"]),
        (&"pause".into(), &20.into(), &0.into())
    );
    assert!(slot["p50_us"].as_f64() <= slot["max_us"].as_f64(), "{slot}");
    let alone = run(["bench", "wake", "--store", "embedded"]);
    assert_eq!(alone.status.code(), Some(2), "{alone:?}");
}

#[test]
fn a_cluster_is_compared_with_one_server_in_one_run() {
    let redis = redis();
    let fixed = ["bench", "cluster", "--json", "--budgets", "40", "--runs", "2", "--redis-server", &redis];
    let rows = rows(&run(fixed.iter().chain(&TINY)));
    let told: Vec<_> =
        rows.iter().map(|row| (row["kind"].as_str().unwrap(), row["store"].as_str().unwrap())).collect();
    let wanted = [("acquire", "redis"), ("acquire", "cluster"), ("session", "redis"), ("session", "cluster")];
    assert_eq!(told, wanted);
    for row in &rows {
        assert_eq!((&row["budgets"], &row["runs"]), (&40.into(), &2.into()), "{row}");
        assert!(row["permits_per_s"].as_f64().is_some_and(|figure| figure > 0.0), "{row}");
        assert!(row["store_cpu_us_per_permit"].as_f64().is_some_and(|figure| figure > 0.0), "{row}");
        let ratio = row["ratio_to_one_server"].as_f64();
        assert_eq!(ratio.is_some_and(|ratio| ratio > 0.0), row["store"] == "cluster", "{row}");
    }
}

#[test]
fn a_soak_looks_at_memory_again_and_again() {
    let folder = tempfile::tempdir().unwrap();
    let chart = folder.path().join("memory.svg");
    let fixed = [
        "bench",
        "soak",
        "--json",
        "--every",
        "0.1",
        "--seconds",
        "0.5",
        "--warmup",
        "0.1",
        "--callers",
        "2",
    ];
    let told = rows(&run(fixed.iter().chain(&["--chart", chart.to_str().unwrap()])));
    assert!(told[0]["samples"].as_array().unwrap().len() > 1, "{told:?}");
    assert_eq!(told[0]["row"]["kind"], "session");
    assert!(fs::read_to_string(chart).unwrap().contains("seconds"));
}

#[test]
fn a_flag_out_of_bounds_is_named() {
    for (flag, value) in
        [("--callers", "0"), ("--connections", "9999"), ("--rate", "-1"), ("--seconds", "0.001")]
    {
        let equals = format!("{flag}={value}");
        let output = run(["bench", "acquire", &equals]);
        assert_eq!(output.status.code(), Some(2), "{equals}: {}", stderr(&output));
        assert!(stderr(&output).contains(flag), "{}", stderr(&output));
    }
}
