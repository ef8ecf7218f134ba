//! Reading replies: anything but what the scripts write is an error, never a panic.

use bursar_quota::LedgerError;

use crate::Reply;

/// Walks an array reply from left to right.
pub(crate) struct Reader {
    items: std::vec::IntoIter<Reply>,
    what: &'static str,
}

fn corrupt(what: &'static str, found: &dyn std::fmt::Debug) -> LedgerError {
    LedgerError::Corrupt(format!("{what}: unexpected {found:?}"))
}

impl Reader {
    pub(crate) fn new(what: &'static str, reply: Reply) -> Result<Self, LedgerError> {
        match reply {
            Reply::Array(items) => Ok(Self { items: items.into_iter(), what }),
            other => Err(corrupt(what, &other)),
        }
    }

    pub(crate) fn next(&mut self) -> Result<Reply, LedgerError> {
        self.items.next().ok_or_else(|| LedgerError::Corrupt(format!("{}: too short", self.what)))
    }

    pub(crate) fn text(&mut self) -> Result<String, LedgerError> {
        match self.next()? {
            Reply::Bulk(bytes) => String::from_utf8(bytes).map_err(|error| corrupt(self.what, &error)),
            Reply::Status(text) => Ok(text),
            Reply::Int(n) => Ok(n.to_string()),
            other => Err(corrupt(self.what, &other)),
        }
    }

    /// A number: as an integer reply or as text.
    pub(crate) fn num<T: std::str::FromStr>(&mut self) -> Result<T, LedgerError> {
        let text = self.text()?;
        text.parse().map_err(|_| corrupt(self.what, &text))
    }

    /// A number, or `None` for an empty text.
    pub(crate) fn optional<T: std::str::FromStr>(&mut self) -> Result<Option<T>, LedgerError> {
        let text = self.text()?;
        if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(|_| corrupt(self.what, &text)) }
    }

    pub(crate) fn array(&mut self) -> Result<Reader, LedgerError> {
        let what = self.what;
        Reader::new(what, self.next()?)
    }

    pub(crate) fn left(&self) -> usize {
        self.items.len()
    }
}
