//! How a fleet fared through a fault: figures, and a table of them.

use std::{fmt, io::Write as _, time::Duration};

/// The most by which a replica's memory may have grown through a fault, in KiB.
const MAX_GROWTH_KIB: u64 = 24 * 1024;

/// How a fleet fared through one fault.
#[derive(Debug, Clone)]
pub struct Report {
    /// Which fault.
    pub fault: String,
    /// Calls that the upstream accepted, by its own count.
    pub accepted: u64,
    /// Calls that it refused, by its own count.
    pub refused_upstream: u64,
    /// Acquires that Bursar did not answer in time, or by an error.
    pub failed: u64,
    /// What the first of them met.
    pub failures: Vec<String>,
    /// Acquires that Bursar answered by a refusal.
    pub refused: u64,
    /// Settlements that did not reach Bursar.
    pub unsettled: u64,
    /// Permits that the store granted and that nobody settled by their deadline, not even as not sent; those that were out
    /// when the fault was over are among them. `None`: the store has lost count.
    pub lost: Option<i64>,
    /// Permits that two acquires were given.
    pub doubled: u64,
    /// The longest span without a grant before the fault.
    pub gap_before: Duration,
    /// The longest span without a grant.
    pub gap: Duration,
    /// From the fault's end to the first grant after it.
    pub resumed: Duration,
    /// The longest that this may take.
    pub bound: Duration,
    /// The longest that a worker waited for a permit, failures in between included.
    pub longest_wait: Duration,
    /// What is out once all workers have ended and every permit's deadline has passed.
    pub out: u64,
    /// Each replica's memory before and after, in KiB.
    pub memory_kib: Vec<(u64, u64)>,
}

impl Report {
    /// Prints it, and asserts what must hold whatever went wrong.
    ///
    /// # Panics
    /// If the upstream refused a call, the fleet went on later than it may, a permit was given twice, something stays out, or memory grew.
    pub fn judge(&self) {
        let _ = write!(std::io::stderr(), "{self}");
        assert_eq!(self.refused_upstream, 0, "the upstream refused calls that held permits\n{self}");
        assert!(self.resumed <= self.bound, "the fleet went on too late\n{self}");
        assert_eq!(self.doubled, 0, "permits were given twice\n{self}");
        assert_eq!(self.out, 0, "slots are lost\n{self}");
        assert!(matches!(self.lost, None | Some(0)), "permits were left to their deadlines\n{self}");
        for (before, after) in &self.memory_kib {
            assert!(after.saturating_sub(*before) <= MAX_GROWTH_KIB, "a replica's memory grew\n{self}");
        }
    }
}

const HEAD: [&str; 15] = [
    "fault",
    "accepted",
    "refused upstream",
    "failed",
    "refused",
    "unsettled",
    "lost",
    "doubled",
    "gap before",
    "gap",
    "resumed",
    "bound",
    "longest wait",
    "out",
    "memory MiB",
];

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |span: Duration| format!("{} ms", span.as_millis());
        let mib = |kib: u64| (kib + 512) / 1024;
        let memory =
            self.memory_kib.iter().map(|(before, after)| format!("{}>{}", mib(*before), mib(*after)));
        let cells = [
            self.fault.clone(),
            self.accepted.to_string(),
            self.refused_upstream.to_string(),
            self.failed.to_string(),
            self.refused.to_string(),
            self.unsettled.to_string(),
            self.lost.map_or_else(|| "-".to_owned(), |lost| lost.to_string()),
            self.doubled.to_string(),
            ms(self.gap_before),
            ms(self.gap),
            ms(self.resumed),
            ms(self.bound),
            ms(self.longest_wait),
            self.out.to_string(),
            memory.collect::<Vec<_>>().join(" "),
        ];
        writeln!(f, "| {} |", HEAD.join(" | "))?;
        writeln!(f, "| {} |", cells.join(" | "))?;
        for failure in &self.failures {
            writeln!(f, "  failed: {failure}")?;
        }
        Ok(())
    }
}
