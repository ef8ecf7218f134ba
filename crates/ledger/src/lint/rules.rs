//! The rules for a file by itself.

use super::{
    Finding,
    globals::globals,
    tokens::{Kind, Token, tokens},
};
use crate::embedded::command_names;

/// What a script may use of Lua's and the engines' own names. `tostring` and `next` are left out on purpose: the
/// one keeps 14 digits, the other's order is nobody's.
const GLOBALS: [&str; 12] = [
    "string", "table", "math", "redis", "tonumber", "pairs", "ipairs", "type", "select", "unpack", "KEYS",
    "ARGV",
];
/// What a script may use of `redis`.
const REDIS: [&str; 4] = ["call", "pcall", "error_reply", "status_reply"];
/// Members of libraries that engines lack, or that differ by engine or run.
const MEMBERS: [(&str, &str); 6] = [
    ("string", "dump"),
    ("math", "random"),
    ("math", "randomseed"),
    ("table", "foreach"),
    ("table", "foreachi"),
    ("table", "getn"),
];

/// What is wrong with one file.
pub(super) fn findings(file: &str, source: &str) -> Vec<Finding> {
    if source.starts_with('#') {
        return vec![Finding::new(file, 1, "function flags need Redis 7")];
    }
    let words = match tokens(source) {
        Ok(words) => words,
        Err(line) => return vec![Finding::new(file, line, "a long bracket, or a string without end")],
    };
    let lines: Vec<&str> = source.lines().collect();
    let mut check = Check { file, lines, words: &words, found: Vec::new() };
    for at in 0..words.len() {
        check.word(at);
    }
    check.found
}

/// What is wrong with the globals of an expanded script.
pub(super) fn global_findings(script: &str, expanded: &str) -> Vec<Finding> {
    let used = match globals(expanded) {
        Ok(used) => used,
        Err(message) => return vec![Finding::new(script, 1, message)],
    };
    let bad = used.into_iter().filter(|global| global.written || !GLOBALS.contains(&global.name.as_str()));
    bad.map(|global| {
        let line = expanded.lines().nth(global.line - 1).unwrap_or_default().trim();
        let verb = if global.written { "written" } else { "read" };
        Finding::new(script, global.line, format!("global '{}' {verb}, expanded line: {line}", global.name))
    })
    .collect()
}

/// How often a file calls TIME.
pub(super) fn time_calls(source: &str) -> usize {
    let words = tokens(source).unwrap_or_default();
    words
        .windows(2)
        .filter(|pair| pair[0].is("(") && pair[1].kind == Kind::Text && pair[1].text == "TIME")
        .count()
}

struct Check<'a> {
    file: &'a str,
    lines: Vec<&'a str>,
    words: &'a [Token<'a>],
    found: Vec<Finding>,
}

