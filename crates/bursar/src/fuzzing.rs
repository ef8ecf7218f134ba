//! A door for the fuzzer: the configuration, read from a text and not from a file.

use std::{path::Path, sync::Arc, time::Duration};

use bursar_quota::BudgetSpec;

use crate::config::{self, Problem};

/// How a text is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// As `bursar.toml`.
    Toml,
    /// As `bursar.yaml`, which JSON is as well.
    Yaml,
}

/// One thing that is wrong with a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The line, from 1.
    pub line: Option<usize>,
    /// The column in characters, from 1.
    pub column: Option<usize>,
    /// Which field; empty: the text as a whole.
    pub field: String,
    /// What is wrong with it.
    pub problem: String,
}

/// A configuration that was found right: what has bounds in it.
#[derive(Debug)]
pub struct Checked {
    /// The budgets that it declares.
    pub budgets: Vec<BudgetSpec>,
    /// `server.drain` and `server.max_wait`: at most 1 h each.
    pub spans: [Duration; 2],
    /// `server.max_connections`, `max_waiting`, `max_request_bytes`.
    pub counts: [usize; 3],
    /// How many tokens it knows: at most 1000.
    pub tokens: usize,
}

impl From<&Problem> for Fault {
    fn from(problem: &Problem) -> Self {
        Self {
            line: problem.origin.line(),
            column: problem.origin.column(),
            field: problem.field.clone(),
            problem: problem.problem.clone(),
        }
    }
}

/// Reads and checks a configuration, as from a file in a folder that there is not.
pub fn configuration(text: &str, format: Format) -> Result<Checked, Vec<Fault>> {
    let path: Arc<Path> = Path::new("/nowhere/bursar").into();
    let config = config::load_text(text, format == Format::Yaml, &path)
        .map_err(|problems| problems.0.iter().map(Fault::from).collect::<Vec<_>>())?;
    let server = &config.settings.server;
    Ok(Checked {
        spans: [server.drain, server.max_wait],
        counts: [server.max_connections, server.max_waiting, server.max_request_bytes],
        tokens: config.settings.auth.tokens.len(),
        budgets: config.budgets,
    })
}
