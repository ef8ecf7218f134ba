//! Lua's words and where they stand.

/// What a word is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A name or a keyword.
    Name,
    Number,
    /// A quoted string, quotes included.
    Text,
    Symbol,
}

/// One word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a str,
    /// Bytes from the source's beginning.
    pub(super) start: usize,
    /// From 1.
    pub(super) line: usize,
}

impl Token<'_> {
    pub(super) fn is(&self, text: &str) -> bool {
        self.kind != Kind::Text && self.text == text
    }

    pub(super) fn end(&self) -> usize {
        self.start + self.text.len()
    }
}

/// The words of `source` without comments. An error names the line of what the scripts do not use: long brackets.
pub(super) fn tokens(source: &str) -> Result<Vec<Token<'_>>, String> {
    let mut found = Vec::new();
    let (mut at, mut line) = (0, 1);
    while let Some(first) = source[at..].chars().next() {
        let rest = &source[at..];
        if first == '\n' {
            line += 1;
        }
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        if rest.starts_with("--[[")
            || rest.starts_with("--[=")
            || rest.starts_with("[[")
            || rest.starts_with("[=")
        {
            return Err(format!("line {line}: a long bracket"));
        }
        if rest.starts_with("--") {
            at += rest.find('\n').unwrap_or(rest.len());
            continue;
        }
        let (kind, length) = word(rest, first).ok_or_else(|| format!("line {line}: a string without end"))?;
        found.push(Token { kind, text: &rest[..length], start: at, line });
        at += length;
    }
    Ok(found)
}

fn word(rest: &str, first: char) -> Option<(Kind, usize)> {
    let run = |belongs: fn(char) -> bool| rest.find(|c| !belongs(c)).unwrap_or(rest.len());
    Some(match first {
        '\'' | '"' => (Kind::Text, quoted(rest, first)?),
        c if c.is_ascii_alphabetic() || c == '_' => {
            (Kind::Name, run(|c| c.is_ascii_alphanumeric() || c == '_'))
        }
        c if c.is_ascii_digit() => (Kind::Number, number(rest)),
        _ => {
            let long = ["...", "..", "==", "~=", "<=", ">="].iter().find(|symbol| rest.starts_with(**symbol));
            (Kind::Symbol, long.map_or(first.len_utf8(), |symbol| symbol.len()))
        }
    })
}

/// Up to the closing quote, on the same line.
fn quoted(rest: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    rest.char_indices().skip(1).take_while(|(_, c)| *c != '\n').find_map(|(at, c)| {
        let closes = c == quote && !escaped;
        escaped = c == '\\' && !escaped;
        closes.then_some(at + c.len_utf8())
    })
}

/// Digits, a fraction, an exponent with its sign.
fn number(rest: &str) -> usize {
    let mut before = ' ';
    rest.find(|c: char| {
        let sign = matches!(c, '+' | '-') && matches!(before, 'e' | 'E');
        before = c;
        !(c.is_ascii_alphanumeric() || c == '.' || sign)
    })
    .unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_told_apart_with_their_places() {
        let source = "local a='x\\'-- y' -- 'note'\nif a..2.5e-3~=\"\" then";
        let found: Vec<_> = tokens(source).unwrap().iter().map(|t| (t.text, t.start, t.line)).collect();
        assert_eq!(
            found,
            [
                ("local", 0, 1),
                ("a", 6, 1),
                ("=", 7, 1),
                ("'x\\'-- y'", 8, 1),
                ("if", 28, 2),
                ("a", 31, 2),
                ("..", 32, 2),
                ("2.5e-3", 34, 2),
                ("~=", 40, 2),
                ("\"\"", 42, 2),
                ("then", 45, 2),
            ]
        );
        assert!(tokens("x\ny = [[z]]").unwrap_err().contains("line 2"));
        assert!(tokens("y = 'z").is_err());
    }
}
