//! Replays every input that was kept, and every seed, through its target: no fuzzer is needed for that.

#![allow(clippy::unwrap_used, clippy::panic, reason = "what fails in a test's helper fails the test")]

use std::{collections::BTreeSet, fs, panic, path::Path};

use bursar_fuzz::{TARGETS, Target, seeds};

/// The most inputs that a target keeps, and the longest of them in bytes: a corpus is for reaching code, not for keeping
/// all that ever reached it.
const MOST: (usize, usize) = (200, 16 * 1024);

fn replay(target: &Target, what: &str, input: &[u8]) -> Result<(), String> {
    panic::catch_unwind(|| (target.run)(input)).map_err(|_| format!("{}: {what}", target.name))
}

#[test]
fn every_kept_input_and_every_seed_holds() {
    let mut failures = Vec::new();
    let mut count = 0;
    for target in &TARGETS {
        let mut kept: Vec<_> = fs::read_dir(target.corpus())
            .unwrap_or_else(|error| panic!("{} has no corpus: {error}", target.name))
            .map(|entry| entry.unwrap().path())
            .collect();
        kept.sort();
        assert!((1..=MOST.0).contains(&kept.len()), "{} keeps {} inputs", target.name, kept.len());
        for path in kept {
            let input = fs::read(&path).unwrap();
            assert!(input.len() <= MOST.1, "{} has {} bytes", path.display(), input.len());
            failures.extend(replay(target, &path.display().to_string(), &input).err());
            count += 1;
        }
        for (index, seed) in seeds(target.name).iter().enumerate() {
            failures.extend(replay(target, &format!("seed {index}"), seed).err());
            count += 1;
        }
    }
    assert!(failures.is_empty(), "{} of {count} do not hold:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn corpora_and_dictionaries_are_of_targets() {
    let names: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(names.len(), TARGETS.len(), "two targets of one name");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    for inside in ["corpus", "dictionaries"] {
        for entry in fs::read_dir(folder.join(inside)).unwrap() {
            let path = entry.unwrap().path();
            let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
            assert!(names.contains(&stem), "{} is of no target", path.display());
        }
    }
}
