//! Permits that nobody hears of.

use super::*;
use crate::simulate::plan::SlotsPlan;

const MINUTE: Duration = Duration::from_secs(60);

/// An observer of one call at once, where nobody waits for longer than a minute.
fn told() -> Told {
    let mut told = Told::new();
    told.scenario.budgets[0].upstream.slots = Some(SlotsPlan { capacity: 1, linger: Duration::ZERO });
    told.scenario.expects.wait_bound = Some(MINUTE);
    told.scenario.expects.idle_bound = None;
    told.book = Book::new(&told.scenario);
    told
}

#[test]
fn who_waits_behind_what_nobody_hears_of_may_wait_for_longer() {
    for (lease, is_got, violated) in
        [(None, false, true), (Some(7), false, false), (Some(7), true, true), (Some(8), false, true)]
    {
        let mut told = told();
        let since = told.now;
        told.grant(7);
        if let Some(lease) = lease {
            told.book.unheard((LeaseId(lease), 0));
        }
        if is_got {
            told.book.got(told.now, (LeaseId(7), 0), 1, (since, since + MS));
        }
        // The permit's slot is its own for a minute, in which nobody else has it.
        told.book.waited(since + MINUTE * 2, 0, since);
        assert_eq!(!told.found().is_empty(), violated, "{lease:?}, {is_got}");
        told.book.waited(since + MINUTE * 3, 0, since);
        assert_eq!(told.found().last(), Some(&Invariant::BoundedWait), "{lease:?}, {is_got}");
    }
}
