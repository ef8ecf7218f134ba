//! The scripts, compiled into the binary, each with its key names.

use std::{fmt, sync::LazyLock};

#[cfg(test)]
use crate::loader::LoadError;
use crate::loader::expand_apart;

/// A script, ready to send: includes expanded.
#[derive(Clone)]
pub struct Script {
    /// Its name, the file's without `.lua`.
    pub name: &'static str,
    /// Its whole source, at most some hundred kilobytes.
    pub source: String,
    /// The SHA-1 of `source`, 40 lower-case hexadecimal digits: what EVALSHA names.
    pub sha1: String,
    /// Where in `source` its own code begins, in bytes: what stands before defines, and looks at no key and no argument.
    pub(crate) own_at: usize,
}

impl Script {
    /// A script from a source whose includes are expanded already.
    pub fn from_source(name: &'static str, source: String) -> Self {
        Self::apart(name, (source, 0))
    }

    /// As the loader put it together.
    fn apart(name: &'static str, (source, own_at): (String, usize)) -> Self {
        let sha1 = redis::Script::new(&source).get_hash().to_owned();
        Self { name, source, sha1, own_at }
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script").field("name", &self.name).field("sha1", &self.sha1).finish_non_exhaustive()
    }
}

/// What the caller of a script must hand over, beside the script's own header, which a test compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contract {
    /// The script's name.
    pub name: &'static str,
    /// Names of its keys in order; a last one that ends in `...` stands for none or more.
    pub keys: &'static [&'static str],
}

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../lua/", $name, ".lua")))),*]
    };
}

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident [$($key:literal),* $(,)?])*) => {
        /// Every script, with its key names.
        pub const CONTRACTS: &[Contract] =
            &[$(Contract { name: stringify!($name), keys: &[$($key),*] }),*];

        $($(#[$doc])*
        pub fn $name() -> &'static Script {
            static SCRIPT: LazyLock<Script> = LazyLock::new(|| embedded(stringify!($name)));
            &SCRIPT
        })*
    };
}

/// Every Lua file by its name under `lua/`; a test compares the list with the folder.
pub(crate) const FILES: &[(&str, &str)] = files![
    "commit",
    "put",
    "get",
    "knows",
    "delete",
    "pause",
    "resume",
    "recover",
    "index",
    "lib/adaptive",
    "lib/announce",
    "lib/args",
    "lib/bucket",
    "lib/callers",
    "lib/clock",
    "lib/concurrency",
    "lib/contenders",
    "lib/denial",
    "lib/evidence",
    "lib/fair",
    "lib/foreign",
    "lib/granting",
    "lib/hash",
    "lib/ladder",
    "lib/lease",
    "lib/life",
    "lib/limits",
    "lib/number",
    "lib/overdue",
    "lib/record",
    "lib/requests",
    "lib/pauses",
    "lib/phases",
    "lib/refusing",
    "lib/settling",
    "lib/slots",
    "lib/spec",
    "lib/usage",
    "lib/waiting",
    "lib/window",
];

scripts! {
    /// Settles, renews, grants.
    commit["spec", "state", "pause", "use", "wait", "asked0", "asked1", "lease..."]
    /// Declares a budget.
    put["spec", "state"]
    /// Reads a budget.
    get["spec", "state", "pause", "use", "wait"]
    /// Whether there is a budget.
    knows["spec"]
    /// Forgets a budget.
    delete["spec", "state", "pause", "use", "wait", "asked0", "asked1"]
    /// Stops all grants of a budget.
    pause["spec", "state", "pause"]
    /// Ends all pauses of a budget.
    resume["spec", "state", "pause"]
    /// Begins a budget anew of which the store knows less than a replica remembers.
    recover["spec", "state", "pause"]
    /// Keeps and lists the names of budgets.
    index["names"]
}

/// The text of a file by its name under `lua/`, without `.lua`.
pub(crate) fn file(name: &str) -> Option<&'static str> {
    FILES.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// Expands a script that is compiled in, whatever is in force.
#[cfg(test)]
pub(crate) fn load(name: &'static str) -> Result<Script, LoadError> {
    expand_apart(name, file).map(|parts| Script::apart(name, parts))
}

/// The text of a file of the scripts in force: of those that are compiled in, unless a test wants others.
fn file_in_force(name: &str) -> Option<&'static str> {
    #[cfg(feature = "testing")]
    if let Some(found) = crate::testing::lua_file(name) {
        return found;
    }
    file(name)
}

#[allow(
    clippy::expect_used,
    reason = "the files are compiled in, and the test `every_script_loads` expands each of them; a test's own may fail"
)]
fn embedded(name: &'static str) -> Script {
    let parts = expand_apart(name, file_in_force).expect("a script that is compiled in expands");
    Script::apart(name, parts)
}