impl Check<'_> {
    fn tell(&mut self, line: usize, problem: impl Into<String>) {
        self.found.push(Finding::new(self.file, line, problem));
    }

    fn is(&self, at: usize, text: &str) -> bool {
        self.words.get(at).is_some_and(|word| word.is(text))
    }

    fn has_comment(&self, line: usize, mark: &str) -> bool {
        self.lines
            .get(line - 1)
            .is_some_and(|text| text.split_once(mark).is_some_and(|(_, why)| !why.trim().is_empty()))
    }

    fn word(&mut self, at: usize) {
        let Token { kind, text, line } = self.words[at].clone();
        if kind == Kind::Symbol && text == ".." {
            let beside = [at.checked_sub(1), Some(at + 1)].into_iter().flatten();
            if beside.filter_map(|at| self.words.get(at)).any(|word| word.kind == Kind::Number) {
                self.tell(line, "`..` on a number: use string.format");
            }
        }
        let is_member = at > 0 && (self.is(at - 1, ".") || self.is(at - 1, ":"));
        if kind != Kind::Name || is_member {
            return;
        }
        match text {
            "tostring" => self.tell(line, "tostring keeps 14 digits: use string.format"),
            "pairs" if !self.has_comment(line, "-- order-free:") => {
                self.tell(line, "pairs has no order: say why it does not matter, in `-- order-free: ...`");
            }
            "unpack" if !self.has_comment(line, "-- bound:") => {
                self.tell(line, "unpack fails far above 1000 values: say the bound, in `-- bound: ...`");
            }
            "redis" => self.redis(at),
            _ => {}
        }
        for (library, member) in MEMBERS {
            if text == library && self.is(at + 1, ".") && self.is(at + 2, member) {
                self.tell(line, format!("{library}.{member} is not to be used"));
            }
        }
    }

    /// `redis` stands at `at`.
    fn redis(&mut self, at: usize) {
        let line = self.words[at].line;
        let member = self.words.get(at + 2).map(|word| word.text).unwrap_or_default();
        if !(self.is(at + 1, ".") && REDIS.contains(&member) && self.is(at + 3, "(")) {
            self.tell(line, format!("of `redis` only calls of {} are known everywhere", REDIS.join(", ")));
            return;
        }
        let Some(first) = self.words.get(at + 4).cloned() else { return };
        match member {
            "error_reply" => {
                let coded = first.text.split_once(' ').is_some_and(|(code, _)| {
                    !code.is_empty() && code.bytes().all(|byte| byte.is_ascii_uppercase())
                });
                if first.kind != Kind::Text || !coded {
                    self.tell(line, "an error begins with a literal 'CODE '");
                }
            }
            "call" | "pcall" => self.command(at, &first),
            _ => {}
        }
    }

    /// A call whose `redis` stands at `at`, of the command `name`.
    fn command(&mut self, at: usize, name: &Token<'_>) {
        if name.kind != Kind::Text {
            return self.tell(name.line, "the command must be a literal");
        }
        if !command_names().any(|known| known == name.text) {
            return self.tell(name.line, format!("'{}' is not a command that every engine has", name.text));
        }
        match name.text {
            "TIME" => {}
            "PUBLISH" => {
                let before = at.checked_sub(1).and_then(|before| self.words.get(before));
                if before.is_some_and(|word| {
                    ["=", "return", "(", ",", "{", "and", "or", "not", "if", "==", "+"].contains(&word.text)
                }) {
                    self.tell(name.line, "the number of receivers differs by engine: leave it");
                }
            }
            _ => self.key(at + 6, name.line),
        }
    }

    /// A command's key stands at `at`: `KEYS[...]`, or a name that ends in `_key` and that is not put together here.
    fn key(&mut self, at: usize, line: usize) {
        let word = self.words.get(at).filter(|word| word.kind == Kind::Name && self.is(at - 1, ",")).cloned();
        let Some(word) = word else {
            return self.tell(line, "the key must be KEYS[...] or a name that ends in _key");
        };
        if word.text == "KEYS" && self.is(at + 1, "[") {
            return;
        }
        if !word.text.ends_with("_key") || !(self.is(at + 1, ",") || self.is(at + 1, ")")) {
            return self.tell(line, format!("'{}' does not look like a declared key", word.text));
        }
        for at in 0..self.words.len().saturating_sub(1) {
            if self.words[at].text == word.text && self.is(at + 1, "=") && self.is_built(at + 2) {
                self.tell(self.words[at].line, format!("'{}' is put together: keys come in KEYS", word.text));
            }
        }
    }

    /// Whether the expression at `at`, to the end of its line, puts text together.
    fn is_built(&self, at: usize) -> bool {
        let line = self.words.get(at).map_or(0, |word| word.line);
        let on_line = self.words[at.min(self.words.len())..].iter().take_while(|word| word.line == line);
        on_line.into_iter().any(|word| {
            word.kind == Kind::Text
                || word.is("..")
                || word.is("format")
                || word.is("concat")
                || word.is("gsub")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(source: &str) -> usize {
        findings("test", source).len()
    }

    #[test]
    fn each_rule_finds_what_it_is_for() {
        for bad in [
            "#!lua name=x",
            "local s = [[long]]",
            "local s = 'open",
            "return tostring(x)",
            "return 'a' .. 1",
            "return 0.5 .. 'a'",
            "for k in pairs(t) do end",
            "for k in pairs(t) do end -- order-free:",
            "return unpack(t)",
            "return unpack(t) -- bound:",
            "return math.random()",
            "return string.dump(f)",
            "local call = redis.call",
            "local r = redis",
            "return redis.sha1hex('x')",
            "return redis.log(1, 'x')",
            "return redis.error_reply('lower case')",
            "return redis.error_reply('ALONE')",
            "return redis.error_reply(text)",
            "return redis.call(name, KEYS[1])",
            "return redis.call('KEYS', '*')",
            "return redis.call('get', KEYS[1])",
            "return redis.call('EVAL', 'x', '0')",
            "return redis.call('GET', 'literal')",
            "return redis.call('GET', 'a' .. KEYS[1])",
            "return redis.call('GET', name)",
            "return redis.call('GET', the_key .. 'x')",
            "local the_key = 'a:' .. x return redis.call('GET', the_key)",
            "local the_key = string.format(f, x)\nreturn redis.pcall('GET', the_key)",
            "return redis.call('GET')",
            "return redis.call('PUBLISH', channel, text)",
            "local n = redis.call('PUBLISH', channel, text)",
        ] {
            assert_eq!(problems(bad), 1, "{bad}: {:?}", findings("test", bad));
        }
    }

    #[test]
    fn what_is_allowed_passes() {
        for good in [
            "local state_key = KEYS[1]\nreturn redis.call('HGET', state_key, 'f')",
            "local hash_key = h.key\nreturn redis.call('HMGET', hash_key, unpack(t)) -- bound: 5",
            "for k in pairs(t) do n = n + 1 end -- order-free: it only counts",
            "for i, v in ipairs(t) do end",
            "return redis.call('DEL', KEYS[1], KEYS[2])",
            "return redis.error_reply('STALE ' .. version)",
            "redis.call('PUBLISH', channel, text)",
            "local time = redis.call('TIME')",
            "t.pairs = t:unpack() return t.tostring -- tostring(x)",
            "return 'tostring( pairs( [[' .. string.format('%.0f', 1.5)",
        ] {
            assert_eq!(findings("test", good), [], "{good}");
        }
    }

    #[test]
    fn globals_beyond_the_list_are_found() {
        for bad in [
            "return os.time()",
            "return io",
            "return cjson.encode(t)",
            "return cmsgpack",
            "return bit.band(1, 2)",
            "return struct",
            "return pcall(f)",
            "return error('x')",
            "return next(t)",
            "return print",
            "fresh = 1",
            "KEYS = 1",
            "local function f() return late end local late = 1 return f()",
        ] {
            assert!(!global_findings("test", bad).is_empty(), "{bad}");
        }
        assert_eq!(global_findings("test", "local os = 1 return os + #KEYS + math.floor(ARGV[1])"), []);
    }
}
