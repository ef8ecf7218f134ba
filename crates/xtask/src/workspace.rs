//! Where things are, and what kind of machine this is.

use std::path::{Path, PathBuf};

use crate::{
    command::{Run, Trouble},
    console::Console,
};

/// The workspace that this program was built from.
#[derive(Debug, Clone)]
pub(crate) struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// The workspace around this crate.
    pub(crate) fn here() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new("."));
        Self { root: root.to_owned() }
    }

    /// Its top folder.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A file or folder of it.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// Where tools are installed; not part of the repository.
    pub(crate) fn tools(&self) -> PathBuf {
        self.path(".tools")
    }

    /// Where Cargo builds.
    pub(crate) fn target(&self) -> PathBuf {
        match std::env::var_os("CARGO_TARGET_DIR") {
            Some(folder) => self.root.join(folder),
            None => self.path("target"),
        }
    }

    /// A folder of our own under Cargo's, made if need be.
    pub(crate) fn scratch(&self, name: &str) -> Result<PathBuf, Trouble> {
        let folder = self.target().join("xtask").join(name);
        std::fs::create_dir_all(&folder)
            .map_err(|error| Trouble::Failed(format!("making {}: {error}", folder.display())))?;
        Ok(folder)
    }

    /// The files of a folder of the workspace whose names end like this, in order of their names.
    pub(crate) fn files(&self, folder: &str, end: &str) -> Result<Vec<PathBuf>, Trouble> {
        let folder = self.path(folder);
        let entries = std::fs::read_dir(&folder)
            .map_err(|error| Trouble::Failed(format!("reading {}: {error}", folder.display())))?;
        let mut files: Vec<_> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.is_file() && path.to_string_lossy().ends_with(end))
            .collect();
        files.sort();
        if files.is_empty() {
            return Err(Trouble::Failed(format!("{} has no file *{end}", folder.display())));
        }
        Ok(files)
    }

    /// Cargo, in this workspace.
    pub(crate) fn cargo(&self, console: &Console) -> Run {
        Run::cargo(console).folder(&self.root)
    }
}

/// Whether nothing may be left out here.
pub(crate) fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"))
}

/// Whether we may install packages.
pub(crate) fn is_root(console: &Console) -> bool {
    Run::new(console, "id").arg("-u").capture().is_ok_and(|id| id == "0")
}
