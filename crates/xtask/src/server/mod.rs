//! Finding a Redis or Valkey server for the tests.

mod image;
mod package;

use std::path::PathBuf;

use clap::ValueEnum;

use crate::{
    command::{Run, Trouble, on_path},
    console::Console,
    workspace::Workspace,
};

/// What names the program to the tests.
pub(crate) const VARIABLE: &str = "BURSAR_TEST_REDIS_SERVER";

/// What the programs are called.
const NAMES: [&str; 2] = ["redis-server", "valkey-server"];

/// Where a server may come from, in the order in which they are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Source {
    /// The variable BURSAR_TEST_REDIS_SERVER.
    Variable,
    /// redis-server or valkey-server on the PATH.
    Path,
    /// Debian's package, installed by apt-get; for root.
    Apt,
    /// A Python wheel with the program inside, installed into .tools/.
    Wheel,
    /// An image that the Docker engine has or can pull, unpacked into .tools/.
    Docker,
}

impl Source {
    fn look(self, workspace: &Workspace, console: &Console) -> Result<PathBuf, String> {
        match self {
            Self::Variable => match std::env::var_os(VARIABLE) {
                Some(path) => Ok(path.into()),
                None => Err(format!("{VARIABLE} is not set")),
            },
            Self::Path => on_path(NAMES).ok_or_else(|| format!("no {} on the PATH", NAMES.join(" or "))),
            Self::Apt => package::apt(console),
            Self::Wheel => package::wheel(workspace, console),
            Self::Docker => image::unpack(workspace, console),
        }
    }

    fn described(self) -> &'static str {
        match self {
            Self::Variable => "named by BURSAR_TEST_REDIS_SERVER",
            Self::Path => "found on the PATH",
            Self::Apt => "installed by apt-get",
            Self::Wheel => "from a Python wheel",
            Self::Docker => "from an image of the Docker engine",
        }
    }
}

/// A server that the tests can start.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) program: PathBuf,
    /// What it is and where it came from, for people.
    pub(crate) described: String,
}

/// Finds a server, or installs one; `from`: there and nowhere else. It must run, whatever it came from.
pub(crate) fn find(
    workspace: &Workspace,
    console: &Console,
    from: Option<Source>,
) -> Result<Server, Trouble> {
    let sources = match &from {
        Some(source) => std::slice::from_ref(source),
        None => Source::value_variants(),
    };
    let mut tried = Vec::new();
    for source in sources {
        match source.look(workspace, console).and_then(|program| identify(console, *source, program)) {
            Ok(server) => return Ok(server),
            // Whoever names a server wants that one: falling back to another would test something else.
            Err(why) if *source == Source::Variable && std::env::var_os(VARIABLE).is_some() => {
                return Err(Trouble::Failed(why));
            }
            Err(why) => tried.push(why),
        }
    }
    Err(Trouble::Missing(format!("no Redis or Valkey server: {}", tried.join("; "))))
}

/// Every server that comes as a wheel and runs here, and why the others do not.
pub(crate) fn others(workspace: &Workspace, console: &Console) -> (Vec<Server>, Vec<String>) {
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for program in package::all_wheels(workspace, console) {
        match program.and_then(|program| identify(console, Source::Wheel, program)) {
            Ok(server) => found.push(server),
            Err(why) => missing.push(why),
        }
    }
    (found, missing)
}

/// Runs it once, to see that it can, and which version it is.
fn identify(console: &Console, source: Source, program: PathBuf) -> Result<Server, String> {
    let version = Run::new(console, &program).arg("--version").capture();
    let version = version.map_err(|trouble| match trouble {
        Trouble::Failed(why) | Trouble::Missing(why) => {
            format!("{}, {}: {why}", program.display(), source.described())
        }
    })?;
    let (name, rest) = version.split_once(" v=").unwrap_or((version.as_str(), ""));
    let number = rest.split_whitespace().next().unwrap_or_default();
    let described = format!("{name} {number}, {} ({})", source.described(), program.display());
    Ok(Server { program, described })
}

/// `cargo xtask server`.
pub(crate) fn print(workspace: &Workspace, console: &Console, from: Option<Source>) -> Result<(), Trouble> {
    let server = find(workspace, &Console::new(true), from)?;
    Console::new(true).note(&server.described);
    console.result(&server.program.display().to_string());
    Ok(())
}
