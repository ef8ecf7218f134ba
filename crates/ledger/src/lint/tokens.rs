//! Lua's words, as far as the rules need them.

/// What a word is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A name or a keyword.
    Name,
    Number,
    /// A quoted string; the text is what stands between the quotes.
    Text,
    /// `..`, `==`, or any other single character.
    Symbol,
}

/// One word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a str,
    /// From 1.
    pub(super) line: usize,
}

impl Token<'_> {
    pub(super) fn is(&self, text: &str) -> bool {
        self.kind != Kind::Text && self.text == text
    }
}

/// The words of `source` without comments.
///
/// # Errors
/// The line of a long bracket or of a string without end: neither is used here.
pub(super) fn tokens(source: &str) -> Result<Vec<Token<'_>>, usize> {
    let mut found = Vec::new();
    for (number, text) in source.lines().enumerate() {
        let line = number + 1;
        let mut rest = text.trim_start();
        while let Some(first) = rest.chars().next() {
            if rest.starts_with("[[") || rest.starts_with("[=") || rest.starts_with("--[[") {
                return Err(line);
            }
            if rest.starts_with("--") {
                break;
            }
            let (kind, start, length, skip) = match first {
                '\'' | '"' => {
                    let end = quoted(rest).ok_or(line)?;
                    (Kind::Text, 1, end, end + 1)
                }
                c if c.is_ascii_alphabetic() || c == '_' => {
                    let end = run(rest, |c| c.is_ascii_alphanumeric() || c == '_');
                    (Kind::Name, 0, end, end)
                }
                c if c.is_ascii_digit() => {
                    let end = run(rest, |c| c.is_ascii_alphanumeric() || c == '.');
                    (Kind::Number, 0, end, end)
                }
                _ if ["..", "==", "~=", "<=", ">="].iter().any(|two| rest.starts_with(two)) => {
                    (Kind::Symbol, 0, 2, 2)
                }
                c => (Kind::Symbol, 0, c.len_utf8(), c.len_utf8()),
            };
            found.push(Token { kind, text: &rest[start..length], line });
            rest = rest[skip..].trim_start();
        }
    }
    Ok(found)
}

fn run(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.find(|c| !belongs(c)).unwrap_or(text.len())
}

/// Where the closing quote stands.
fn quoted(text: &str) -> Option<usize> {
    let mut bytes = text.bytes().enumerate();
    let (_, quote) = bytes.next()?;
    let mut escaped = false;
    bytes.find_map(|(at, byte)| {
        let closes = byte == quote && !escaped;
        escaped = byte == b'\\' && !escaped;
        closes.then_some(at)
    })
}

#[test]
fn words_are_told_apart() {
    let source = "local a_1='x\\'y' -- 'note'\nif a..2.5~=\"\" then";
    let found: Vec<_> = tokens(source).unwrap().iter().map(|t| (t.kind, t.text, t.line)).collect();
    use Kind::{Name, Number, Symbol, Text};
    assert_eq!(
        found,
        [
            (Name, "local", 1),
            (Name, "a_1", 1),
            (Symbol, "=", 1),
            (Text, "x\\'y", 1),
            (Name, "if", 2),
            (Name, "a", 2),
            (Symbol, "..", 2),
            (Number, "2.5", 2),
            (Symbol, "~=", 2),
            (Text, "", 2),
            (Name, "then", 2),
        ]
    );
    assert_eq!(tokens("x\ny = [[z]]"), Err(2));
    assert_eq!(tokens("y = 'z"), Err(1));
}
