//! JSON, for machines: the report, and as much of reading as we need.

use std::{fmt::Write as _, time::Duration};

use crate::report::Report;

/// One object on one line: `good`, `seconds`, `server`, `tests`, `steps`.
pub(crate) fn of(report: &Report, good: bool, total: Duration) -> String {
    let steps: Vec<_> = report
        .entries
        .iter()
        .map(|entry| {
            format!(
                r#"{{"step":{},"verdict":{},"seconds":{:.3},"note":{}}}"#,
                text(entry.step.name()),
                text(entry.verdict.tag()),
                entry.took.as_secs_f64(),
                text(&entry.note)
            )
        })
        .collect();
    let tests = report.tests;
    format!(
        r#"{{"good":{good},"seconds":{:.3},"server":{},"tests":{{"passed":{},"failed":{},"ignored":{}}},"steps":[{}]}}"#,
        total.as_secs_f64(),
        report.server.as_deref().map_or_else(|| "null".to_owned(), text),
        tests.passed,
        tests.failed,
        tests.ignored,
        steps.join(",")
    )
}

/// A string of JSON.
pub(crate) fn text(plain: &str) -> String {
    let mut quoted = String::from('"');
    for c in plain.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// The string that the first field of this name holds in a line of JSON; of one that is null, nothing.
pub(crate) fn field(line: &str, name: &str) -> Option<String> {
    let mut rest = line.split_once(&format!("\"{name}\":\""))?.1.chars();
    let mut plain = String::new();
    loop {
        match rest.next()? {
            '"' => return Some(plain),
            '\\' => plain.push(match rest.next()? {
                'n' => '\n',
                't' => '\t',
                'u' => {
                    let digits: String = rest.by_ref().take(4).collect();
                    char::from_u32(u32::from_str_radix(&digits, 16).ok()?)?
                }
                other => other,
            }),
            other => plain.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_read() {
        let line = r#"{"a":null,"b":"x\"y\\z\u00fc","c":{"d":"e"}}"#;
        assert_eq!(field(line, "b").as_deref(), Some("x\"y\\zü"));
        assert_eq!(field(line, "d").as_deref(), Some("e"));
        assert_eq!((field(line, "a"), field(line, "f"), field(r#"{"a":"b"#, "a")), (None, None, None));
    }

    #[test]
    fn text_is_escaped() {
        assert_eq!(text("a \"b\" \\ ü\n"), r#""a \"b\" \\ ü\u000a""#);
    }

    #[test]
    fn an_empty_report_is_an_object() {
        let json = of(&Report::default(), true, Duration::from_millis(1500));
        let expected = r#"{"good":true,"seconds":1.500,"server":null,"tests":{"passed":0,"failed":0,"ignored":0},"steps":[]}"#;
        assert_eq!(json, expected);
    }
}
