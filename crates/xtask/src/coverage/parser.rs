//! Furnishes a Lua source with probes: one at each statement, one at each condition.
//!
//! `__hit(n);` goes before a statement. A condition `c` becomes `__cond(n, c)`: its two outcomes are `n` and `n + 1`. Where
//! conditions are joined by `and` and `or`, each is taken by itself; of what is joined for its value (`a and b or c`) those
//! that decide. A loop over a range or a table is asked afterwards whether its body ran. Lines stay where they are.

mod expressions;

use self::expressions::{Expression, Form};
use super::lexer::{Kind, Token, tokens};

/// What a probe tells when it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// A statement began.
    Statement,
    /// A condition, as it stands there, was true, or was not.
    Outcome { condition: String, was: bool },
    /// A loop's body ran, or did not run at all.
    Loop { ran: bool },
}

/// A probe: its number is its place in the list, from the first number on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Probe {
    /// From 1.
    pub(super) line: usize,
    pub(super) event: Event,
}

/// A source with its probes in it, the first numbered `first`. An error names the line that could not be read.
pub(super) fn furnish(source: &str, first: usize) -> Result<(String, Vec<Probe>), String> {
    let mut parser =
        Parser { source, tokens: tokens(source)?, at: 0, first, probes: Vec::new(), inserts: Vec::new() };
    parser.block()?;
    if let Some(token) = parser.peek() {
        return Err(format!("line {}: `{}` is not expected", token.line, token.text));
    }
    let mut inserts = parser.inserts;
    inserts.sort_by_key(|(at, _)| *at);
    let mut furnished = String::new();
    let mut from = 0;
    for (at, text) in inserts {
        furnished.push_str(&source[from..at]);
        furnished.push_str(&text);
        from = at;
    }
    furnished.push_str(&source[from..]);
    Ok((furnished, parser.probes))
}

struct Parser<'a> {
    source: &'a str,
    tokens: Vec<Token<'a>>,
    at: usize,
    first: usize,
    probes: Vec<Probe>,
    inserts: Vec<(usize, String)>,
}

type Parsed<T> = Result<T, String>;

// === reading ===

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<Token<'a>> {
        self.tokens.get(self.at).copied()
    }

    fn is(&self, text: &str) -> bool {
        self.peek().is_some_and(|token| token.is(text))
    }

    fn next(&mut self) -> Parsed<Token<'a>> {
        let token = self.peek().ok_or("the file ends too early")?;
        self.at += 1;
        Ok(token)
    }

    fn take(&mut self, text: &str) -> bool {
        let there = self.is(text);
        self.at += usize::from(there);
        there
    }

    fn expect(&mut self, text: &str) -> Parsed<Token<'a>> {
        let token = self.next()?;
        if token.is(text) {
            return Ok(token);
        }
        Err(format!("line {}: `{text}` is expected, not `{}`", token.line, token.text))
    }

    fn name(&mut self) -> Parsed<()> {
        let token = self.next()?;
        if token.kind == Kind::Name {
            return Ok(());
        }
        Err(format!("line {}: a name is expected, not `{}`", token.line, token.text))
    }

    /// Where the last word ended.
    fn last_end(&self) -> usize {
        self.at.checked_sub(1).and_then(|last| self.tokens.get(last)).map_or(0, Token::end)
    }
}

// === probes ===

impl Parser<'_> {
    fn probe(&mut self, line: usize, event: Event) -> usize {
        self.probes.push(Probe { line, event });
        self.first + self.probes.len() - 1
    }

    fn insert(&mut self, at: usize, text: String) {
        self.inserts.push((at, text));
    }

    fn outcomes(&mut self, condition: &Expression) {
        let text = &self.source[condition.start..condition.end];
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let number = self.probe(condition.line, Event::Outcome { condition: text.clone(), was: true });
        self.probe(condition.line, Event::Outcome { condition: text, was: false });
        self.insert(condition.start, format!("__cond({number}, "));
        self.insert(condition.end, ")".to_owned());
    }

    /// An expression of which it matters whether it is true.
    fn decision(&mut self, expression: &Expression) {
        match &expression.form {
            Form::And(left, right) | Form::Or(left, right) => {
                self.decision(left);
                self.decision(right);
            }
            Form::Around(inner) => self.decision(inner),
            Form::Constant => {}
            Form::Other(parts) => {
                self.outcomes(expression);
                self.values(parts);
            }
        }
    }

    /// An expression whose value is used.
    fn value(&mut self, expression: &Expression) {
        match &expression.form {
            Form::And(left, right) => {
                self.decision(left);
                self.value(right);
            }
            Form::Or(left, right) => {
                match &left.form {
                    // `a and b or c` chooses by `a`.
                    Form::And(chooses, chosen) => {
                        self.decision(chooses);
                        self.value(chosen);
                    }
                    _ => self.decision(left),
                }
                self.value(right);
            }
            Form::Around(inner) => self.value(inner),
            Form::Constant => {}
            Form::Other(parts) => self.values(parts),
        }
    }

    fn values(&mut self, expressions: &[Expression]) {
        for expression in expressions {
            self.value(expression);
        }
    }
}

// === statements ===

