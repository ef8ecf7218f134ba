//! Keeping what reached new code.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::engine::{Engine, empty};
use crate::{command::Trouble, console::Console};

/// The most nameless inputs that a target keeps, the shortest of them.
const MOST: usize = 120;

/// Whether libFuzzer named the input, after its digest. What a person named stays.
fn nameless(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.len() == 40 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn inputs(folder: &Path) -> io::Result<Vec<PathBuf>> {
    fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect()
}

/// Of the nameless inputs, kept ones and new ones, keeps those that reach what seeds and named ones do not.
pub(super) fn keep(engine: &Engine, console: &Console, target: &str) -> Result<(), Trouble> {
    let place = engine.place(target);
    let merged = place.new.with_file_name("merged");
    empty(&merged)?;
    let failed = |error: io::Error| Trouble::Failed(format!("the corpus of {target}: {error}"));
    let kept = inputs(&place.corpus).map_err(failed)?;
    let (nameless, named): (Vec<_>, Vec<_>) = kept.into_iter().partition(|path| nameless(path));
    let seeds = inputs(&place.seeds).map_err(failed)?;
    for path in named.iter().chain(&seeds) {
        fs::copy(path, merged.join(path.file_name().unwrap_or_default())).map_err(failed)?;
    }
    let log = place.new.with_file_name("merge-log");
    let merge = engine.program(target).arg("-set_cover_merge=1");
    let status = merge.args([&merged, &place.corpus, &place.new]).into_log(&log)?;
    if !status.success() {
        return Err(Trouble::Failed(format!("merging the corpus of {target}: see {}", log.display())));
    }
    nameless.iter().try_for_each(fs::remove_file).map_err(failed)?;
    let mut merged = inputs(&merged).map_err(failed)?;
    merged.retain(|path| self::nameless(path));
    merged.sort_by_cached_key(|path| (fs::metadata(path).map_or(u64::MAX, |file| file.len()), path.clone()));
    merged.truncate(MOST);
    for path in &merged {
        fs::copy(path, place.corpus.join(path.file_name().unwrap_or_default())).map_err(failed)?;
    }
    console.note(&format!("{target:<12} keeps {} inputs, was {}", merged.len(), nameless.len()));
    Ok(())
}
