//! Rows beside their floors: every run measures the floors and what is compared with them in the same minutes.

use crate::{
    Bench, BenchError, Kind, Load, Programs, Row, Stage, Store, load::count, median, stage::MAX_REPLICAS,
};

/// The most runs.
pub const MAX_RUNS: usize = 1000;

/// What is compared.
#[derive(Debug, Clone)]
pub struct Suite {
    /// What is started.
    pub programs: Programs,
    /// Stores, each in turn.
    pub stores: Vec<Store>,
    /// Numbers of callers, each in turn.
    pub callers: Vec<usize>,
    /// Numbers of budgets that calls are spread over, each in turn. Floors have none.
    pub budgets: Vec<usize>,
    /// Numbers of replicas, each in turn. More than one are measured over a shared store alone.
    pub replicas: Vec<usize>,
    /// The rest of the load. With a rate, floors and all else are measured at that rate.
    pub load: Load,
    /// Whether each closed row is followed by an open loop at half its rate, and by the floor at that rate.
    pub half_rate: bool,
    /// How often all of it is measured, 1 to 1,000; told are medians, of ratios taken within a run.
    pub runs: usize,
}

/// What is being measured, for whoever watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step<'a> {
    /// What.
    pub kind: Kind,
    /// Over which store; `none` for floors.
    pub store: &'a str,
    /// With how many callers.
    pub callers: usize,
    /// Which of all, from 1, and how many there are.
    pub number: usize,
    /// See `number`.
    pub of: usize,
}

impl Suite {
    /// Checks every bound.
    pub fn validate(&self) -> Result<(), BenchError> {
        count("--runs", self.runs, MAX_RUNS)?;
        if self.callers.is_empty() {
            return Err(BenchError::flag("--callers", "none is given"));
        }
        if self.replicas.is_empty() {
            return Err(BenchError::flag("--replicas", "none is given"));
        }
        for replicas in &self.replicas {
            count("--replicas", *replicas, MAX_REPLICAS)?;
        }
        if self.stages().next().is_none() {
            return Err(BenchError::flag(
                "--replicas",
                "the embedded store is one replica's: add --store redis",
            ));
        }
        if self.budgets.is_empty() {
            return Err(BenchError::flag("--budgets", "none is given"));
        }
        for callers in &self.callers {
            for budgets in &self.budgets {
                Load { callers: *callers, budgets: *budgets, ..self.load.clone() }.validate(true)?;
            }
        }
        Ok(())
    }

    /// How many measurements it makes.
    pub fn steps(&self) -> usize {
        let each = if self.half_rate { 6 } else { 2 };
        self.runs * self.callers.len() * (2 + each * self.stages().count())
    }

    /// What is measured beside a floor.
    fn stages(&self) -> impl Iterator<Item = (&Store, usize, usize)> {
        let with = move |replicas: &usize| {
            let replicas = *replicas;
            let can = move |store: &&Store| replicas == 1 || **store != Store::Embedded;
            let over = move |store| self.budgets.iter().map(move |budgets| (store, replicas, *budgets));
            self.stores.iter().filter(can).flat_map(over)
        };
        self.replicas.iter().flat_map(with)
    }

