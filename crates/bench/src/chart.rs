//! Charts as SVG: throughput and latency against callers or replicas; memory against time.

use std::fmt::Write as _;

use crate::{Row, soak::Sample};

/// Sizes in SVG's units.
const WIDTH: f64 = 520.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 64.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 48.0;
const RIGHT: f64 = 16.0;
const LEGEND: f64 = 18.0;

/// Told apart by people who see colours badly too (Okabe and Ito).
const COLOURS: [&str; 7] = ["#000000", "#999999", "#0072b2", "#56b4e9", "#d55e00", "#e69f00", "#009e73"];

/// A line: its points by x.
struct Series {
    name: String,
    colour: &'static str,
    dashed: bool,
    points: Vec<(f64, f64)>,
}

/// One chart. Logarithmic, equal ratios look equal; else it begins at zero.
struct Panel {
    logarithmic: bool,
    title: &'static str,
    x_title: &'static str,
    series: Vec<Series>,
}

/// Throughput on the left, latency on the right. Against replicas where rows differ
/// in them, else against callers.
pub fn svg(rows: &[Row]) -> String {
    let by_replicas = rows.iter().any(|row| row.replicas > 1);
    #[allow(clippy::cast_precision_loss, reason = "thousands at most")]
    let x = |row: &Row| if by_replicas { row.replicas as f64 } else { row.callers as f64 };
    let names = names(rows);
    let series = |figure: fn(&Row) -> f64, suffix: &str, dashed: bool| -> Vec<Series> {
        let one = |(name, colour): (&String, &&'static str)| Series {
            name: format!("{name}{suffix}"),
            colour,
            dashed,
            points: rows.iter().filter(|row| of(row) == *name).map(|row| (x(row), figure(row))).collect(),
        };
        names.iter().zip(COLOURS.iter().cycle()).map(one).collect()
    };
    let x_title = if by_replicas { "replicas" } else { "callers" };
    let mut latency = series(|row| row.p50_us, ", p50", false);
    latency.extend(series(|row| row.p99_us, ", p99", true));
    let panels = [
        Panel {
            logarithmic: true,
            title: "permits a second",
            x_title,
            series: series(|row| row.permits_per_s, "", false),
        },
        Panel {
            logarithmic: true,
            title: "latency, us (solid: median, dashed: p99)",
            x_title,
            series: latency,
        },
    ];
    let names: Vec<_> = names.into_iter().zip(COLOURS.into_iter().cycle()).collect();
    draw(&panels, &names)
}

/// Memory of the server and of the store over time.
pub fn memory(samples: &[Sample]) -> String {
    let series = |name: &str, colour: &'static str, bytes: fn(&Sample) -> Option<u64>| {
        #[allow(clippy::cast_precision_loss, reason = "bytes of a process")]
        let point = |sample: &Sample| Some((sample.at_s, bytes(sample)? as f64 / 1e6));
        let points = samples.iter().filter_map(point).collect();
        Series { name: name.to_owned(), colour, dashed: false, points }
    };
    let [first, _, second, ..] = COLOURS;
    let lines = vec![
        series("server, resident", first, |sample| sample.server_bytes),
        series("store, its data", second, |sample| sample.store_bytes),
    ];
    let names: Vec<_> = lines.iter().map(|series| (series.name.clone(), series.colour)).collect();
    let (title, x_title) = ("memory, MB", "seconds");
    draw(&[Panel { logarithmic: false, title, x_title, series: lines }], &names)
}

/// What a line is of. Paced rows are no part of a chart of saturation.
fn of(row: &Row) -> String {
    match row.store {
        _ if row.rate.is_some() => String::new(),
        "none" => row.kind.replace('_', " "),
        store => format!("{} ({store})", row.kind),
    }
}

