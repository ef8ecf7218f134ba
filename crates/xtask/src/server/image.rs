//! A server out of an image. Tests start and kill their server as a program, so the image is not run: its files are
//! unpacked, and a script starts the program with the libraries it came with.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use crate::{
    command::{Run, Trouble},
    console::Console,
    docker,
    workspace::Workspace,
};

/// Images that carry a server and the GNU C library, best first. One that the engine has wins over one to pull.
const IMAGES: [&str; 2] = ["redis:7-bookworm", "valkey/valkey:8-bookworm"];

/// Names an image to use instead.
const VARIABLE: &str = "BURSAR_TEST_REDIS_IMAGE";

/// Where programs are in images.
const PROGRAMS: [&str; 4] = [
    "usr/local/bin/redis-server",
    "usr/local/bin/valkey-server",
    "usr/bin/redis-server",
    "usr/bin/valkey-server",
];

/// Where a loader may be, by machine.
const LOADERS: [&str; 2] = ["lib64/ld-linux-x86-64.so.2", "lib/ld-linux-aarch64.so.1"];

/// Unpacks an image; the path of the script that starts its server.
pub(super) fn unpack(workspace: &Workspace, console: &Console) -> Result<PathBuf, String> {
    docker::engine(console).map_err(why)?;
    let image = choose(console)?;
    let folder = workspace.tools().join("redis-image");
    // What is there may be of another image, or half of one.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).map_err(|error| format!("making {}: {error}", folder.display()))?;
    let docker = |words: &[&str]| Run::new(console, "docker").args(words).capture().map_err(why);
    // The command is never run; an image without one asks for some.
    let container = docker(&["create", &image, "redis-server"])?;
    let archive = folder.join("image.tar").display().to_string();
    let exported = docker(&["export", "--output", &archive, &container]);
    let removed = docker(&["rm", "--force", &container]);
    exported.and(removed)?;
    let tar =
        Run::new(console, "tar").args(["--extract", "--no-same-owner", "--file", &archive, "--directory"]);
    tar.arg(&folder).args(["--exclude", "dev/*", "--exclude", "proc/*"]).stream().map_err(why)?;
    let _ = fs::remove_file(&archive);
    script(&folder)
}

/// An image that is there, or can be pulled.
fn choose(console: &Console) -> Result<String, String> {
    if let Ok(image) = std::env::var(VARIABLE) {
        return Ok(image);
    }
    let has = |image: &&&str| Run::new(console, "docker").args(["image", "inspect", image]).succeeds();
    if let Some(image) = IMAGES.iter().find(has) {
        return Ok((*image).to_owned());
    }
    let pull = |image: &&&str| Run::new(console, "docker").args(["pull", "--quiet", image]).stream().is_ok();
    let pulled = IMAGES.iter().find(pull).map(|image| (*image).to_owned());
    pulled.ok_or_else(|| {
        format!("the Docker engine has none of the images {}, and can pull none", IMAGES.join(", "))
    })
}

/// Writes the script that starts the unpacked server with its own loader and libraries.
fn script(folder: &Path) -> Result<PathBuf, String> {
    let first = |paths: &[&str]| paths.iter().map(|path| folder.join(path)).find(|path| path.is_file());
    let program = first(&PROGRAMS).ok_or("the image has no server where one is looked for")?;
    let loader = first(&LOADERS).ok_or("the image has no loader of the GNU C library")?;
    let machine = std::env::consts::ARCH;
    let libraries = ["lib", "usr/lib", "usr/local/lib", "lib64"]
        .into_iter()
        .flat_map(|place| [folder.join(place).join(format!("{machine}-linux-gnu")), folder.join(place)])
        .filter(|path| path.is_dir())
        .map(|path| path.display().to_string())
        .collect::<Vec<_>>()
        .join(":");
    // `exec`: the server takes the script's place, so that whoever ends the one ends the other.
    let text = format!(
        "#!/bin/sh\nexec '{}' --library-path '{libraries}' '{}' \"$@\"\n",
        loader.display(),
        program.display()
    );
    let script = folder.join("server");
    fs::write(&script, text)
        .and_then(|()| fs::set_permissions(&script, fs::Permissions::from_mode(0o755)))
        .map_err(|error| format!("writing {}: {error}", script.display()))?;
    Ok(script)
}

fn why(trouble: Trouble) -> String {
    match trouble {
        Trouble::Failed(why) | Trouble::Missing(why) => why,
    }
}
