//! What came out: figures for machines, a table for people.

use serde::{Deserialize, Serialize};

/// How one fleet fared.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Requests that the upstream accepted, by its own count.
    pub accepted: u64,
    /// Requests that the upstream refused, by its own count.
    pub refused: u64,
    /// Calls that workers gave up after all their tries.
    pub given_up: u64,
    /// What was accepted in the measured windows, divided by what the upstream would have accepted in them: 0 to 1.
    pub share: f64,
}

/// Two fleets, side by side.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The fleet whose workers asked Bursar.
    pub bursar: Row,
    /// The fleet whose workers each had a retry handler.
    pub independent: Row,
}

impl Report {
    /// A plain table of three lines, each ended by a line feed.
    pub fn table(&self) -> String {
        let line = |name: &str, row: &Row| {
            // Rounded down, so that 100 % is only what it says.
            let share = (row.share * 10_000.0).floor() / 100.0;
            format!("{name:<24}{:>12}{:>12}{:>12}{share:>14.2} %\n", row.accepted, row.refused, row.given_up)
        };
        let head = format!(
            "{:<24}{:>12}{:>12}{:>12}{:>16}\n",
            "", "accepted", "refused", "given up", "share of quota"
        );
        head + &line("through Bursar", &self.bursar) + &line("independent handlers", &self.independent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_an_object_and_a_table() {
        let bursar = Row { accepted: 2999, refused: 0, given_up: 0, share: 0.99967 };
        let independent = Row { accepted: 2400, refused: 9000, given_up: 2700, share: 0.8 };
        let report = Report { bursar, independent };
        let expected = [
            "                            accepted     refused    given up  share of quota\n",
            "through Bursar                  2999           0           0         99.96 %\n",
            "independent handlers            2400        9000        2700         80.00 %\n",
        ];
        assert_eq!(report.table(), expected.concat());
        let json = serde_json::to_value(report).unwrap();
        assert_eq!(
            json["bursar"],
            serde_json::json!({ "accepted": 2999, "refused": 0, "given_up": 0, "share": 0.99967 })
        );
        assert_eq!(serde_json::from_value::<Report>(json).unwrap(), report);
    }
}
