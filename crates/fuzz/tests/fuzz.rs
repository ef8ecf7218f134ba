//! libFuzzer around one target: `cargo xtask fuzz` builds and starts it.

#![no_main]

use std::{fs, path::Path, sync::OnceLock};

use bursar_fuzz::{Target, seeds, target};
use libfuzzer_sys::fuzz_target;

/// Names the target.
const TARGET: &str = "BURSAR_FUZZ_TARGET";

/// The folder that the target's seeds are written to before it starts.
const SEEDS: &str = "BURSAR_FUZZ_SEEDS";

static CHOSEN: OnceLock<Target> = OnceLock::new();

fuzz_target!(
    init: {
        let name = std::env::var(TARGET).unwrap_or_default();
        let target = target(&name).unwrap_or_else(|| panic!("{TARGET}={name:?} names no target"));
        if let Some(folder) = std::env::var_os(SEEDS) {
            for (index, seed) in seeds(&name).iter().enumerate() {
                fs::write(Path::new(&folder).join(format!("seed-{index:04}")), seed).expect("the folder is there");
            }
        }
        let _ = CHOSEN.set(target);
    },
    |data: &[u8]| {
        if let Some(target) = CHOSEN.get() {
            (target.run)(data);
        }
    }
);
