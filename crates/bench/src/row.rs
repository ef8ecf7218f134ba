//! What a measurement tells: a row, and rows put together.

use serde::Serialize;

/// One measurement. What could not be seen is `None`, which JSON shows as null.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// `floor`, `session_floor`, `acquire` or `session`.
    pub kind: &'static str,
    /// `none` (the floors), `embedded`, `redis` (one server), `cluster`, or `target` for what ran already.
    pub store: &'static str,
    /// Replicas that the load was spread over.
    pub replicas: usize,
    /// Callers.
    pub callers: usize,
    /// Connections.
    pub connections: usize,
    /// Budgets that the calls were spread over.
    pub budgets: usize,
    /// Whether acquires had request ids.
    pub request_ids: bool,
    /// Calls that were due a second; null: a closed loop.
    pub rate: Option<f64>,
    /// Permits (of a floor: echoes) a second.
    pub permits_per_s: f64,
    /// That, over that of the unary floor with the same callers (and rate) in the same run.
    pub ratio_to_floor: Option<f64>,
    /// That, over that of one server with the same load in the same run; of a cluster alone.
    pub ratio_to_one_server: Option<f64>,
    /// Latencies in microseconds: the median.
    pub p50_us: f64,
    /// 99 of a hundred took no longer.
    pub p99_us: f64,
    /// 999 of a thousand took no longer.
    pub p999_us: f64,
    /// The longest.
    pub max_us: f64,
    /// `p50_us` over that of the unary floor, as `ratio_to_floor`.
    pub p50_to_floor: Option<f64>,
    /// `p99_us` over that of the unary floor, as `ratio_to_floor`.
    pub p99_to_floor: Option<f64>,
    /// Runs of scripts a permit, by the servers' own count.
    pub store_calls_per_permit: Option<f64>,
    /// Commands over the network to the store a permit, by the servers' own count.
    pub round_trips_per_permit: Option<f64>,
    /// Processor time of the servers a permit, microseconds.
    pub server_cpu_us_per_permit: Option<f64>,
    /// Processor time of Redis a permit, microseconds.
    pub store_cpu_us_per_permit: Option<f64>,
    /// Calls of an open loop that were due and never made; they count with the time they had waited.
    pub left: u64,
    /// How many runs these are the medians of.
    pub runs: usize,
}

impl Row {
    /// Puts a unary floor of the same run beside it.
    pub fn beside(&mut self, floor: &Row) {
        let ratio = |part: f64, whole: f64| (whole > 0.0).then(|| rounded(part / whole, 1000.0));
        self.ratio_to_floor = ratio(self.permits_per_s, floor.permits_per_s);
        self.p50_to_floor = ratio(self.p50_us, floor.p50_us);
        self.p99_to_floor = ratio(self.p99_us, floor.p99_us);
    }

    /// Puts one server's, of the same run, beside a cluster's.
    pub fn beside_one_server(&mut self, one: &Row) {
        let whole = one.permits_per_s;
        self.ratio_to_one_server = (whole > 0.0).then(|| rounded(self.permits_per_s / whole, 1000.0));
    }

    /// Whether both are measurements of the same thing.
    pub(crate) fn is_like(&self, other: &Row) -> bool {
        let of = |row: &Row| {
            let paced = row.rate.is_some();
            (
                row.kind,
                row.store,
                row.replicas,
                row.callers,
                row.connections,
                row.budgets,
                row.request_ids,
                paced,
            )
        };
        of(self) == of(other)
    }
}

pub(crate) fn rounded(value: f64, to: f64) -> f64 {
    (value * to).round() / to
}

/// The median of each figure over rows of the same kind of several runs; of an even number the mean of the middle two.
/// `None` of no rows. The `n`th rows of two runs need not be alike in their rate, which follows from what was measured.
pub fn median(rows: &[&Row]) -> Option<Row> {
    let first = rows.first()?;
    let of =
        |figure: fn(&Row) -> f64| middle(rows.iter().map(|row| figure(row)).collect()).unwrap_or_default();
    let perhaps =
        |figure: fn(&Row) -> Option<f64>| middle(rows.iter().filter_map(|row| figure(row)).collect());
    Some(Row {
        rate: perhaps(|row| row.rate),
        permits_per_s: of(|row| row.permits_per_s),
        ratio_to_floor: perhaps(|row| row.ratio_to_floor),
        ratio_to_one_server: perhaps(|row| row.ratio_to_one_server),
        p50_us: of(|row| row.p50_us),
        p99_us: of(|row| row.p99_us),
        p999_us: of(|row| row.p999_us),
        max_us: of(|row| row.max_us),
        p50_to_floor: perhaps(|row| row.p50_to_floor),
        p99_to_floor: perhaps(|row| row.p99_to_floor),
        store_calls_per_permit: perhaps(|row| row.store_calls_per_permit),
        round_trips_per_permit: perhaps(|row| row.round_trips_per_permit),
        server_cpu_us_per_permit: perhaps(|row| row.server_cpu_us_per_permit),
        store_cpu_us_per_permit: perhaps(|row| row.store_cpu_us_per_permit),
        left: rows.iter().map(|row| row.left).max().unwrap_or_default(),
        runs: rows.iter().map(|row| row.runs).sum(),
        ..(*first).clone()
    })
}

