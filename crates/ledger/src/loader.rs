//! Expands includes.
//!
//! `-- @include lib/limits`, alone on its line, stands for the file of that name. A file is expanded once, where it
//! is met first, depth first; later lines that name it expand to nothing. What the file includes goes in front of it.
//!
//! Of a file `lib/limits` that opens a table of its own name, `local limits = {`, that alone is seen outside; its other
//! local names end with it. A chunk has 200 at most; and the fewer of them are open, the sooner a server that defines
//! all of them at each call is done. The table has a place for each of its functions, `function limits.load(`, from the
//! first, so that it need not grow.
//!
//! `-- @late lib/bucket` stands for a function `late_bucket` that defines what the file defines and answers its table. A
//! server runs a script's whole text at each call, so what few calls need is not to be defined by all of them. One script
//! includes a file either way, not both.

use std::collections::HashSet;

/// Files nest at most so deep; a chain of distinct files cannot be longer than there are files anyway.
const DEPTH_MAX: usize = 32;

/// Why a script could not be put together. The stack runs from the script to the file that is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// No file has this name.
    #[error("no file is named {}", stack.join(" > "))]
    Missing {
        /// Script first, the missing file last.
        stack: Vec<String>,
    },
    /// A file includes itself, directly or through others.
    #[error("the includes go in a circle: {}", stack.join(" > "))]
    Cycle {
        /// Script first, the file that came up again last.
        stack: Vec<String>,
    },
    /// An include line that names nothing, or includes nested deeper than 32.
    #[error("bad include on line {line} of {}", stack.join(" > "))]
    Malformed {
        /// Script first, the file with the line last.
        stack: Vec<String>,
        /// From 1.
        line: usize,
    },
}

/// The source of script `name` with its includes expanded. `read` gives a file's text by its name without `.lua`.
///
/// # Errors
/// A missing file, a cycle, a malformed line; each with the stack of includes.
pub fn expand<'a>(name: &str, read: impl Fn(&str) -> Option<&'a str>) -> Result<String, LoadError> {
    expand_apart(name, read).map(|(source, _)| source)
}

/// As [`expand`], and where in the source, in bytes, the script's own code begins: behind its last include.
///
/// # Errors
/// As [`expand`].
pub(crate) fn expand_apart<'a>(
    name: &str,
    read: impl Fn(&str) -> Option<&'a str>,
) -> Result<(String, usize), LoadError> {
    let mut expansion =
        Expansion { read, stack: Vec::new(), done: HashSet::new(), text: String::new(), own_at: 0 };
    expansion.file(name, false)?;
    Ok((expansion.text, expansion.own_at))
}

struct Expansion<F> {
    read: F,
    stack: Vec<String>,
    done: HashSet<String>,
    text: String,
    /// Where the text behind the last include of the outermost file begins.
    own_at: usize,
}

impl<'a, F: Fn(&str) -> Option<&'a str>> Expansion<F> {
    fn file(&mut self, name: &str, late: bool) -> Result<(), LoadError> {
        let circular = self.stack.iter().any(|open| open == name);
        self.stack.push(name.to_owned());
        if circular {
            return Err(LoadError::Cycle { stack: self.stack.clone() });
        }
        let Some(source) = (self.read)(name) else {
            return Err(LoadError::Missing { stack: self.stack.clone() });
        };
        let is_script = self.stack.len() == 1;
        // The text of a file that is included is put by until what it includes itself has been expanded.
        let mut own = String::new();
        for (number, line) in source.lines().enumerate() {
            let Some((include, is_late)) = include_of(line) else {
                let text = if is_script { &mut self.text } else { &mut own };
                text.push_str(line);
                text.push('\n');
                continue;
            };
            if include.is_empty() || include.contains(char::is_whitespace) || self.stack.len() >= DEPTH_MAX {
                return Err(LoadError::Malformed { stack: self.stack.clone(), line: number + 1 });
            }
            if !self.done.contains(include) {
                self.file(include, is_late)?;
            }
            if is_script {
                self.own_at = self.text.len();
            }
        }
        let table = name.rsplit('/').next().unwrap_or(name);
        let own = with_places(table, own);
        if late {
            self.text.push_str(&format!("local function late_{table}()\n{own}return {table}\nend\n"));
        } else {
            self.text.push_str(&apart(table, own));
        }
        self.stack.pop();
        self.done.insert(name.to_owned());
        Ok(())
    }
}

/// Where in a file's text `local <table> = {` begins a line, and where the brace has been opened.
fn opening(table: &str, own: &str) -> Option<(usize, usize)> {
    let opening = format!("local {table} = {{");
    let at = own.find(&opening).filter(|at| *at == 0 || own[..*at].ends_with('\n'))?;
    Some((at, at + opening.len()))
}

/// The text of a file whose table has a place for each of its functions from the first: one that grows costs more.
fn with_places(table: &str, own: String) -> String {
    let Some((_, opened)) = opening(table, &own) else { return own };
    let start = format!("function {table}.");
    let names = own.lines().filter_map(|line| line.strip_prefix(&start)?.split_once('('));
    let places: String = names.map(|(name, _)| format!("{name} = nil, ")).collect();
    format!("{}{places}{}", &own[..opened], &own[opened..])
}

