//! The table of mutants. It is TOML, of which we read what it needs: `[[mutant]]`, and keys whose values are strings
//! without escapes: `'...'`, `"..."`, or lines between `'''`. A test of the ledger reads it as what it is.

use std::collections::BTreeMap;

/// One rule broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mutant {
    pub(crate) name: String,
    /// The rule, in words.
    pub(crate) breaks: String,
    /// A file by its name under `lua/`, without `.lua`.
    pub(crate) file: String,
    /// What stands there, exactly once.
    pub(crate) find: String,
    /// What takes its place.
    pub(crate) put: String,
}

impl Mutant {
    fn from_fields(mut fields: BTreeMap<String, String>, line: usize) -> Result<Self, String> {
        let mut take = |key: &str| {
            fields.remove(key).ok_or_else(|| format!("the mutant that ends before line {line} has no {key}"))
        };
        let mutant = Self {
            name: take("name")?,
            breaks: take("breaks")?,
            file: take("file")?,
            find: take("find")?,
            put: take("put")?,
        };
        match fields.keys().next() {
            Some(key) => Err(format!("{}: what is `{key}`?", mutant.name)),
            None if mutant.find.is_empty() || mutant.find == mutant.put => {
                Err(format!("{}: it changes nothing", mutant.name))
            }
            None => Ok(mutant),
        }
    }
}

/// Reads a table; an error names the line.
pub(crate) fn read(text: &str) -> Result<Vec<Mutant>, String> {
    let mut mutants: Vec<Mutant> = Vec::new();
    let mut open: Option<BTreeMap<String, String>> = None;
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let number = number + 1;
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line == "[[mutant]]" {
            if let Some(fields) = open.replace(BTreeMap::new()) {
                mutants.push(Mutant::from_fields(fields, number)?);
            }
            continue;
        }
        let (key, value) = line.split_once('=').ok_or_else(|| format!("line {number}: not `key = value`"))?;
        let value = value.trim();
        let value = if value == "'''" {
            let mut block = String::new();
            loop {
                let (_, line) = lines.next().ok_or_else(|| format!("line {number}: ''' has no end"))?;
                if line == "'''" {
                    break block;
                }
                block.push_str(line);
                block.push('\n');
            }
        } else {
            quoted(value).ok_or_else(|| format!("line {number}: not a string without escapes"))?.to_owned()
        };
        let fields = open.as_mut().ok_or_else(|| format!("line {number}: before the first [[mutant]]"))?;
        if fields.insert(key.trim().to_owned(), value).is_some() {
            return Err(format!("line {number}: a second `{}`", key.trim()));
        }
    }
    if let Some(fields) = open {
        mutants.push(Mutant::from_fields(fields, text.lines().count() + 1)?);
    }
    let mut names: Vec<_> = mutants.iter().map(|mutant| &mutant.name).collect();
    names.sort();
    match names.windows(2).find(|two| two[0] == two[1]) {
        Some(two) => Err(format!("two mutants are named {}", two[0])),
        None => Ok(mutants),
    }
}

fn quoted(value: &str) -> Option<&str> {
    let inner = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote).filter(|s| !s.contains(quote));
    inner('\'').or_else(|| inner('"').filter(|inner| !inner.contains('\\')))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "# a note\n[[mutant]]\nname = 'a'\nbreaks = \"it's a rule\"\nfile = 'lib/x'\n\
                       find = '''\n  a\n  b\n'''\nput = \"c = 'd'\"\n";

    #[test]
    fn the_table_itself_is_read() {
        let text = include_str!("../../../ledger/tests/mutants.toml");
        let mutants = read(text).unwrap();
        assert_eq!(mutants.len(), text.lines().filter(|line| *line == "[[mutant]]").count());
    }

    #[test]
    fn strings_of_each_form_are_read() {
        let mutants = read(ONE).unwrap();
        let [mutant] = &mutants[..] else { panic!("{mutants:?}") };
        assert_eq!((mutant.name.as_str(), mutant.breaks.as_str()), ("a", "it's a rule"));
        assert_eq!((mutant.find.as_str(), mutant.put.as_str()), ("  a\n  b\n", "c = 'd'"));
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (from, to, told) in [
            ("name = 'a'\n", "", "has no name"),
            ("name = 'a'", "nome = 'a'\nname = 'a'", "what is `nome`"),
            ("name = 'a'", "name = 'a'\nname = 'b'", "a second `name`"),
            ("name = 'a'", "name = a", "not a string"),
            ("name = 'a'", "name = \"a\\n\"", "not a string"),
            ("\n'''\nput", "\nput", "has no end"),
            ("find = '''\n  a\n  b\n'''", "find = \"c = 'd'\"", "changes nothing"),
            ("[[mutant]]\n", "", "before the first"),
        ] {
            let error = read(&ONE.replace(from, to)).unwrap_err();
            assert!(error.contains(told), "{from} -> {to}: {error}");
        }
        assert!(read(&ONE.repeat(2)).unwrap_err().contains("two mutants"));
    }
}