/// The middle one, or the mean of the two in the middle.
fn middle(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    let upper = *values.get(half)?;
    let lower = if values.len() % 2 == 1 { upper } else { values.get(half.checked_sub(1)?).copied()? };
    Some(rounded((lower + upper) / 2.0, 10_000.0))
}

/// Rows as cells, headings first. Columns in which no row has anything are left out.
pub fn table(rows: &[Row]) -> Vec<Vec<String>> {
    let heads = [
        "kind",
        "store",
        "replicas",
        "callers",
        "budgets",
        "rate/s",
        "permits/s",
        "to floor",
        "to one server",
        "p50 us",
        "p99 us",
        "p99.9 us",
        "max us",
        "p50 to floor",
        "p99 to floor",
        "scripts/permit",
        "trips/permit",
        "server us/permit",
        "store us/permit",
    ];
    let mut cells = vec![heads.map(str::to_owned).to_vec()];
    // What is one in every row is not worth a column.
    let one = |number: usize, all: bool| if all { "-".to_owned() } else { number.to_string() };
    let replicas = rows.iter().all(|row| row.replicas == 1);
    let budgets = rows.iter().all(|row| row.budgets == 1);
    for row in rows {
        let of = |value: Option<f64>, digits: usize| {
            value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
        };
        cells.push(vec![
            row.kind.to_owned(),
            row.store.to_owned(),
            one(row.replicas, replicas),
            row.callers.to_string(),
            one(row.budgets, budgets),
            of(row.rate, 0),
            format!("{:.0}", row.permits_per_s),
            of(row.ratio_to_floor, 3),
            of(row.ratio_to_one_server, 3),
            format!("{:.0}", row.p50_us),
            format!("{:.0}", row.p99_us),
            format!("{:.0}", row.p999_us),
            format!("{:.0}", row.max_us),
            of(row.p50_to_floor, 2),
            of(row.p99_to_floor, 2),
            of(row.store_calls_per_permit, 4),
            of(row.round_trips_per_permit, 4),
            of(row.server_cpu_us_per_permit, 1),
            of(row.store_cpu_us_per_permit, 1),
        ]);
    }
    let told =
        |column: usize| cells.iter().skip(1).any(|row| row.get(column).is_some_and(|cell| cell != "-"));
    let told: Vec<bool> = (0..heads.len()).map(|column| rows.is_empty() || told(column)).collect();
    let keep = |row: Vec<String>| {
        row.into_iter().zip(&told).filter(|(_, told)| **told).map(|(cell, _)| cell).collect()
    };
    cells.into_iter().map(keep).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn row(kind: &'static str, permits_per_s: f64) -> Row {
        Row {
            kind,
            store: "none",
            replicas: 1,
            callers: 64,
            connections: 4,
            budgets: 1,
            request_ids: true,
            rate: None,
            permits_per_s,
            ratio_to_floor: None,
            ratio_to_one_server: None,
            p50_us: 10.0,
            p99_us: 20.0,
            p999_us: 30.0,
            max_us: 40.0,
            p50_to_floor: None,
            p99_to_floor: None,
            store_calls_per_permit: None,
            round_trips_per_permit: None,
            server_cpu_us_per_permit: None,
            store_cpu_us_per_permit: None,
            left: 0,
            runs: 1,
        }
    }

    #[test]
    fn medians_are_of_each_figure_and_ratios_of_one_run() {
        let (mut first, mut second, mut third) =
            (row("acquire", 10.0), row("acquire", 40.0), row("acquire", 30.0));
        first.beside(&row("floor", 20.0));
        second.beside(&row("floor", 40.0));
        third.beside(&row("floor", 40.0));
        let told = median(&[&first, &second, &third]).unwrap();
        assert_eq!((told.permits_per_s, told.ratio_to_floor, told.runs), (30.0, Some(0.75), 3));
        assert_eq!(median(&[&first, &second]).unwrap().permits_per_s, 25.0);
        assert_eq!(median(&[]), None);
        assert_eq!(told.store_calls_per_permit, None, "what no run saw is not made up");
    }

    #[test]
    fn a_floor_of_nothing_makes_no_ratio() {
        let mut found = row("acquire", 10.0);
        found.beside(&row("floor", 0.0));
        assert_eq!(found.ratio_to_floor, None);
    }

    #[test]
    fn every_row_has_a_cell_for_each_heading() {
        let cells = table(&[row("floor", 1.0)]);
        assert_eq!(cells[0].len(), cells[1].len());
        assert!(!cells[0].contains(&"replicas".to_owned()) && cells[0].contains(&"p99 us".to_owned()));
        let spread = Row { replicas: 2, ..row("acquire", 1.0) };
        assert_eq!(table(&[row("floor", 1.0), spread])[2][2], "2");
        let json = serde_json::to_value(row("floor", 1.5)).unwrap();
        assert_eq!((&json["kind"], &json["permits_per_s"]), (&"floor".into(), &1.5.into()));
        assert!(json["store_calls_per_permit"].is_null());
    }
}
