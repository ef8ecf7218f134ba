//! Scripts that are broken on purpose, in whole worlds: the observer notices.
//!
//! Which scripts are in force is read once a process. So a world with others is played by this program, run again.

use std::{env, fs, path::Path, process::Command};

use super::{Keep, plan::Sizes, run, scenario::scenario};

/// What the program that is run again plays: a scenario, its seed, replicas, workers and windows.
const WORLD: &str = "BURSAR_SIM_WORLD";

#[derive(serde::Deserialize)]
struct Table {
    mutant: Vec<Mutant>,
}

#[derive(serde::Deserialize)]
struct Mutant {
    name: String,
    file: String,
    find: String,
    put: String,
}

/// The scripts in a folder, with one of the table's mutants.
fn broken(name: &str) -> tempfile::TempDir {
    let ledger = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ledger");
    let table: Table =
        toml::from_str(&fs::read_to_string(ledger.join("tests/mutants.toml")).unwrap()).unwrap();
    let mutant = table.mutant.into_iter().find(|mutant| mutant.name == name).unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("lib")).unwrap();
    for inner in ["", "lib"] {
        for entry in fs::read_dir(ledger.join("lua").join(inner)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                fs::copy(&path, folder.path().join(inner).join(path.file_name().unwrap())).unwrap();
            }
        }
    }
    let file = folder.path().join(format!("{}.lua", mutant.file));
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains(&mutant.find), "{name} is in its file");
    fs::write(&file, text.replace(&mutant.find, &mutant.put)).unwrap();
    folder
}

/// What a world breaks under a mutant, as it tells it.
fn found(mutant: &str, world: &str) -> String {
    let folder = broken(mutant);
    let played = Command::new(env::current_exe().unwrap())
        .args(["--exact", "simulate::mutant_tests::plays_the_world_that_is_named", "--nocapture"])
        .env("BURSAR_LUA_DIR", folder.path())
        .env(WORLD, world)
        .output()
        .unwrap();
    let told = String::from_utf8(played.stdout).unwrap();
    assert!(played.status.success() && told.contains("played"), "{mutant}: {told}");
    told
}

#[test]
fn plays_the_world_that_is_named() {
    let Ok(world) = env::var(WORLD) else { return };
    let words: Vec<&str> = world.split(' ').collect();
    let [name, seed, replicas, workers, windows] = words[..] else { panic!("{world}") };
    let sizes = Sizes {
        replicas: Some(replicas.parse().unwrap()),
        workers: Some(workers.parse().unwrap()),
        windows: Some(windows.parse().unwrap()),
        faults: false,
        used_least: None,
    };
    let seed = seed.parse().unwrap();
    let report = run(&scenario(name, seed, &sizes).unwrap(), seed, Keep::Last(0)).unwrap().report;
    println!("played {world}");
    for violation in report.violations {
        println!("{}: {}", violation.invariant, violation.text);
    }
}

#[test]
fn grants_in_a_pause_are_noticed_where_it_is_told_as_a_date() {
    let told = found("pause-not-heeded", "retry-after 1 2 14 4");
    for invariant in ["no_grant_in_pause", "few_epochs", "no_refusal"] {
        assert!(told.contains(invariant), "{told}");
    }
}

#[test]
fn a_back_off_that_does_not_double_is_noticed() {
    let told = found("back-off-never-doubles", "secondary 1 2 14 4");
    assert!(told.contains("few_epochs"), "{told}");
}

#[test]
fn a_loss_that_is_granted_again_is_noticed() {
    for mutant in ["declared-again-as-if-new", "loss-grants-on", "loss-has-room"] {
        let told = found(mutant, "state-empty-blind 1 2 14 4");
        assert!(told.contains("no_refusal"), "{mutant}: {told}");
    }
}
