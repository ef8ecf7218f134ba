//! The scripts from a folder, so that a check can break one and run the suite again without compiling it again; and what
//! of them a run reaches. Nothing of this is in a build without the feature `testing`.

use std::{
    collections::{BTreeSet, HashMap},
    fs::{self, File, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
    sync::{LazyLock, Mutex, PoisonError},
};

use mlua::{Function, Lua, Table};

use crate::scripts::FILES;

/// Names a folder that is laid out as `crates/ledger/lua/`: then the scripts are taken from it, not from the program. It
/// is read once a process; if a file is missing or another one is there, the first use of a script panics and says so.
pub const LUA_VARIABLE: &str = "BURSAR_LUA_DIR";

/// Names a file to which each probe that embedded scripts reach appends its number, a line a probe, once a process.
/// Probes stand only in files that were furnished with them: calls of `__hit(number)`, and of `__cond(number, value)`,
/// which answers the value and reaches `number` if it is true, `number + 1` if it is nil or false.
pub const PROBES_VARIABLE: &str = "BURSAR_LUA_PROBES";

static FOLDER: LazyLock<Option<HashMap<String, &'static str>>> =
    LazyLock::new(|| std::env::var_os(LUA_VARIABLE).map(|folder| read(Path::new(&folder))));

/// The text of a file by its name under `lua/`, without `.lua`, if scripts are taken from a folder: of a file that is not
/// there, `Some(None)`.
pub(crate) fn file(name: &str) -> Option<Option<&'static str>> {
    FOLDER.as_ref().map(|files| files.get(name).copied())
}

fn names_in(folder: &Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (inner, prefix) in [(folder.to_owned(), ""), (folder.join("lib"), "lib/")] {
        let entries =
            fs::read_dir(&inner).unwrap_or_else(|e| panic!("{LUA_VARIABLE}: {}: {e}", inner.display()));
        for entry in entries {
            let name = entry.expect("an entry of a folder").file_name();
            if let Some(stem) = name.to_string_lossy().strip_suffix(".lua") {
                names.insert(format!("{prefix}{stem}"));
            }
        }
    }
    names
}

fn read(folder: &Path) -> HashMap<String, &'static str> {
    let expected: BTreeSet<String> = FILES.iter().map(|(name, _)| (*name).to_owned()).collect();
    let there = names_in(folder);
    assert!(
        expected == there,
        "{LUA_VARIABLE}: the files in {} and those that are compiled in differ: {:?}",
        folder.display(),
        expected.symmetric_difference(&there).collect::<Vec<_>>()
    );
    let text = |name: &String| {
        let path = folder.join(format!("{name}.lua"));
        let text =
            fs::read_to_string(&path).unwrap_or_else(|e| panic!("{LUA_VARIABLE}: {}: {e}", path.display()));
        &*text.leak()
    };
    expected.iter().map(|name| (name.clone(), text(name))).collect()
}

/// What this process has reached, and where it is written.
struct Reached {
    file: File,
    numbers: BTreeSet<u64>,
}

static REACHED: LazyLock<Option<Mutex<Reached>>> = LazyLock::new(|| {
    let path = PathBuf::from(std::env::var_os(PROBES_VARIABLE)?);
    let file = OpenOptions::new().create(true).append(true).open(&path);
    let file = file.unwrap_or_else(|e| panic!("{PROBES_VARIABLE}: {}: {e}", path.display()));
    Some(Mutex::new(Reached { file, numbers: BTreeSet::new() }))
});

fn reach(reached: &Mutex<Reached>, number: u64) {
    let mut reached = reached.lock().unwrap_or_else(PoisonError::into_inner);
    if reached.numbers.insert(number) {
        // One write, appended: processes that share the file do not mix their lines.
        let line = format!("{number}\n");
        reached.file.write_all(line.as_bytes()).expect("the probes' file takes a line");
    }
}

/// Puts what probes call among a machine's globals, if the variable is set.
pub(crate) fn install_probes(lua: &Lua, globals: &Table) -> mlua::Result<()> {
    let Some(reached) = REACHED.as_ref() else { return Ok(()) };
    let first = lua.create_function(|_, number: u64| {
        reach(reached, number);
        Ok(())
    })?;
    // A machine tells each probe once; the rest of its calls stay in Lua.
    let (hit, cond): (Function, Function) = lua
        .load(
            "local first = ...
            local seen = {}
            local function hit(number)
              if not seen[number] then
                seen[number] = true
                first(number)
              end
            end
            local function cond(number, value)
              hit(value and number or number + 1)
              return value
            end
            return hit, cond",
        )
        .set_name("=probes")
        .call(first)?;
    globals.raw_set("__hit", hit)?;
    globals.raw_set("__cond", cond)
}