impl Parser<'_> {
    fn block(&mut self) -> Parsed<()> {
        while let Some(token) = self.peek() {
            if ["end", "else", "elseif", "until"].iter().any(|word| token.is(word)) {
                break;
            }
            if !self.take(";") {
                let number = self.probe(token.line, Event::Statement);
                self.insert(token.start, format!("__hit({number});"));
                self.statement(token)?;
            }
        }
        Ok(())
    }

    fn block_until(&mut self, word: &str) -> Parsed<()> {
        self.block()?;
        self.expect(word).map(drop)
    }

    fn statement(&mut self, token: Token<'_>) -> Parsed<()> {
        if token.kind == Kind::Name {
            match token.text {
                "if" => return self.branches(),
                "while" => {
                    self.at += 1;
                    self.condition()?;
                    self.expect("do")?;
                    return self.block_until("end");
                }
                "repeat" => {
                    self.at += 1;
                    self.block_until("until")?;
                    return self.condition();
                }
                "for" => return self.loop_over(token),
                "do" => {
                    self.at += 1;
                    return self.block_until("end");
                }
                "function" => {
                    self.at += 1;
                    self.name()?;
                    while self.take(".") || self.take(":") {
                        self.name()?;
                    }
                    return self.function();
                }
                "local" => return self.local(),
                "return" => {
                    self.at += 1;
                    let ends = ["end", "else", "elseif", "until", ";"];
                    if self.peek().is_some_and(|token| !ends.iter().any(|word| token.is(word))) {
                        self.list()?;
                    }
                    return Ok(());
                }
                "break" => {
                    self.at += 1;
                    return Ok(());
                }
                _ => {}
            }
        }
        let target = self.suffixed()?;
        self.value(&target);
        while self.take(",") {
            let target = self.suffixed()?;
            self.value(&target);
        }
        if self.take("=") { self.list() } else { Ok(()) }
    }

    fn branches(&mut self) -> Parsed<()> {
        while self.take("if") || self.take("elseif") {
            self.condition()?;
            self.expect("then")?;
            self.block()?;
        }
        if self.take("else") {
            self.block()?;
        }
        self.expect("end").map(drop)
    }

    fn condition(&mut self) -> Parsed<()> {
        let condition = self.expression(0)?;
        self.decision(&condition);
        Ok(())
    }

    fn loop_over(&mut self, token: Token<'_>) -> Parsed<()> {
        self.expect("for")?;
        self.name()?;
        while self.take(",") {
            self.name()?;
        }
        if !self.take("=") {
            self.expect("in")?;
        }
        self.list()?;
        let body = self.expect("do")?.end();
        let number = self.probe(token.line, Event::Loop { ran: true });
        self.probe(token.line, Event::Loop { ran: false });
        self.insert(token.start, format!("local __ran_{number} = false;"));
        self.insert(body, format!(" __ran_{number} = true;"));
        self.block_until("end")?;
        self.insert(self.last_end(), format!(" __cond({number}, __ran_{number});"));
        Ok(())
    }

    fn local(&mut self) -> Parsed<()> {
        self.expect("local")?;
        if self.take("function") {
            self.name()?;
            return self.function();
        }
        self.name()?;
        while self.take(",") {
            self.name()?;
        }
        if self.take("=") { self.list() } else { Ok(()) }
    }

    /// From a function's parameters to its end.
    fn function(&mut self) -> Parsed<()> {
        self.expect("(")?;
        while !self.take(")") {
            self.next()?;
        }
        self.block_until("end")
    }

    /// Expressions whose values are used.
    fn list(&mut self) -> Parsed<()> {
        for expression in self.expressions()? {
            self.value(&expression);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn furnished(source: &str) -> String {
        furnish(source, 1).unwrap().0
    }

    #[test]
    fn statements_and_conditions_get_probes() {
        for (source, expected) in [
            ("f(1)\nlocal x", "__hit(1);f(1)\n__hit(2);local x"),
            ("if a then b() end", "__hit(1);if __cond(2, a) then __hit(4);b() end"),
            (
                "if a == 1 and not (b or c.d) then return end",
                "__hit(1);if __cond(2, a == 1) and not (__cond(4, b) or __cond(6, c.d)) then __hit(8);return end",
            ),
            ("x = a and f(b or 1) or c", "__hit(1);x = __cond(2, a) and f(__cond(4, b) or 1) or c"),
            ("return a or b or nil", "__hit(1);return __cond(2, a) or __cond(4, b) or nil"),
            ("while true do break end", "__hit(1);while true do __hit(2);break end"),
            ("repeat f() until a", "__hit(1);repeat __hit(2);f() until __cond(3, a)"),
            (
                "for i = 1, #t do f() end",
                "__hit(1);local __ran_2 = false;for i = 1, #t do __ran_2 = true; __hit(4);f() end __cond(2, __ran_2);",
            ),
            (
                "local function f(a, ...) return a[1].b:c({ d = e and 1 }, 'x') end",
                "__hit(1);local function f(a, ...) __hit(2);return a[1].b:c({ d = __cond(3, e) and 1 }, 'x') end",
            ),
            (
                "if a then elseif (b) .. 'x' == c then else d = -e ^ 2 end",
                "__hit(1);if __cond(2, a) then elseif __cond(4, (b) .. 'x' == c) then else __hit(6);d = -e ^ 2 end",
            ),
        ] {
            assert_eq!(furnished(source), expected);
        }
    }

    #[test]
    fn probes_know_their_lines_and_outcomes() {
        let (_, probes) = furnish("f()\nif a and\n  b then\nend", 7).unwrap();
        let outcome = |line, condition: &str, was| Probe {
            line,
            event: Event::Outcome { condition: condition.to_owned(), was },
        };
        let statement = |line| Probe { line, event: Event::Statement };
        let expected = [
            statement(1),
            statement(2),
            outcome(2, "a", true),
            outcome(2, "a", false),
            outcome(3, "b", true),
            outcome(3, "b", false),
        ];
        assert_eq!(probes, expected);
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        for source in ["if a", "x = = 1", "end", "for 1 do end", "f("] {
            assert!(furnish(source, 1).is_err(), "{source}");
        }
    }
}