/// The text of an included file, in a block that only its `table` outlives; as it is where it has none.
fn apart(table: &str, own: String) -> String {
    let Some((at, _)) = opening(table, &own) else { return own };
    let (before, after) = (&own[..at], &own[at + "local ".len()..]);
    format!("local {table}\ndo\n{before}{after}end\n")
}

/// What an include line names, and whether late; `None` for any other line.
fn include_of(line: &str) -> Option<(&str, bool)> {
    let mark = line.trim().strip_prefix("--")?.trim_start();
    let (rest, late) = match mark.strip_prefix("@include") {
        Some(rest) => (rest, false),
        None => (mark.strip_prefix("@late")?, true),
    };
    (rest.is_empty() || rest.starts_with(char::is_whitespace)).then(|| (rest.trim(), late))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(name: &str, files: &[(&str, &'static str)]) -> Result<String, LoadError> {
        expand(name, |wanted| files.iter().find(|(name, _)| *name == wanted).map(|(_, text)| *text))
    }

    #[test]
    fn includes_expand_once_depth_first() {
        let files = [
            ("commit", "-- head\n-- @include lib/a\n-- @include lib/b\nreturn 1"),
            ("lib/a", "-- @include lib/b\nlocal a = b"),
            ("lib/b", "local b = 1"),
        ];
        assert_eq!(load("commit", &files).unwrap(), "-- head\nlocal b = 1\nlocal a = b\nreturn 1\n");
    }

    #[test]
    fn of_a_file_that_opens_its_table_nothing_else_is_seen() {
        let files = [
            ("commit", "-- @include lib/a\nlocal a = {}\nreturn a"),
            (
                "lib/a",
                "-- head\nlocal N = 1\nlocal a = { n = N }\n-- @include lib/b\nfunction a.b()\n  return b\nend",
            ),
            ("lib/b", "local b = c\n-- local b = {"),
        ];
        let a = "local a\ndo\n-- head\nlocal N = 1\na = {b = nil,  n = N }\nfunction a.b()\n  return b\nend\nend\n";
        let wanted = format!("local b = c\n-- local b = {{\n{a}local a = {{}}\nreturn a\n");
        assert_eq!(load("commit", &files).unwrap(), wanted);
    }

    #[test]
    fn a_late_file_becomes_a_function_behind_what_it_includes() {
        let files = [
            ("commit", "-- @include lib/k\nreturn k"),
            ("lib/k", "-- @late lib/a\n-- @late lib/b\nlocal k = late_a()"),
            ("lib/a", "local a = {}\n-- @include lib/b\na.b = b"),
            ("lib/b", "local b = {}"),
        ];
        let late = "local function late_a()\nlocal a = {}\na.b = b\nreturn a\nend\n";
        let wanted = format!("local b\ndo\nb = {{}}\nend\n{late}local k = late_a()\nreturn k\n");
        assert_eq!(load("commit", &files).unwrap(), wanted);
    }

    #[test]
    fn a_scripts_own_code_begins_behind_its_last_include() {
        let files = [
            ("commit", "-- head\n-- @include lib/a\n-- @include lib/b\nreturn 1"),
            ("lib/a", "-- @include lib/b\nlocal a = b"),
            ("lib/b", "local b = 1"),
            ("alone", "return 2"),
        ];
        let read = |wanted: &str| files.iter().find(|(name, _)| *name == wanted).map(|(_, text)| *text);
        let (source, own_at) = expand_apart("commit", read).unwrap();
        assert_eq!(&source[own_at..], "return 1\n");
        assert_eq!(expand_apart("alone", read).unwrap().1, 0);
    }

    #[test]
    fn a_missing_file_shows_the_stack() {
        let files = [("commit", "-- @include lib/a"), ("lib/a", "-- @include lib/none")];
        let error = load("commit", &files).unwrap_err();
        assert_eq!(error.to_string(), "no file is named commit > lib/a > lib/none");
        assert_eq!(load("none", &files).unwrap_err().to_string(), "no file is named none");
    }

    #[test]
    fn a_cycle_shows_the_stack() {
        let files =
            [("s", "-- @include lib/a"), ("lib/a", "-- @include lib/b"), ("lib/b", "-- @include lib/a")];
        let error = load("s", &files).unwrap_err();
        assert_eq!(error.to_string(), "the includes go in a circle: s > lib/a > lib/b > lib/a");
        let own = load("s", &[("s", "--  @include  s ")]).unwrap_err();
        assert_eq!(own, LoadError::Cycle { stack: vec!["s".into(), "s".into()] });
    }

    #[test]
    fn a_malformed_line_is_told_and_prose_is_not_mistaken() {
        let error = load("s", &[("s", "local x\n-- @include")]).unwrap_err();
        assert_eq!(error.to_string(), "bad include on line 2 of s");
        assert!(load("s", &[("s", "-- @include a b")]).is_err());
        assert_eq!(load("s", &[("s", "-- see @include x\n-- @included")]).unwrap().lines().count(), 2);
    }

    #[test]
    fn nesting_is_bounded() {
        let names: Vec<String> = (0..40).map(|n| format!("f{n}")).collect();
        let texts: Vec<String> = (1..=40).map(|n| format!("-- @include f{n}")).collect();
        let read = |wanted: &str| names.iter().position(|name| name == wanted).map(|at| texts[at].as_str());
        assert!(matches!(expand("f0", read), Err(LoadError::Malformed { .. })));
    }
}
