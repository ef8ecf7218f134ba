//! The configuration: a file, the environment and flags, each over the one before, checked as a whole.

mod budgets;
mod collect;
mod de;
mod de_error;
mod file;
mod layers;
mod level;
mod origin;
mod settings;
mod store;
#[cfg(test)]
mod tests;
mod tls;
mod tree;
mod yaml;

use std::path::{Path, PathBuf};

use bursar_dialect::Profiles;
use bursar_quota::BudgetSpec;

pub(crate) use file::read_text;
pub(crate) use layers::FlagValue;
pub(crate) use level::targets as log_targets;
pub(crate) use origin::{Origin, Problem, Problems};
pub(crate) use settings::{Log, LogFormat, Role, Settings, Token};
pub(crate) use store::Store;
pub(crate) use tls::{PemError, ServerPem};
use tree::{Node, Value};

/// What a configuration is read from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sources {
    /// A TOML or YAML file; absent: none.
    pub(crate) file: Option<PathBuf>,
    /// Variables of the environment; those that are no settings are left alone.
    pub(crate) environment: Vec<(String, String)>,
    /// Flags, which win over all.
    pub(crate) flags: Vec<FlagValue>,
}

impl Sources {
    /// A file alone.
    pub(crate) fn file(path: &Path) -> Self {
        Self { file: Some(path.to_owned()), ..Self::default() }
    }
}

/// A configuration that was checked.
#[derive(Debug)]
pub(crate) struct Config {
    /// All but profiles and budgets.
    pub(crate) settings: Settings,
    /// The compiled-in profiles and the configuration's.
    pub(crate) profiles: Profiles,
    /// The budgets to declare.
    pub(crate) budgets: Vec<BudgetSpec>,
    /// Whether `budgets` were declared; otherwise they are those of a server that nothing is configured for.
    pub(crate) declared: bool,
    /// The folder that relative paths start from: the file's.
    pub(crate) folder: PathBuf,
    /// The section `listen`, for errors about files that it names. It holds no secret.
    listen: Node,
}

impl Config {
    /// Reads the files of `listen.tls`; absent: no TLS. An error names the file, and where it is configured.
    pub(crate) fn server_pem(&self) -> Result<Option<ServerPem>, PemError> {
        let tls = self.settings.listen.tls.as_ref();
        tls.map(|tls| ServerPem::read(tls, &self.folder, &self.listen)).transpose()
    }
}

/// Reads and checks a configuration; every problem that can be told apart is told.
pub(crate) fn load(sources: &Sources) -> Result<Config, Problems> {
    let mut root = match &sources.file {
        Some(path) => file::load(path)?,
        None => Node::empty(Origin::Nothing),
    };
    layers::environment(&mut root, &settings::SECTIONS, sources.environment.iter().cloned())?;
    layers::flags(&mut root, &sources.flags)?;
    check(&root, sources.file.as_deref())
}

/// Reads and checks a configuration as [`load`] does, from the text of a file.
#[cfg(feature = "fuzzing")]
pub(crate) fn load_text(text: &str, yaml: bool, path: &std::sync::Arc<Path>) -> Result<Config, Problems> {
    check(&file::read(text, yaml, path)?, Some(path))
}

/// Checks what was read, from `file` if there is one.
fn check(root: &Node, file: Option<&Path>) -> Result<Config, Problems> {
    let folder = file.and_then(Path::parent).unwrap_or(Path::new("")).to_owned();
    let mut problems = Vec::new();
    let mut settings = collect::each(root, "", &mut problems, |root| de::read::<Settings>(root, ""));
    let mistyped: Vec<_> = problems.iter().map(|problem| section(&problem.field).to_owned()).collect();
    let mut wrongs: Vec<_> = settings.iter().flat_map(Settings::wrongs).collect();
    // Keys of a server's section are bound each by itself. Elsewhere what was not read would make others look wrong.
    wrongs.retain(|(field, _)| section(field) == "server" || !mistyped.iter().any(|at| at == section(field)));
    let before = problems.len();
    let store = root.get("store").cloned().unwrap_or_else(|| Node::empty(Origin::Nothing));
    let store = collect::each(&store, "store", &mut problems, |section| Store::read(Some(section)));
    if let Some((store, of_store)) = store {
        settings.iter_mut().for_each(|settings| settings.store = store.clone());
        if problems.len() == before {
            wrongs.extend(of_store.into_iter().map(|(key, problem)| (format!("store.{key}"), problem)));
        }
    }
    for (field, problem) in wrongs {
        problems.push(Problem::new(root.locate(&field).clone(), field, problem));
    }
    let profiles = budgets::profiles(root.get("profiles"), &folder, &mut problems);
    // A file without budgets declares none: whoever wrote it puts them by other means.
    let declared = file.is_some() || root.get("budgets").is_some();
    let budgets = match root.get("budgets") {
        Some(node) => budgets::budgets(node, &profiles, &mut problems),
        None if declared => Vec::new(),
        None => budgets::unconfigured(&profiles),
    };
    match settings {
        Some(settings) if problems.is_empty() => {
            let listen = root.get("listen").cloned().unwrap_or_else(|| Node::empty(Origin::Nothing));
            Ok(Config { settings, profiles, budgets, declared, folder, listen })
        }
        _ => Err(Problems(problems)),
    }
}

/// The first step of a field.
fn section(field: &str) -> &str {
    field.split(['.', '[']).next().unwrap_or_default()
}

/// Reads one budget from a file of its own, TOML (JSON is read as YAML, which contains it) or YAML. `name`, where given,
/// is the budget's, whatever the file says.
pub(crate) fn load_budget(
    path: &Path,
    name: Option<&str>,
    profiles: &Profiles,
) -> Result<BudgetSpec, Problem> {
    let mut node = file::load(path)?;
    if let Some(name) = name {
        let origin = Origin::Flag("NAME".into());
        node.put(&["name"], Node { origin, value: Value::Text(name.to_owned()) });
    }
    budgets::budget(&node, "", profiles)
}
