//! The table of mutants fits the scripts: each text is there once, and what takes its place compiles. Whether the suite
//! notices each is for `cargo xtask mutants` to show.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use bursar_ledger::{Script, ScriptCall, Vm, expand, scripts::CONTRACTS};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    mutant: Vec<Mutant>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mutant {
    name: String,
    breaks: String,
    file: String,
    find: String,
    put: String,
}

fn table() -> Vec<Mutant> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mutants.toml");
    toml::from_str::<Table>(&fs::read_to_string(path).unwrap()).unwrap().mutant
}

/// Every file by its name under `lua/`, without `.lua`.
fn files() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("lua");
    let mut files = BTreeMap::new();
    for (folder, prefix) in [(root.clone(), ""), (root.join("lib"), "lib/")] {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|end| end == "lua") {
                let stem = path.file_stem().unwrap().to_str().unwrap();
                files.insert(format!("{prefix}{stem}"), fs::read_to_string(&path).unwrap());
            }
        }
    }
    files
}

/// Compiles every script and runs none: a return in a block of its own goes first.
fn compile(vm: &mut Vm, files: &BTreeMap<String, String>) -> Result<(), String> {
    for contract in CONTRACTS {
        let source = expand(contract.name, |name| files.get(name).map(String::as_str));
        let source = source.map_err(|error| error.to_string())?;
        let script = Script::from_source(contract.name, format!("do return 1 end {source}"));
        let call = ScriptCall { keys: Vec::new(), args: Vec::new() };
        vm.run(&script, &call, Duration::ZERO).map_err(|error| error.to_string())?;
    }
    Ok(())
}

#[test]
fn every_mutant_is_one_change_that_compiles() {
    let files = files();
    compile(&mut Vm::new().unwrap(), &files).unwrap();
    let mut wrong = Vec::new();
    for mutant in table() {
        assert!(mutant.breaks.ends_with('.'), "{}: a rule is a sentence", mutant.name);
        let text = files.get(&mutant.file).unwrap_or_else(|| panic!("{}: no such file", mutant.name));
        let times = text.matches(&mutant.find).count();
        if times != 1 {
            wrong.push(format!("{}: its text occurs {times} times in lua/{}.lua", mutant.name, mutant.file));
            continue;
        }
        let mut broken = files.clone();
        broken.insert(mutant.file.clone(), text.replace(&mutant.find, &mutant.put));
        // A machine of its own: one keeps every script that it has seen.
        if let Err(error) = compile(&mut Vm::new().unwrap(), &broken) {
            wrong.push(format!("{}: {error}", mutant.name));
        }
    }
    assert!(wrong.is_empty(), "mend tests/mutants.toml:\n{}", wrong.join("\n"));
}

#[test]
fn every_rule_is_broken_once_under_a_name_of_its_own() {
    let (mut names, mut changes) = (BTreeMap::new(), BTreeMap::new());
    for Mutant { name, file, find, put, .. } in table() {
        assert_ne!(find, put, "{name} changes nothing");
        assert!(names.insert(name.clone(), ()).is_none(), "two mutants are named {name}");
        if let Some(other) = changes.insert((file, find, put), name.clone()) {
            panic!("{name} and {other} are one");
        }
    }
    assert!(names.len() >= 45, "{} are too few", names.len());
}