fn names(rows: &[Row]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in rows.iter().map(of) {
        if !name.is_empty() && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// A scale from `low` to `high` (positive where it is logarithmic) onto `from` to `to`.
#[derive(Clone, Copy)]
struct Scale {
    logarithmic: bool,
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Scale {
    fn at(self, value: f64) -> f64 {
        let share = match self.logarithmic {
            true => (value / self.low).ln() / (self.high / self.low).ln(),
            false => (value - self.low) / (self.high - self.low),
        };
        self.from + share * (self.to - self.from)
    }

    /// Round values on it.
    fn ticks(self) -> Vec<f64> {
        if self.logarithmic {
            return ticks(self.low, self.high);
        }
        let rough = (self.high - self.low) / 5.0;
        let power = 10.0_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
        let step = step.into_iter().find(|step| *step >= rough).unwrap_or(rough);
        let mut ticks = vec![0.0];
        while let Some(next) = ticks.last().map(|last| last + step).filter(|next| *next <= self.high) {
            ticks.push(next);
        }
        ticks
    }
}

/// The least and the most of positive values, at least a factor of two apart.
fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values
        .filter(|value| *value > 0.0)
        .fold((f64::MAX, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
    if low > high { (1.0, 2.0) } else { (low, high.max(low * 2.0)) }
}

/// 1, 2 and 5 times the powers of ten around `low` to `high`; only the powers where those are many.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let steps: &[f64] = if high / low > 2000.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
    let mut power = 10.0_f64.powf(low.log10().floor());
    let mut ticks = Vec::new();
    while power <= high * 1.001 {
        ticks.extend(steps.iter().map(|step| step * power));
        power *= 10.0;
    }
    ticks.retain(|tick| (low * 0.999..=high * 1.001).contains(tick));
    ticks
}

/// A number as short as can be: 20k, 1.5M, 0.2.
fn short(value: f64) -> String {
    match value {
        _ if value >= 1e6 => format!("{}M", value / 1e6),
        _ if value >= 1e4 => format!("{}k", value / 1e3),
        _ => format!("{value}"),
    }
}

fn draw(panels: &[Panel], names: &[(String, &'static str)]) -> String {
    #[allow(clippy::cast_precision_loss, reason = "a few lines and panels")]
    let (across, down) =
        (WIDTH * panels.len() as f64, HEIGHT + LEGEND * (names.len().div_ceil(3) as f64 + 1.0));
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {across} {down}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{across}\" height=\"{down}\" fill=\"white\"/>\n"
    );
    let mut left = 0.0;
    for panel in panels {
        draw_panel(&mut out, panel, left);
        left += WIDTH;
    }
    for (index, (name, colour)) in names.iter().enumerate() {
        #[allow(clippy::cast_precision_loss, reason = "a few names")]
        let (x, y) = (LEFT + (index % 3) as f64 * 300.0, HEIGHT + LEGEND * ((index / 3) as f64 + 0.8));
        let _ = writeln!(
            out,
            "<line x1=\"{x}\" y1=\"{y}\" x2=\"{}\" y2=\"{y}\" stroke=\"{colour}\" stroke-width=\"3\"/><text x=\"{}\" y=\"{}\">{name}</text>",
            x + 24.0,
            x + 30.0,
            y + 4.0
        );
    }
    out.push_str("</svg>\n");
    out
}

fn draw_panel(out: &mut String, panel: &Panel, left: f64) {
    let points = || panel.series.iter().flat_map(|series| &series.points);
    let (x_low, x_high) = bounds(points().map(|point| point.0));
    let (y_low, y_high) = bounds(points().map(|point| point.1));
    let logarithmic = panel.logarithmic;
    let least = |low: f64| if logarithmic { low } else { 0.0 };
    let (from, to) = (left + LEFT, left + WIDTH - RIGHT);
    let x = Scale { logarithmic, low: least(x_low), high: x_high, from, to };
    let (low, high) = (least(y_low / 1.2), y_high * 1.2);
    let y = Scale { logarithmic, low, high, from: HEIGHT - BOTTOM, to: TOP };
    let _ = writeln!(
        out,
        "<text x=\"{}\" y=\"20\" font-size=\"14\" font-weight=\"bold\">{}</text>\n<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
        x.from,
        panel.title,
        (x.from + x.to) / 2.0,
        HEIGHT - 10.0,
        panel.x_title
    );
    for tick in y.ticks() {
        let at = y.at(tick);
        let _ = writeln!(
            out,
            "<line x1=\"{}\" y1=\"{at:.1}\" x2=\"{}\" y2=\"{at:.1}\" stroke=\"#dddddd\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            x.from,
            x.to,
            x.from - 6.0,
            at + 4.0,
            short(tick)
        );
    }
    let mut marks: Vec<f64> = points().map(|point| point.0).collect();
    marks.sort_by(f64::total_cmp);
    marks.dedup();
    if !logarithmic {
        marks = x.ticks();
    }
    for mark in marks {
        let at = x.at(mark);
        let _ = writeln!(
            out,
            "<line x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{}\" stroke=\"#eeeeee\"/><text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{mark}</text>",
            y.from,
            y.from + 16.0
        );
    }
    for series in &panel.series {
        draw_series(out, series, x, y);
    }
}

/// A line through its points, left to right, each with a dot and its value for whoever points at it.
fn draw_series(out: &mut String, series: &Series, x: Scale, y: Scale) {
    let mut points = series.points.clone();
    points.retain(|point| point.1 > 0.0);
    points.sort_by(|one, other| one.0.total_cmp(&other.0));
    let Series { name, colour, dashed, .. } = series;
    let dashes = if *dashed { " stroke-dasharray=\"5 4\"" } else { "" };
    let path: Vec<String> =
        points.iter().map(|point| format!("{:.1},{:.1}", x.at(point.0), y.at(point.1))).collect();
    let _ = writeln!(
        out,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dashes}/>",
        path.join(" ")
    );
    for point in points {
        let _ = writeln!(
            out,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"><title>{name}: {} at {}</title></circle>",
            x.at(point.0),
            y.at(point.1),
            point.1,
            point.0
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::tests::row;

    #[test]
    fn a_scale_meets_its_ends() {
        let scale = Scale { logarithmic: true, low: 1.0, high: 100.0, from: 10.0, to: 30.0 };
        for (value, wanted) in [(1.0, 10.0), (10.0, 20.0), (100.0, 30.0)] {
            assert!((scale.at(value) - wanted).abs() < 1e-9);
        }
    }

    #[test]
    fn ticks_are_round_and_within() {
        assert_eq!(ticks(90.0, 1100.0), [100.0, 200.0, 500.0, 1000.0]);
        assert_eq!(ticks(1.0, 10_000.0), [1.0, 10.0, 100.0, 1000.0, 10_000.0]);
        assert_eq!([short(20_000.0), short(500.0), short(1_500_000.0)], ["20k", "500", "1.5M"]);
    }

    #[test]
    fn memory_is_drawn_from_zero() {
        let sample = |at_s| Sample { at_s, server_bytes: Some(13_000_000), store_bytes: None };
        let drawn = memory(&[sample(0.0), sample(10.0), sample(20.0)]);
        assert_eq!((drawn.matches("<polyline").count(), drawn.matches("<circle").count()), (2, 3));
        let scale = Scale { logarithmic: false, low: 0.0, high: 23.0, from: 0.0, to: 1.0 };
        assert_eq!(scale.ticks(), [0.0, 5.0, 10.0, 15.0, 20.0]);
    }

    #[test]
    fn a_chart_has_a_line_a_kind_and_is_drawn_of_nothing_too() {
        let mut rows = vec![row("floor", 10.0), row("acquire", 8.0)];
        rows[1].store = "redis";
        let drawn = svg(&rows);
        assert_eq!(drawn.matches("<polyline").count(), 2 + 4);
        assert!(drawn.contains("acquire (redis)") && drawn.contains(">callers<"), "{drawn}");
        rows[1].replicas = 2;
        assert!(svg(&rows).contains(">replicas<"));
        assert!(svg(&[]).ends_with("</svg>\n"));
    }
}
