//! Headers, table and files agree.

use std::{collections::BTreeSet, fs, path::Path};

use super::{Finding, rules, told};
use crate::{
    loader::expand,
    scripts::{CONTRACTS, Contract, FILES, file, load},
};

/// The comment lines that open a script, without `--`.
fn header(source: &str) -> Vec<&str> {
    source.lines().map_while(|line| line.strip_prefix("--")).map(str::trim).collect()
}

/// The names that a `KEYS` line gives, up to a bracket; `none` for none.
fn key_names(line: &str) -> Vec<&str> {
    let names = line.trim_start_matches("KEYS").split('(').next().unwrap_or_default();
    names.split_whitespace().filter(|name| *name != "none").collect()
}

/// What is wrong with a script's header.
fn header_findings(contract: &Contract, source: &str) -> Vec<Finding> {
    let lines = header(source);
    let mut found = Vec::new();
    let mut tell = |problem: String| found.push(Finding::new(contract.name, 1, problem));
    let opening = format!("{}: ", contract.name);
    if !lines.first().is_some_and(|line| line.len() > opening.len() && line.starts_with(&opening)) {
        tell(format!("the header must open with `-- {opening}` and what it does"));
    }
    for part in ["Invariant:", "KEYS", "ARGV", "REPLY", "ERROR"] {
        let starts = |line: &&&str| {
            line.strip_prefix(part)
                .is_some_and(|rest| rest.starts_with(char::is_whitespace) && !rest.trim().is_empty())
        };
        match lines.iter().filter(starts).count() {
            1 => {}
            n => tell(format!("the header must have one line `-- {part} ...`, it has {n}")),
        }
    }
    if let Some(line) = lines.iter().find(|line| line.starts_with("KEYS")) {
        let names = key_names(line);
        if names != contract.keys {
            tell(format!("the header's keys are {names:?}, the table's are {:?}", contract.keys));
        }
    }
    found
}

#[test]
fn every_script_loads() {
    for contract in CONTRACTS {
        let script = load(contract.name).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(script.sha1.len(), 40);
    }
}

#[test]
fn every_header_keeps_its_contract() {
    let found: Vec<_> = CONTRACTS
        .iter()
        .flat_map(|contract| header_findings(contract, file(contract.name).unwrap_or_default()))
        .collect();
    assert!(found.is_empty(), "\n{}", told(&found));
}

#[test]
fn a_wrong_header_is_found() {
    let contract = Contract { name: "x", keys: &["a", "b..."] };
    let good = "-- x: does.\n-- Invariant: holds.\n-- KEYS  a  b...  (why)\n-- ARGV  none\n-- REPLY 1\n-- ERROR NONE\nreturn 1";
    assert_eq!(header_findings(&contract, good), []);
    for (from, to) in [
        ("x: does.", "y: does."),
        ("-- Invariant: holds.\n", ""),
        ("a  b...", "a"),
        ("a  b...", "b...  a"),
        ("ARGV  none", "ARGV"),
        ("-- REPLY 1\n", "local x\n-- REPLY 1\n"),
        ("-- ERROR NONE", "-- ERROR NONE\n-- ERROR OTHER"),
    ] {
        assert!(!header_findings(&contract, &good.replace(from, to)).is_empty(), "{from} -> {to}");
    }
}

#[test]
fn no_file_breaks_a_rule() {
    let found: Vec<_> = FILES.iter().flat_map(|(name, text)| rules::findings(name, text)).collect();
    assert!(found.is_empty(), "\n{}", told(&found));
}

#[test]
fn no_script_touches_an_unknown_global() {
    let mut found = Vec::new();
    for contract in CONTRACTS {
        let expanded = expand(contract.name, file).unwrap_or_else(|error| panic!("{error}"));
        found.extend(rules::global_findings(contract.name, &expanded));
    }
    assert!(found.is_empty(), "\n{}", told(&found));
}

#[test]
fn time_is_read_in_one_file_once() {
    let calls: Vec<_> =
        FILES.iter().map(|(name, text)| (*name, rules::time_calls(text))).filter(|(_, n)| *n > 0).collect();
    assert!(matches!(calls[..], [(name, 1)] if name.starts_with("lib/")), "{calls:?}");
}

#[test]
fn the_table_lists_the_folder_and_nothing_is_left_over() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("lua");
    let mut there = BTreeSet::new();
    for (folder, prefix) in [(root.clone(), ""), (root.join("lib"), "lib/")] {
        for entry in fs::read_dir(folder).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if let Some(stem) = name.strip_suffix(".lua") {
                there.insert(format!("{prefix}{stem}"));
            }
        }
    }
    let listed: BTreeSet<String> = FILES.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(listed, there, "FILES in scripts.rs and the folder lua/ differ");

    let scripts: BTreeSet<String> = CONTRACTS.iter().map(|contract| contract.name.to_owned()).collect();
    let top: BTreeSet<String> = there.iter().filter(|name| !name.contains('/')).cloned().collect();
    assert_eq!(scripts, top, "the table of scripts and the files in lua/ differ");

    let sources = FILES.iter().flat_map(|(_, text)| text.lines());
    let named: BTreeSet<String> = sources
        .filter_map(|line| line.strip_prefix("-- @include ").or_else(|| line.strip_prefix("-- @late ")))
        .map(|name| name.trim().to_owned())
        .collect();
    let libraries: BTreeSet<String> = there.iter().filter(|name| name.contains('/')).cloned().collect();
    assert_eq!(named, libraries, "includes that are named and files in lua/lib/ differ");
}