    /// Measures all of it; `tell` hears of each step before it begins.
    pub async fn run(&self, bench: Bench, mut tell: impl FnMut(Step<'_>)) -> Result<Vec<Row>, BenchError> {
        self.validate()?;
        let mut step = Steps { done: 0, of: self.steps(), tell: &mut tell };
        let mut rows = Vec::new();
        for _ in 0..self.runs {
            for callers in &self.callers {
                let load = Load { callers: *callers, ..self.load.clone() };
                self.beside(bench, &load, &mut step, &mut rows).await?;
            }
        }
        Ok(together(&rows))
    }

    /// The floors, and all that stands beside them.
    async fn beside(
        &self,
        bench: Bench,
        load: &Load,
        step: &mut Steps<'_>,
        rows: &mut Vec<Row>,
    ) -> Result<(), BenchError> {
        let floor = self.floor(bench, Kind::Floor, load, step).await?;
        let mut row = self.floor(bench, Kind::SessionFloor, load, step).await?;
        row.beside(&floor);
        let mut beside = vec![row];
        for stage in self.stages() {
            let load = &Load { budgets: stage.2, ..load.clone() };
            for kind in [Kind::Acquire, Kind::Session] {
                let mut row = self.ours(bench, stage, kind, load, step).await?;
                row.beside(&floor);
                let half = row.permits_per_s / 2.0;
                beside.push(row);
                if self.half_rate && half > 0.0 {
                    let paced = Load { rate: Some(half), ..load.clone() };
                    let floor = self.floor(bench, Kind::Floor, &paced, step).await?;
                    let mut row = self.ours(bench, stage, kind, &paced, step).await?;
                    row.beside(&floor);
                    beside.push(row);
                }
            }
        }
        rows.push(Row {
            ratio_to_floor: Some(1.0),
            p50_to_floor: Some(1.0),
            p99_to_floor: Some(1.0),
            ..floor
        });
        rows.append(&mut beside);
        Ok(())
    }

    async fn floor(
        &self,
        bench: Bench,
        kind: Kind,
        load: &Load,
        step: &mut Steps<'_>,
    ) -> Result<Row, BenchError> {
        step.begin(kind, "none", load.callers);
        let stage = Stage::echo(&self.programs)?;
        bench.measure(&stage, kind, load).await
    }

    /// On servers of its own, so that what one measurement leaves behind is not the next one's burden.
    async fn ours(
        &self,
        bench: Bench,
        (store, replicas, _): (&Store, usize, usize),
        kind: Kind,
        load: &Load,
        step: &mut Steps<'_>,
    ) -> Result<Row, BenchError> {
        step.begin(kind, store.name(), load.callers);
        let stage = Stage::servers(&self.programs, store, replicas)?;
        bench.measure(&stage, kind, load).await
    }
}

struct Steps<'a> {
    done: usize,
    of: usize,
    tell: &'a mut dyn FnMut(Step<'_>),
}

impl Steps<'_> {
    fn begin(&mut self, kind: Kind, store: &str, callers: usize) {
        self.done += 1;
        (self.tell)(Step { kind, store, callers, number: self.done, of: self.of });
    }
}

/// The medians of rows that are alike, in the order in which the first of each came.
pub fn together(rows: &[Row]) -> Vec<Row> {
    let mut told: Vec<Row> = Vec::new();
    for row in rows {
        if !told.iter().any(|other| other.is_like(row)) {
            let alike: Vec<&Row> = rows.iter().filter(|other| other.is_like(row)).collect();
            told.extend(median(&alike));
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::tests::row;

    #[test]
    fn runs_are_put_together_by_what_they_measured() {
        let rows = [row("floor", 10.0), row("acquire", 8.0), row("floor", 30.0), row("acquire", 6.0)];
        let told = together(&rows);
        assert_eq!(
            told.iter().map(|row| (row.kind, row.permits_per_s, row.runs)).collect::<Vec<_>>(),
            [("floor", 20.0, 2), ("acquire", 7.0, 2)]
        );
    }

    #[test]
    fn steps_are_counted_before_they_are_made() {
        let mut suite = Suite {
            programs: Programs { bursar: "none".into(), redis: "none".into() },
            stores: vec![Store::Embedded, Store::Redis],
            callers: vec![1, 64],
            budgets: vec![1],
            replicas: vec![1],
            load: Load::default(),
            half_rate: false,
            runs: 3,
        };
        assert_eq!(suite.steps(), 3 * 2 * 6);
        suite.replicas = vec![1, 2];
        assert_eq!(suite.steps(), 3 * 2 * 8, "two replicas are over Redis alone");
        suite.budgets = vec![1, 1024];
        assert_eq!(suite.steps(), 3 * 2 * 14);
        suite.runs = 0;
        assert!(suite.validate().unwrap_err().to_string().starts_with("--runs: 0"));
        suite.runs = 1;
        suite.callers = Vec::new();
        assert!(suite.validate().unwrap_err().to_string().starts_with("--callers: "));
    }
}
