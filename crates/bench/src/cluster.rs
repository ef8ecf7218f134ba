//! A cluster beside one server: the same load on each, in turn, in the same minutes.
//!
//! A cluster is more processes that each run one script at a time, so it pays where many budgets keep one of them busy. Where
//! load, replicas and servers share the same cores there is nothing to gain, and what is told is what the cluster costs.

use crate::{
    Bench, BenchError, Kind, Load, Programs, Row, Stage, Store,
    load::count,
    suite::{MAX_RUNS, Step, together},
};

/// What is compared.
#[derive(Debug, Clone)]
pub struct Versus {
    /// What is started.
    pub programs: Programs,
    /// The load. One budget lives on one master, so several are spread over the cluster.
    pub load: Load,
    /// How many replicas share it, 1 to 64.
    pub replicas: usize,
    /// How often all of it is measured, 1 to 1,000; told are medians, of ratios taken within a run.
    pub runs: usize,
}

/// What is measured, on each store.
const KINDS: [Kind; 2] = [Kind::Acquire, Kind::Session];

impl Versus {
    /// Checks every bound.
    pub fn validate(&self) -> Result<(), BenchError> {
        count("--runs", self.runs, MAX_RUNS)?;
        self.load.validate(true)
    }

    /// How many measurements it makes.
    pub fn steps(&self) -> usize {
        self.runs * KINDS.len() * 2
    }

    /// Measures all of it, each on servers of its own; `tell` hears of each step before it begins. Every other run begins with
    /// the cluster, so that what the machine does meanwhile favours neither.
    pub async fn run(&self, bench: Bench, mut tell: impl FnMut(Step<'_>)) -> Result<Vec<Row>, BenchError> {
        self.validate()?;
        let (mut rows, mut number) = (Vec::new(), 0);
        for run in 0..self.runs {
            for kind in KINDS {
                let mut measured = Vec::new();
                let mut stores = [Store::Redis, Store::Cluster];
                stores.rotate_left(run % 2);
                for store in &stores {
                    number += 1;
                    let (callers, of) = (self.load.callers, self.steps());
                    tell(Step { kind, store: store.name(), callers, number, of });
                    let stage = Stage::servers(&self.programs, store, self.replicas)?;
                    measured.push(bench.measure(&stage, kind, &self.load).await?);
                }
                measured.rotate_right(run % 2);
                rows.extend(beside(measured));
            }
        }
        Ok(together(&rows))
    }
}

/// Puts the second beside the first.
fn beside(mut measured: Vec<Row>) -> Vec<Row> {
    if let [one, cluster] = measured.as_mut_slice() {
        cluster.beside_one_server(one);
    }
    measured
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::tests::row;

    #[test]
    fn a_cluster_is_told_as_a_part_of_one_server() {
        let cluster = Row { store: "cluster", ..row("session", 30.0) };
        let rows = beside(vec![row("session", 20.0), cluster]);
        assert_eq!(rows[0].ratio_to_one_server, None);
        assert_eq!(rows[1].ratio_to_one_server, Some(1.5));
    }

    #[test]
    fn bounds_are_checked_before_anything_starts() {
        let programs = Programs { bursar: "none".into(), redis: "none".into() };
        let mut versus = Versus { programs, load: Load::default(), replicas: 1, runs: 3 };
        assert_eq!((versus.steps(), versus.validate().is_ok()), (12, true));
        versus.runs = 0;
        assert!(versus.validate().unwrap_err().to_string().starts_with("--runs: 0"));
    }
}
