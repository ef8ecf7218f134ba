//! Images with an empty base: Bursar's, and for tests its store's.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use crate::{
    cli::ImageArgs,
    command::{Run, Trouble, on_path},
    console::Console,
    docker,
    workspace::Workspace,
};

/// What the clients of Redis and Valkey are called.
const CLIENTS: [&str; 2] = ["redis-cli", "valkey-cli"];

/// `cargo xtask image`.
pub(crate) fn run(workspace: &Workspace, console: &Console, args: &ImageArgs) -> Result<(), Trouble> {
    docker::engine(console)?;
    let build = if args.dev { Build::Dev(&[]) } else { Build::Release };
    pack_bursar(workspace, console, &build, &args.tag)?;
    let size = ["image", "inspect", "--format", "{{.Size}}", &args.tag];
    let bytes = Run::new(console, "docker").args(size).capture()?;
    console.note(&format!("{}: {bytes} bytes", args.tag));
    Ok(())
}

/// How the binary is built.
enum Build<'a> {
    Release,
    /// With the features that Cargo is told of elsewhere, so that dependencies are those of other steps.
    Dev(&'a [&'a str]),
}

/// Builds the binary so that it needs no shared library, and packs it.
fn pack_bursar(workspace: &Workspace, console: &Console, build: &Build, tag: &str) -> Result<(), Trouble> {
    let binary = match build {
        Build::Release => build_release(workspace, console)?,
        Build::Dev(features) => build_dev(workspace, console, features)?,
    };
    // The engine is sent this folder and nothing else.
    let context = empty(workspace.scratch("image-bursar")?)?;
    copy(&binary, &context.join("bursar"))?;
    docker_build(workspace, console, "deploy/Dockerfile.scratch", &context, tag)
}

/// The binary as it is released, but that it needs no shared library.
fn build_release(workspace: &Workspace, console: &Console) -> Result<PathBuf, Trouble> {
    let rustc = Run::new(console, "rustc").arg("-vV").capture()?;
    let machine = rustc.lines().find_map(|line| line.strip_prefix("host: "));
    let machine = machine.ok_or_else(|| Trouble::Failed("`rustc -vV` names no host".to_owned()))?;
    // With --target these flags are not for build scripts and macros, which have to be dynamic.
    let mut flags = std::env::var("RUSTFLAGS").unwrap_or_default();
    flags.push_str(" -C target-feature=+crt-static -C strip=symbols");
    let build = ["build", "--package", "bursar", "--target", machine, "--release"];
    workspace.cargo(console).args(build).env("RUSTFLAGS", flags.trim()).stream()?;
    Ok(workspace.target().join(machine).join("release/bursar"))
}

/// One that is sooner built, and needs no shared library either: of the dependencies that the tests have. What is built
/// together decides on their features; a test of the package that the binary is in has it built.
fn build_dev(workspace: &Workspace, console: &Console, features: &[&str]) -> Result<PathBuf, Trouble> {
    let build = ["test", "--workspace", "--no-run", "--test", "serve"];
    let cargo = workspace.cargo(console).args(build).args(features);
    cargo.env("RUSTC_WORKSPACE_WRAPPER", workspace.path("crates/xtask/link-static")).stream()?;
    Ok(workspace.target().join("debug/bursar"))
}

/// Packs a server of this machine, and its client if there is one, with the libraries that they need.
fn pack_redis(workspace: &Workspace, console: &Console, server: &Path, tag: &str) -> Result<(), Trouble> {
    let context = empty(workspace.scratch("image-redis")?)?;
    let root = context.join("root");
    let client = on_path(CLIENTS).map(|client| (client, "usr/bin/redis-cli"));
    for (program, place) in client.into_iter().chain([(server.to_owned(), "usr/bin/redis-server")]) {
        // It fails where there are none: a static program.
        let libraries = Run::new(console, "ldd").arg(&program).capture().unwrap_or_default();
        // `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)`, and the loader: `/lib64/ld-linux-x86-64.so.2 (0x…)`.
        for word in libraries.split_whitespace().filter(|word| word.starts_with('/')) {
            copy(Path::new(word), &root.join(word.trim_start_matches('/')))?;
        }
        copy(&program, &root.join(place))?;
    }
    docker_build(workspace, console, "tests/Dockerfile.redis", &context, tag)
}

fn docker_build(
    workspace: &Workspace,
    console: &Console,
    recipe: &str,
    context: &Path,
    tag: &str,
) -> Result<(), Trouble> {
    let build = Run::new(console, "docker").args(["build", "--quiet", "--tag", tag, "--file"]);
    build.arg(workspace.path(recipe)).arg(context).stream()
}

/// The images of the tests that use containers, tagged as nobody else's.
#[derive(Debug, Clone)]
pub(crate) struct Images {
    bursar: String,
    redis: String,
}

impl Images {
    /// Builds them, with these features; `server` is the program of Redis or Valkey.
    pub(crate) fn build(
        workspace: &Workspace,
        console: &Console,
        server: &Path,
        features: &[&str],
    ) -> Result<Self, Trouble> {
        let tag = std::process::id();
        let images = Self { bursar: format!("bursar-test:{tag}"), redis: format!("bursar-test-redis:{tag}") };
        let built = pack_bursar(workspace, console, &Build::Dev(features), &images.bursar)
            .and_then(|()| pack_redis(workspace, console, server, &images.redis));
        if built.is_err() {
            images.remove(console);
        }
        built.map(|()| images)
    }

    /// Whether the server's image has the client that the compose file asks its health with.
    pub(crate) fn has_redis_client() -> Result<(), Trouble> {
        match on_path(CLIENTS) {
            Some(_) => Ok(()),
            None => Err(Trouble::Missing(format!("no {} on the PATH", CLIENTS.join(" or ")))),
        }
    }

    /// How the tests are told.
    pub(crate) fn variables(&self) -> Vec<(&'static str, &OsStr)> {
        vec![("BURSAR_TEST_IMAGE", self.bursar.as_ref()), ("BURSAR_TEST_REDIS_IMAGE", self.redis.as_ref())]
    }

    /// Removes them. One that was not built is not missed.
    pub(crate) fn remove(&self, console: &Console) {
        for image in [&self.bursar, &self.redis] {
            let _ = Run::new(console, "docker").args(["image", "rm", "--force", image]).capture();
        }
    }
}

fn empty(folder: PathBuf) -> Result<PathBuf, Trouble> {
    fs::remove_dir_all(&folder)
        .and_then(|()| fs::create_dir_all(&folder))
        .map_err(|error| Trouble::Failed(format!("emptying {}: {error}", folder.display())))?;
    Ok(folder)
}

/// Copies a file, links followed, and makes the folders it lies in.
fn copy(from: &Path, to: &Path) -> Result<(), Trouble> {
    let made = to.parent().map_or(Ok(()), fs::create_dir_all);
    made.and_then(|()| fs::copy(from, to).map(drop))
        .map_err(|error| Trouble::Failed(format!("copying {} to {}: {error}", from.display(), to.display())))
}
