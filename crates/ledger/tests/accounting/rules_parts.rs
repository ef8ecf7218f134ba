//! Single rules of limits that are enforced in parts of their window, while readings tell of the whole.

use bursar_quota::SettleKind;

use crate::{
    bench::{Bench, budget, minute, settle},
    words::{all_of, rung},
};

/// Of so many calls at once so many are refused, though something is left; and after so long the next are made.
#[derive(Clone, Copy)]
struct Part {
    calls: u16,
    refused: u16,
    lasts_ms: u64,
}

/// A quarter of a window of 600 a minute.
const QUARTER: Part = Part { calls: 150, refused: 5, lasts_ms: 15_000 };

fn rung_after(parts: &[Part]) -> String {
    let mut bench = Bench::unproven(&budget(vec![minute(600)]));
    for part in parts {
        let lease = bench.take(part.calls);
        let refused: Vec<_> = (0..part.refused).map(|_| bench.take(1)).collect();
        bench.now += 10;
        bench.settled(all_of(part.calls, settle(lease, SettleKind::Accepted)));
        for lease in refused {
            bench.settled(settle(lease, SettleKind::Refused { counted: false }));
        }
        bench.now += part.lasts_ms - 10;
    }
    rung(&mut bench)
}

#[test]
fn many_refusals_after_as_many_calls_as_go_into_a_part_take_a_window_down() {
    for (parts, expected) in [(2, "sliding"), (3, "paced")] {
        assert_eq!(rung_after(&vec![QUARTER; parts]), expected, "{parts} parts");
    }
}

#[test]
fn a_part_that_was_begun_in_its_midst_counts_by_its_calls() {
    let midst = Part { lasts_ms: 11_000, ..QUARTER };
    assert_eq!(rung_after(&[midst, QUARTER, QUARTER]), "paced");
}

#[test]
fn a_little_more_or_less_is_a_part_as_well() {
    for (calls, expected) in [(110, "sliding"), (114, "paced"), (187, "paced"), (195, "sliding")] {
        assert_eq!(rung_after(&[QUARTER, QUARTER, Part { calls, ..QUARTER }]), expected, "{calls}");
    }
}

#[test]
fn calls_of_another_number_than_before_show_no_part_though_they_come_as_fast_as_the_whole_windows() {
    for (calls, expected) in [(100, "sliding"), (130, "paced")] {
        assert_eq!(rung_after(&[QUARTER, Part { calls, ..QUARTER }, QUARTER]), expected, "{calls}");
    }
}

#[test]
fn refusals_that_come_faster_or_slower_than_the_whole_windows_calls_show_no_part() {
    for (lasts_ms, expected) in
        [(11_000, "sliding"), (13_000, "paced"), (18_000, "paced"), (21_000, "sliding")]
    {
        let part = Part { lasts_ms, ..QUARTER };
        assert_eq!(rung_after(&[part, part, part]), expected, "{lasts_ms} ms");
    }
}

#[test]
fn nor_do_those_that_are_a_window_apart() {
    let whole = Part { calls: 590, refused: 5, lasts_ms: 61_000 };
    assert_eq!(rung_after(&[whole; 3]), "sliding");
}

#[test]
fn one_that_is_refused_at_a_time_shows_no_part_and_however_many_are_no_calls_of_it() {
    for (refused, expected) in [(1, "sliding"), (2, "paced"), (50, "paced")] {
        let part = Part { refused, ..QUARTER };
        assert_eq!(rung_after(&[part; 3]), expected, "{refused} at once");
    }
}
