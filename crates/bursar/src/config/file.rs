//! Files become trees: TOML, or YAML where the name ends in `.yaml` or `.yml`.

use std::{path::Path, sync::Arc};

use toml::{
    Spanned,
    de::{DeString, DeTable, DeValue},
};

use super::{
    origin::{Origin, Problem},
    tree::{Entry, Node, Value},
    yaml::yaml,
};

/// The largest file that is read, in bytes.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// Reads a whole text file of at most [`MAX_BYTES`].
pub(crate) fn read_text(path: &Path) -> Result<String, String> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text))
        .map_err(|error| format!("cannot be read: {error}"))?;
    if text.len() as u64 > MAX_BYTES {
        return Err(format!("is larger than {MAX_BYTES} bytes"));
    }
    Ok(text)
}

/// Whether a file of this name is taken for YAML, which contains JSON.
pub(crate) fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|extension| {
        ["yaml", "yml", "json"].iter().any(|known| extension.eq_ignore_ascii_case(known))
    })
}

/// Reads a file into a tree. `stdin` is not read: a path is a file.
pub(crate) fn load(path: &Path) -> Result<Node, Problem> {
    let shown: Arc<Path> = path.into();
    let whole = |problem: String| {
        Problem::new(Origin::File { path: Arc::clone(&shown), line: 1, column: 1 }, "", problem)
    };
    let text = read_text(path).map_err(whole)?;
    read(&text, is_yaml(path), &shown)
}

/// Reads the text of a file into a tree.
pub(crate) fn read(text: &str, is_yaml: bool, path: &Arc<Path>) -> Result<Node, Problem> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if is_yaml { yaml(text, path) } else { toml(text, path) }
}

/// Line and column, from 1, of a byte of a text.
fn place(path: &Arc<Path>, text: &str, at: usize) -> Origin {
    let before = text.get(..at.min(text.len())).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Origin::File { path: Arc::clone(path), line, column }
}

/// A TOML document as a tree.
pub(crate) fn toml(text: &str, path: &Arc<Path>) -> Result<Node, Problem> {
    let origin = |at| place(path, text, at);
    let table = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        match error.span().and_then(|span| text.get(span)) {
            Some(key) if error.message() == TWICE => twice(text, key, at, origin(at)),
            _ => Problem::new(origin(at), "", error.message().replace('\n', "; ")),
        }
    })?;
    Ok(Node { origin: origin(0), value: toml_table(table.get_ref(), &origin)? })
}

/// What the library says of a key that is there twice.
const TWICE: &str = "duplicate key";

/// A key that is there twice, the second time at the byte `at`. Its path is that of the nearest of its name before it.
fn twice(text: &str, key: &str, at: usize, origin: Origin) -> Problem {
    let key = key.trim_matches(['"', '\'']);
    let (table, _) = DeTable::parse_recoverable(text);
    let mut first = (0, key.to_owned());
    for (name, value) in table.get_ref() {
        nearest(name, value.get_ref(), "", (key, at), &mut first);
    }
    Problem::new(origin, first.1, format!("the key {key} is there twice"))
}

fn nearest(
    name: &Spanned<DeString<'_>>,
    value: &DeValue<'_>,
    field: &str,
    (key, at): (&str, usize),
    first: &mut (usize, String),
) {
    let path =
        if field.is_empty() { name.get_ref().to_string() } else { format!("{field}.{}", name.get_ref()) };
    let start = name.span().start;
    if name.get_ref() == key && (first.0..at).contains(&start) {
        *first = (start, path.clone());
    }
    let inside = |table: &DeTable<'_>, path: &str, first: &mut (usize, String)| {
        table.iter().for_each(|(name, value)| nearest(name, value.get_ref(), path, (key, at), first));
    };
    match value {
        DeValue::Table(table) => inside(table, &path, first),
        DeValue::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                if let DeValue::Table(table) = item.get_ref() {
                    inside(table, &format!("{path}[{index}]"), first);
                }
            }
        }
        _ => {}
    }
}

/// One TOML value, as a flag or a variable may hold it; all of it is from `origin`.
pub(crate) fn toml_value(text: &str, origin: &Origin) -> Result<Node, Problem> {
    let value = DeValue::parse(text)
        .map_err(|error| Problem::new(origin.clone(), "", error.message().replace('\n', "; ")))?;
    Ok(Node { origin: origin.clone(), value: toml_tree(value.get_ref(), &|_| origin.clone(), 0)? })
}

fn toml_table(table: &DeTable<'_>, origin: &dyn Fn(usize) -> Origin) -> Result<Value, Problem> {
    let entries = table.iter().map(|(key, value)| {
        let at = origin(key.span().start);
        // A table of several headers begins at its first; that of its key is what a reader looks for.
        let start = match value.get_ref() {
            DeValue::Table(_) | DeValue::Array(_) => value.span().start.max(key.span().start),
            _ => value.span().start,
        };
        let node = Node { origin: origin(start), value: toml_tree(value.get_ref(), origin, start)? };
        Ok(Entry { key: key.get_ref().to_string(), origin: at, node })
    });
    Ok(Value::Map(entries.collect::<Result<_, _>>()?))
}

fn toml_tree(value: &DeValue<'_>, origin: &dyn Fn(usize) -> Origin, at: usize) -> Result<Value, Problem> {
    Ok(match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => {
            let value = i128::from_str_radix(number.as_str(), number.radix());
            Value::Int(value.map_err(|_| Problem::new(origin(at), "", "this number is too large"))?)
        }
        DeValue::Float(number) => {
            let value = number.as_str().parse();
            Value::Float(value.map_err(|_| Problem::new(origin(at), "", "this is no number"))?)
        }
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Datetime(value) => Value::Text(value.to_string()),
        DeValue::Array(items) => {
            let items = items.iter().map(|item| {
                let start = item.span().start;
                Ok(Node { origin: origin(start), value: toml_tree(item.get_ref(), origin, start)? })
            });
            Value::List(items.collect::<Result<_, _>>()?)
        }
        DeValue::Table(table) => toml_table(table, origin)?,
    })
}
