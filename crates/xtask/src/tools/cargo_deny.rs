//! cargo-deny, built from its source.

use std::path::PathBuf;

use crate::{
    command::{Run, Trouble},
    console::Console,
    workspace::Workspace,
};

const VERSION: &str = "0.20.2";

/// The path of cargo-deny: the one in `.tools/`, which is built first if it is missing or of another version.
pub(crate) fn cargo_deny(workspace: &Workspace, console: &Console) -> Result<PathBuf, Trouble> {
    let tools = workspace.tools();
    let program = tools.join("bin/cargo-deny");
    let version = Run::new(console, &program).arg("--version").capture();
    if version.is_ok_and(|version| version.ends_with(VERSION)) {
        return Ok(program);
    }
    console
        .note(&format!("cargo-deny {VERSION} is not in .tools/: building it, which takes some two minutes"));
    // It runs for seconds: what matters is how soon it is built.
    let built = Run::cargo(console)
        .folder(workspace.root())
        .args(["install", "cargo-deny", "--version", VERSION, "--locked", "--force", "--root"])
        .arg(&tools)
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
        .env("CARGO_TARGET_DIR", workspace.scratch("cargo-deny")?)
        .stream();
    match built {
        Ok(()) => Ok(program),
        Err(Trouble::Failed(why) | Trouble::Missing(why)) => {
            Err(Trouble::Missing(format!("cargo-deny cannot be installed: {why}")))
        }
    }
}
