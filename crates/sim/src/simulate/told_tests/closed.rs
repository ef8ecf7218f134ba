//! Refusals for reasons that no limit shows.

use super::*;

/// An observer of an upstream that refuses everything from 10 to 20 s, where so many refusals and probes are allowed.
fn told(most: u64, probes: u64) -> Told {
    let mut told = Told::new();
    let from = Duration::from_secs(10);
    let span = Secondary { from, to: from * 2, share: 1000, says_when: false };
    told.scenario.budgets[0].upstream.secondary.push(span);
    told.scenario.expects.secondary_most = Some(most);
    told.scenario.expects.probes_most = Some(probes);
    told.book = Book::new(&told.scenario);
    told.now = from;
    told
}

/// Permits are granted, refused and settled, one after the other, a second each.
fn probe(told: &mut Told, leases: std::ops::RangeInclusive<u128>) {
    for lease in leases {
        told.grant(lease);
        told.call(lease, Some(""));
        told.now += MS;
        told.settle(lease, SettleKind::Refused { counted: false }, 0);
        told.now += Duration::from_secs(1);
    }
}

#[test]
fn more_refusals_for_reasons_that_no_limit_shows_than_are_allowed_are_found() {
    let mut told = told(3, 10);
    probe(&mut told, 1..=3);
    assert_eq!(told.found(), []);
    probe(&mut told, 4..=4);
    assert_eq!(told.found(), [Invariant::NoRefusal]);
}

#[test]
fn more_probes_than_a_back_off_has_are_found() {
    // All that were granted before the first refusal was settled are one event, whenever they arrive.
    let mut told = told(100, 2);
    told.grant(100);
    told.grant(101);
    probe(&mut told, 1..=3);
    told.call(100, Some(""));
    told.call(101, Some(""));
    assert_eq!(told.found(), []);
    probe(&mut told, 4..=4);
    assert_eq!(told.found(), [Invariant::FewEpochs]);
}

#[test]
fn a_refusal_by_chance_is_no_probe() {
    let mut told = told(100, 1);
    probe(&mut told, 1..=2);
    told.now = Duration::from_secs(20);
    probe(&mut told, 3..=9);
    assert_eq!(told.found(), []);
}
