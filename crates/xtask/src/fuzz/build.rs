//! Building the targets, with the project's own crates instrumented.

use std::path::PathBuf;

use super::CRATE;
use crate::{
    command::{Trouble, on_path},
    console::Console,
    json,
    workspace::Workspace,
};

/// Builds the program and says where it is.
///
/// The wrapper is for the crates of the workspace alone: dependencies stay as the tests have them and are not built once
/// more. Hence also the whole workspace, since what is built together decides on the features of dependencies.
pub(super) fn program(
    workspace: &Workspace,
    console: &Console,
    features: &[&str],
) -> Result<PathBuf, Trouble> {
    if std::env::var_os("CXX").is_none() && on_path(["c++", "g++", "clang++"]).is_none() {
        return Err(Trouble::Missing("libFuzzer takes a C++ compiler, and there is none".to_owned()));
    }
    let messages = workspace
        .cargo(console)
        .env("RUSTC_WORKSPACE_WRAPPER", workspace.path(CRATE).join("instrument"))
        .args(["test", "--workspace", "--test", "fuzz", "--features", "bursar-fuzz/libfuzzer"])
        .args(features)
        .args(["--no-run", "--message-format", "json-render-diagnostics"])
        .read()?;
    let found = messages.lines().find_map(executable);
    found.ok_or_else(|| Trouble::Failed("Cargo built the targets, but does not say where".to_owned()))
}

/// The path of the program that a line of Cargo's is about, if it is that of the targets.
fn executable(line: &str) -> Option<PathBuf> {
    let source = json::field(line, "src_path")?;
    source.ends_with("crates/fuzz/tests/fuzz.rs").then(|| json::field(line, "executable"))?.map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_of_the_targets_is_found_among_what_was_built() {
        let of = |source: &str, executable: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","target":{{"src_path":"/w/{source}"}},"executable":{executable}}}"#
            )
        };
        assert_eq!(executable(&of("crates/fuzz/tests/fuzz.rs", "null")), None);
        assert_eq!(executable(&of("tests/tests/replicas.rs", r#""/t/replicas-1""#)), None);
        let found = executable(&of("crates/fuzz/tests/fuzz.rs", r#""/t/fuzz-1""#));
        assert_eq!(found, Some("/t/fuzz-1".into()));
    }
}
