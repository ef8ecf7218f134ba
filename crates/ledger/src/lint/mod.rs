//! What the scripts may not do, because engines would differ on it or work would be unbounded. Test code: it reads
//! what is compiled in and runs with the unit tests.

mod contracts;
mod globals;
mod records;
mod rules;
mod tokens;

/// Something that a file must not say.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    file: String,
    /// From 1.
    line: usize,
    problem: String,
}

impl Finding {
    fn new(file: &str, line: usize, problem: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, problem: problem.into() }
    }
}

/// All findings, one a line, for a test's message.
fn told(findings: &[Finding]) -> String {
    findings.iter().map(|f| format!("lua/{}.lua:{}: {}\n", f.file, f.line, f.problem)).collect()
}
