//! The Lua scripts of the ledger, as texts.

use std::{collections::BTreeMap, fs, io, path::Path};

use crate::{command::Trouble, workspace::Workspace};

/// Where they are.
pub(crate) const FOLDER: &str = "crates/ledger/lua";

/// All files by their names under `lua/`, without `.lua`.
#[derive(Debug, Clone)]
pub(crate) struct Scripts {
    files: BTreeMap<String, String>,
}

impl Scripts {
    /// As they are now. What is done with them later is not disturbed by who edits them meanwhile.
    pub(crate) fn read(workspace: &Workspace) -> Result<Self, Trouble> {
        let mut files = BTreeMap::new();
        for (folder, prefix) in [(FOLDER.to_owned(), ""), (format!("{FOLDER}/lib"), "lib/")] {
            for path in workspace.files(&folder, ".lua")? {
                let text = fs::read_to_string(&path).map_err(|error| trouble(&path, &error))?;
                let stem = path.file_stem().unwrap_or_default().to_string_lossy();
                files.insert(format!("{prefix}{stem}"), text);
            }
        }
        Ok(Self { files })
    }

    /// One of them.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.files.get(name).map(String::as_str)
    }

    /// The same with another text of one of them.
    pub(crate) fn with(&self, name: &str, text: String) -> Self {
        let mut files = self.files.clone();
        files.insert(name.to_owned(), text);
        Self { files }
    }

    /// Each with its name, in the order of the names.
    pub(crate) fn each(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|(name, text)| (name.as_str(), text.as_str()))
    }

    /// Writes them under `folder`, in place of what is there.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), Trouble> {
        if folder.exists() {
            fs::remove_dir_all(folder).map_err(|error| trouble(folder, &error))?;
        }
        fs::create_dir_all(folder.join("lib")).map_err(|error| trouble(folder, &error))?;
        for (name, text) in &self.files {
            let path = folder.join(format!("{name}.lua"));
            fs::write(&path, text).map_err(|error| trouble(&path, &error))?;
        }
        Ok(())
    }
}

fn trouble(path: &Path, error: &io::Error) -> Trouble {
    Trouble::Failed(format!("{}: {error}", path.display()))
}
