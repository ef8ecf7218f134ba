//! Running other programs.

use std::{
    ffi::OsStr,
    io::{self, BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
};

use crate::console::Console;

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It was tried and failed, or found something wrong.
    Failed(String),
    /// It could not be tried, for want of a program, a server, or an engine.
    Missing(String),
}

/// A program to run; what it says is passed on.
#[derive(Debug)]
pub(crate) struct Run {
    command: Command,
    console: Console,
}

impl Run {
    pub(crate) fn new(console: &Console, program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(program);
        command.stdin(Stdio::null());
        Self { command, console: *console }
    }

    /// Cargo, in an environment as if it had been called by hand. What `cargo run` sets for this program would reach
    /// build scripts that watch such variables, and everything behind them would be built anew.
    pub(crate) fn cargo(console: &Console) -> Self {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut run = Self::new(console, cargo);
        let ours = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"];
        for (name, _) in std::env::vars_os() {
            if ours.iter().any(|start| name.to_string_lossy().starts_with(start)) {
                run.command.env_remove(name);
            }
        }
        run
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    pub(crate) fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.command.args(args);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn folder(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// Runs it to its end, its output passed on.
    pub(crate) fn stream(mut self) -> Result<(), Trouble> {
        self.show();
        self.command.stdout(self.console.child_output());
        let status = self.spawn()?.wait().map_err(|error| self.broken(&error))?;
        self.judge(status)
    }

    /// The same, and `each` sees every line of its standard output.
    pub(crate) fn lines(mut self, mut each: impl FnMut(&str)) -> Result<(), Trouble> {
        self.show();
        self.command.stdout(Stdio::piped());
        let mut child = self.spawn()?;
        if let Some(output) = child.stdout.take() {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line);
                self.console.note(&line);
                each(&line);
            }
        }
        let status = child.wait().map_err(|error| self.broken(&error))?;
        self.judge(status)
    }

    /// Runs it quietly: its standard output, less white space around it. What it wrote to standard error is told when
    /// it fails.
    pub(crate) fn capture(mut self) -> Result<String, Trouble> {
        let output = self.command.output().map_err(|error| self.broken(&error))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
        }
        let errors = String::from_utf8_lossy(&output.stderr);
        let last = errors.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
        Err(Trouble::Failed(format!("`{}` failed ({}): {last}", self.text(), output.status)))
    }

    /// Runs it to its end: its standard output. What it writes to standard error is passed on.
    pub(crate) fn read(mut self) -> Result<String, Trouble> {
        self.show();
        self.command.stderr(Stdio::inherit());
        let output = self.command.output().map_err(|error| self.broken(&error))?;
        self.judge(output.status)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs it to its end, whatever that is; all that it says goes into a file.
    pub(crate) fn into_log(mut self, log: &Path) -> Result<ExitStatus, Trouble> {
        let file = std::fs::File::create(log).and_then(|file| Ok((file.try_clone()?, file)));
        let (errors, output) = file.map_err(|error| self.broken(&error))?;
        self.command.stdout(output).stderr(errors);
        self.command.status().map_err(|error| self.broken(&error))
    }

    /// Whether it can be run, and succeeds. Says nothing.
    pub(crate) fn succeeds(mut self) -> bool {
        self.command.stdout(Stdio::null()).stderr(Stdio::null());
        self.command.status().is_ok_and(|status| status.success())
    }

    fn spawn(&mut self) -> Result<Child, Trouble> {
        self.command.spawn().map_err(|error| self.broken(&error))
    }

    fn show(&self) {
        self.console.note(&format!("$ {}", self.text()));
    }

    fn text(&self) -> String {
        // Whoever calls us with Cargo has it on the PATH.
        let program = self.command.get_program();
        let program = if Path::new(program).ends_with("cargo") { "cargo".as_ref() } else { program };
        let words = std::iter::once(program).chain(self.command.get_args());
        words.map(quoted).collect::<Vec<_>>().join(" ")
    }

    fn broken(&self, error: &io::Error) -> Trouble {
        let text = format!("`{}`: {error}", self.text());
        if error.kind() == io::ErrorKind::NotFound { Trouble::Missing(text) } else { Trouble::Failed(text) }
    }

    fn judge(&self, status: ExitStatus) -> Result<(), Trouble> {
        if status.success() {
            return Ok(());
        }
        Err(Trouble::Failed(format!("`{}` failed ({status})", self.text())))
    }
}

/// A word as a shell would need it.
fn quoted(word: &OsStr) -> String {
    let text = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+#".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text.into_owned() } else { format!("'{text}'") }
}

/// The first of these programs that the `PATH` has.
pub(crate) fn on_path<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<std::path::PathBuf> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = std::env::split_paths(&paths).collect();
    names
        .into_iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
        .find(|path| path.is_file())
}
