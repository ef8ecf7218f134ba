//! `bursar simulate` as a user runs it.

mod support;

use std::{fs, path::Path};

use support::{bursar, json, run, stderr, text};

/// Every key that is promised of one history, in the order of the manual.
const PROMISED: [&str; 13] = [
    "scenario",
    "seed",
    "granted",
    "accepted",
    "refused_upstream",
    "utilisation",
    "jain",
    "wait_p50_ms",
    "wait_p99_ms",
    "violations",
    "virtual_seconds",
    "events",
    "wall_ms",
];

/// The event log of a small chaos, as a process of its own writes it.
#[allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]
fn log_of(seed: &str, file: &Path) -> Vec<u8> {
    let small =
        ["--scenario", "chaos", "--replicas", "2", "--workers", "6", "--windows", "2", "--seed", seed];
    let ran = run(["simulate"].iter().chain(&small).chain(&["--log", text(file), "--json"]));
    assert_eq!(ran.status.code(), Some(0), "{}", stderr(&ran));
    let told = json(&ran);
    for key in PROMISED {
        assert!(!told[key].is_null(), "{key} is missing: {told}");
    }
    assert_eq!(told["violations"], serde_json::json!([]));
    fs::read(file).unwrap()
}

#[test]
fn a_seed_writes_the_same_log_byte_for_byte_in_every_process() {
    let folder = tempfile::tempdir().unwrap();
    let logs = ["1", "1", "2"].map(|seed| log_of(seed, &folder.path().join("events.log")));
    assert!(logs[0].len() > 1000, "{} bytes", logs[0].len());
    assert_eq!(logs[0], logs[1]);
    assert_ne!(logs[0], logs[2]);
}

#[test]
fn seeds_are_counted_and_the_first_violation_is_saved_with_the_command_that_replays_it() {
    let folder = tempfile::tempdir().unwrap();
    let small = ["simulate", "--replicas", "1", "--windows", "1"];
    let held =
        run(small.iter().chain(&["--scenario", "late", "--workers", "5", "--seeds", "0..3", "--json"]));
    assert_eq!(held.status.code(), Some(0), "{}", stderr(&held));
    let told = json(&held);
    assert_eq!((&told["ran"], &told["violations"]), (&3.into(), &serde_json::json!([])));

    // Twelve workers whose calls take longer than a window cannot use it up.
    let demanding = ["--scenario", "late", "--workers", "12", "--used-least", "99.5"];
    let violated = bursar(small.iter().chain(&demanding).chain(&["--seeds", "4..6"]))
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert_eq!(violated.status.code(), Some(1), "{}", stderr(&violated));
    assert!(fs::read(folder.path().join("bursar-late-4.log")).unwrap().len() > 1000);
    let replay =
        "bursar simulate --scenario late --seed 4 --replicas 1 --workers 12 --windows 1 --used-least 99.5";
    assert!(stderr(&violated).contains(replay), "{}", stderr(&violated));
    let nowhere = bursar(small.iter().chain(&[
        "--scenario",
        "late",
        "--workers",
        "5",
        "--seeds",
        "0..3",
        "--log",
        "nowhere/log",
    ]))
    .current_dir(folder.path())
    .output()
    .unwrap();
    assert_eq!(nowhere.status.code(), Some(1), "before the first seed: {}", stderr(&nowhere));
    assert!(stderr(&nowhere).contains("nowhere/log"), "{}", stderr(&nowhere));
    let again = run(replay.split(' ').skip(1).chain(["--json"]));
    assert_eq!(again.status.code(), Some(1));
    assert_eq!(json(&again)["violations"][0]["invariant"], "utilisation");
}

#[test]
fn every_fault_is_to_be_had_in_any_scenario() {
    for scenario in ["autotask", "salestim", "tokens"] {
        let small = ["--faults", "--replicas", "2", "--workers", "6", "--windows", "3", "--json"];
        let ran = run(["simulate", "--scenario", scenario].iter().chain(&small));
        assert_eq!(ran.status.code(), Some(0), "{}", stderr(&ran));
        assert_eq!(json(&ran)["violations"], serde_json::json!([]));
    }
}

#[test]
fn all_scenarios_are_played_with_what_is_demanded_of_each() {
    let small = ["--replicas", "1", "--workers", "4", "--windows", "1", "--seed", "1"];
    let ran = run(["simulate", "--all", "--json"].iter().chain(&small));
    let listed = json(&run(["simulate", "--list", "--json"]));
    let names = |of: &serde_json::Value, key: &str| -> Vec<String> {
        of["scenarios"].as_array().unwrap().iter().map(|it| it[key].as_str().unwrap().to_owned()).collect()
    };
    let played = json(&ran);
    assert_eq!(names(&played, "scenario"), names(&listed, "name"));
    let played = played["scenarios"].as_array().unwrap();
    assert!(played.iter().all(|it| it["workers"] == 4 && it["demanded"]["utilisation_least"].is_number()));
    // So few calls do not use what is demanded at the usual sizes: that is told, with the way to see it again.
    let broken = played.iter().filter(|it| it["violations"] != serde_json::json!([]));
    let broken: Vec<_> = broken.map(|it| it["scenario"].as_str().unwrap()).collect();
    assert_eq!(ran.status.code(), Some(i32::from(!broken.is_empty())), "{}", stderr(&ran));
    for name in broken {
        let again =
            format!("again: bursar simulate --scenario {name} --seed 1 --replicas 1 --workers 4 --windows 1");
        assert!(stderr(&ran).contains(&again), "{}", stderr(&ran));
    }
}

#[test]
fn the_scenarios_are_listed_and_another_name_is_wrong_usage() {
    let listed = json(&run(["simulate", "--list", "--json"]));
    let named = |name: &str| listed["scenarios"].as_array().unwrap().iter().any(|it| it["name"] == name);
    assert!(named("window") && named("chaos"), "{listed}");
    let table = String::from_utf8(run(["simulate", "--list"]).stdout).unwrap();
    assert_eq!(table.lines().count(), listed["scenarios"].as_array().unwrap().len());
    for wrong in [
        ["--scenario", "nonsense"],
        ["--seeds", "5..5"],
        ["--replicas", "0"],
        ["--list", "--seed=1"],
        ["--threads", "2"],
    ] {
        let refused = run(["simulate"].iter().chain(&wrong));
        assert_eq!(refused.status.code(), Some(2), "{wrong:?}");
        assert!(stderr(&refused).contains(wrong[0]), "{}", stderr(&refused));
    }
}
