//! Expressions: what of them decides.

use super::{Kind, Parsed, Parser, Token};

/// An expression: what of it decides, and where it stands.
#[derive(Debug)]
pub(super) struct Expression {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) line: usize,
    pub(super) form: Form,
}

#[derive(Debug)]
pub(super) enum Form {
    And(Box<Expression>, Box<Expression>),
    Or(Box<Expression>, Box<Expression>),
    /// `not` or brackets around one.
    Around(Box<Expression>),
    Constant,
    Other(Vec<Expression>),
}

/// How tightly an operator binds on its left and on its right.
fn binding(token: &Token<'_>) -> Option<(u8, u8)> {
    if token.kind == Kind::Text {
        return None;
    }
    Some(match token.text {
        "or" => (1, 1),
        "and" => (2, 2),
        "<" | ">" | "<=" | ">=" | "~=" | "==" => (3, 3),
        ".." => (5, 4),
        "+" | "-" => (6, 6),
        "*" | "/" | "%" => (7, 7),
        "^" => (10, 9),
        _ => return None,
    })
}

/// How tightly `not`, `-` and `#` bind.
const UNARY: u8 = 8;

impl Parser<'_> {
    pub(super) fn expressions(&mut self) -> Parsed<Vec<Expression>> {
        let mut list = vec![self.expression(0)?];
        while self.take(",") {
            list.push(self.expression(0)?);
        }
        Ok(list)
    }

    pub(super) fn expression(&mut self, above: u8) -> Parsed<Expression> {
        let first = self.peek().ok_or("the file ends in an expression")?;
        let form = if first.is("not") {
            self.at += 1;
            Form::Around(Box::new(self.expression(UNARY)?))
        } else if first.is("-") || first.is("#") {
            self.at += 1;
            Form::Other(vec![self.expression(UNARY)?])
        } else {
            self.simple()?.form
        };
        let mut left = Expression { start: first.start, end: self.last_end(), line: first.line, form };
        while let Some(operator) = self.peek() {
            let Some((_, binds_right)) = binding(&operator).filter(|(left, _)| *left > above) else {
                break;
            };
            self.at += 1;
            let right = self.expression(binds_right)?;
            let (start, end, line) = (left.start, right.end, left.line);
            let form = match operator.text {
                "and" => Form::And(Box::new(left), Box::new(right)),
                "or" => Form::Or(Box::new(left), Box::new(right)),
                _ => Form::Other(vec![left, right]),
            };
            left = Expression { start, end, line, form };
        }
        Ok(left)
    }

    fn simple(&mut self) -> Parsed<Expression> {
        let first = self.peek().ok_or("the file ends in an expression")?;
        let is_constant = matches!(first.kind, Kind::Number | Kind::Text)
            || ["nil", "true", "false", "..."].iter().any(|word| first.is(word));
        let form = if is_constant {
            self.at += 1;
            Form::Constant
        } else if first.is("{") {
            Form::Other(self.table()?)
        } else if first.is("function") {
            self.at += 1;
            self.function()?;
            Form::Constant
        } else {
            return self.suffixed();
        };
        Ok(Expression { start: first.start, end: self.last_end(), line: first.line, form })
    }

    fn table(&mut self) -> Parsed<Vec<Expression>> {
        self.expect("{")?;
        let mut parts = Vec::new();
        while !self.take("}") {
            if self.take("[") {
                parts.push(self.expression(0)?);
                self.expect("]")?;
                self.expect("=")?;
            } else if self.tokens.get(self.at + 1).is_some_and(|token| token.is("=")) {
                self.name()?;
                self.expect("=")?;
            }
            parts.push(self.expression(0)?);
            if !self.take(",") {
                self.take(";");
            }
        }
        Ok(parts)
    }

    /// A name or brackets, and what is indexed and called of it.
    pub(super) fn suffixed(&mut self) -> Parsed<Expression> {
        let first = self.peek().ok_or("the file ends in an expression")?;
        let mut parts = Vec::new();
        let in_brackets = self.take("(");
        if in_brackets {
            parts.push(self.expression(0)?);
            self.expect(")")?;
        } else {
            self.name()?;
        }
        let mut is_plain = true;
        while let Some(token) = self.peek() {
            if token.is(".") || token.is(":") {
                self.at += 1;
                self.name()?;
            } else if self.take("[") {
                parts.push(self.expression(0)?);
                self.expect("]")?;
            } else if self.take("(") {
                if !self.is(")") {
                    parts.extend(self.expressions()?);
                }
                self.expect(")")?;
            } else if token.is("{") {
                parts.extend(self.table()?);
            } else if token.kind == Kind::Text {
                self.at += 1;
            } else {
                break;
            }
            is_plain = false;
        }
        let inner = if in_brackets && is_plain { parts.pop() } else { None };
        let form = match inner {
            Some(inner) => Form::Around(Box::new(inner)),
            None => Form::Other(parts),
        };
        Ok(Expression { start: first.start, end: self.last_end(), line: first.line, form })
    }
}
