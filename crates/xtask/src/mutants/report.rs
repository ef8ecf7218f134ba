//! What came of each mutant.

use std::time::Duration;

use crate::{
    command::Trouble,
    console::{Console, spoken},
    json::text,
};

/// One mutant's fate.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub(crate) name: String,
    pub(crate) breaks: String,
    pub(crate) file: String,
    /// The test that failed first.
    pub(crate) killed_by: Option<String>,
    /// Why it could not be made: the scripts changed, and the table did not.
    pub(crate) stale: Option<String>,
    pub(crate) took: Duration,
}

/// One line of the table.
pub(super) fn line(outcome: &Outcome) -> String {
    let Outcome { name, killed_by, stale, took, .. } = outcome;
    let fate = match (killed_by, stale) {
        (Some(by), _) => format!("killed by {by}"),
        (None, Some(why)) => format!("STALE: {why}"),
        (None, None) => "SURVIVES".to_owned(),
    };
    format!("{name:<42} {:>8}  {fate}", format!("{:.1} s", took.as_secs_f64()))
}

/// The whole table, and those that need attention once more.
pub(super) fn show(console: &Console, outcomes: &[Outcome], total: Duration) {
    console.heading(&format!("{} mutants, after {}", outcomes.len(), spoken(total)));
    for outcome in outcomes {
        console.note(&line(outcome));
    }
    let alive: Vec<_> = outcomes.iter().filter(|outcome| outcome.killed_by.is_none()).collect();
    if !alive.is_empty() {
        console.heading("rules that no test holds, or that the table no longer finds");
        for outcome in alive {
            console.note(&format!("{}\n    {} ({}.lua)", line(outcome), outcome.breaks, outcome.file));
        }
    }
}

/// The report for machines: `killed`, `survived`, `stale`, `seconds`, `mutants`.
pub(super) fn json(outcomes: &[Outcome], total: Duration) -> String {
    let or_null = |value: &Option<String>| value.as_deref().map_or_else(|| "null".to_owned(), text);
    let mutants: Vec<_> = outcomes
        .iter()
        .map(|outcome| {
            format!(
                r#"{{"name":{},"breaks":{},"file":{},"killed_by":{},"stale":{},"seconds":{:.1}}}"#,
                text(&outcome.name),
                text(&outcome.breaks),
                text(&outcome.file),
                or_null(&outcome.killed_by),
                or_null(&outcome.stale),
                outcome.took.as_secs_f64()
            )
        })
        .collect();
    let (killed, survived, stale) = count(outcomes);
    format!(
        r#"{{"killed":{killed},"survived":{survived},"stale":{stale},"seconds":{:.1},"mutants":[{}]}}"#,
        total.as_secs_f64(),
        mutants.join(",")
    )
}

fn count(outcomes: &[Outcome]) -> (usize, usize, usize) {
    let of = |wanted: fn(&Outcome) -> bool| outcomes.iter().filter(|outcome| wanted(outcome)).count();
    let killed = of(|outcome| outcome.killed_by.is_some());
    let stale = of(|outcome| outcome.stale.is_some());
    (killed, outcomes.len() - killed - stale, stale)
}

/// All are killed, or it failed.
pub(super) fn judge(outcomes: &[Outcome]) -> Result<(), Trouble> {
    match count(outcomes) {
        (_, 0, 0) => Ok(()),
        (killed, survived, stale) => Err(Trouble::Failed(format!(
            "{killed} mutants are killed, {survived} survive, {stale} are stale"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(killed_by: Option<&str>, stale: Option<&str>) -> Outcome {
        Outcome {
            name: "a".to_owned(),
            breaks: "b".to_owned(),
            file: "c".to_owned(),
            killed_by: killed_by.map(str::to_owned),
            stale: stale.map(str::to_owned),
            took: Duration::from_millis(1500),
        }
    }

    #[test]
    fn only_a_table_of_killed_ones_is_good() {
        assert_eq!(judge(&[outcome(Some("x"), None)]), Ok(()));
        assert!(judge(&[outcome(Some("x"), None), outcome(None, None)]).is_err());
        assert!(judge(&[outcome(None, Some("its text is gone"))]).is_err());
    }

    #[test]
    fn the_json_counts_each_once() {
        let outcomes = [outcome(Some("x"), None), outcome(None, None), outcome(None, Some("y"))];
        let json = json(&outcomes, Duration::from_secs(2));
        assert!(
            json.starts_with(r#"{"killed":1,"survived":1,"stale":1,"seconds":2.0,"mutants":[{"name":"a","#)
        );
        assert!(json.contains(r#""killed_by":"x","stale":null,"seconds":1.5}"#), "{json}");
    }
}
