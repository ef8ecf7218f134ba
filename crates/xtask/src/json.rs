//! The report as JSON, for machines.

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
fn text(plain: &str) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

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
