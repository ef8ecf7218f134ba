use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A history of calls: milliseconds since the one before, and cost.
fn history() -> impl Strategy<Value = Vec<(u64, u64)>> {
    proptest::collection::vec((0_u64..400, 1_u64..4), 1..120)
}

/// Plays a history and gives what was accepted, as (when, cost), after `check`ing each verdict against the definition
/// of the rule, which sees all that was accepted before.
fn play(
    model: &mut dyn Model,
    history: &[(u64, u64)],
    fits: impl Fn(&[(u64, u64)], u64, u64) -> bool,
) -> Result<Vec<(u64, u64)>, TestCaseError> {
    let mut accepted: Vec<(u64, u64)> = Vec::new();
    let mut now = 0;
    for (gap, cost) in history {
        now += gap;
        let expected = fits(&accepted, now, *cost);
        let remaining = model.remaining(ms(now));
        prop_assert_eq!(*cost <= remaining, expected, "remaining {} at {} for {}", remaining, now, cost);
        if model.call(ms(now), *cost) == Verdict::Accepted {
            prop_assert!(expected);
            prop_assert_eq!(model.remaining(ms(now)), remaining - cost);
            accepted.push((now, *cost));
        } else {
            prop_assert!(!expected);
        }
    }
    Ok(accepted)
}

/// The moment at which a model says that a cost fits is the first at which it does, to the nanosecond.
fn fits_at_is_exact(model: &mut (impl Model + Clone), now: u64, cost: u64) -> Result<(), TestCaseError> {
    let Some(at) = model.fits_at(ms(now), cost) else {
        prop_assert!(cost > model.capacity());
        return Ok(());
    };
    prop_assert!(at >= ms(now));
    prop_assert!(model.clone().fits(at, cost));
    prop_assert!(at == ms(now) || !model.clone().fits(at - Duration::from_nanos(1), cost));
    Ok(())
}

proptest! {
    #[test]
    fn windows_on_a_clock_hold_no_more_than_their_capacity(
        history in history(), capacity in 1_u64..8, window in 100_u64..900, phase in 0_u64..2000, asked in 1_u64..9,
    ) {
        let index = |at: u64| (at + window - phase % window) / window;
        let mut model = ClockWindow::new(capacity, ms(window), ms(phase));
        play(&mut model, &history, |accepted, now, cost| {
            let same = accepted.iter().filter(|(at, _)| index(*at) == index(now));
            same.map(|(_, cost)| cost).sum::<u64>() + cost <= capacity
        })?;
        let now = history.iter().map(|(gap, _)| gap).sum();
        prop_assert_eq!(model.index(ms(now)), index(now));
        let end = model.window_end(ms(now)).unwrap();
        prop_assert!(end > ms(now) && end <= ms(now + window));
        prop_assert_eq!(model.clone().remaining(end), capacity);
        fits_at_is_exact(&mut model, now, asked)?;
    }

    #[test]
    fn a_window_that_starts_with_its_first_call_lasts_from_it(
        history in history(), capacity in 1_u64..8, window in 100_u64..900, asked in 1_u64..9,
    ) {
        let mut model = FirstCallWindow::new(capacity, ms(window));
        play(&mut model, &history, |accepted, now, cost| {
            let (mut opened, mut used) = (None, 0);
            for (at, cost) in accepted.iter().copied().chain([(now, 0)]) {
                if opened.is_none_or(|opened| at >= opened + window) {
                    (opened, used) = (Some(at), 0);
                }
                used += cost;
            }
            used + cost <= capacity
        })?;
        let now = history.iter().map(|(gap, _)| gap).sum();
        if let Some(end) = model.window_end(ms(now)) {
            prop_assert!(end > ms(now) && end <= ms(now + window));
            prop_assert_eq!(model.clone().remaining(end), capacity);
        }
        fits_at_is_exact(&mut model, now, asked)?;
    }

    #[test]
    fn a_rolling_log_counts_what_was_called_in_the_last_window(
        history in history(), capacity in 1_u64..8, window in 100_u64..900, asked in 1_u64..9,
    ) {
        let mut model = RollingLog::new(capacity, ms(window));
        let in_window = |accepted: &[(u64, u64)], now: u64| -> u64 {
            accepted.iter().filter(|(at, _)| at + window > now).map(|(_, cost)| cost).sum()
        };
        let accepted = play(&mut model, &history, |accepted, now, cost| {
            in_window(accepted, now) + cost <= capacity
        })?;
        let now = history.iter().map(|(gap, _)| gap).sum();
        let oldest = accepted.iter().find(|(at, _)| at + window > now).map(|(at, _)| ms(at + window));
        prop_assert_eq!(model.named_reset(ms(now)), oldest);
        prop_assert_eq!(model.window_end(ms(now)), None);
        fits_at_is_exact(&mut model, now, asked)?;
    }

    #[test]
    fn a_rolling_log_that_counts_refusals_forgets_none_that_matters(
        history in history(), capacity in 1_u64..8, window in 100_u64..900, asked in 1_u64..9,
    ) {
        let mut model = RollingLog::new(capacity, ms(window));
        let (mut now, mut called) = (0, Vec::new());
        for (gap, cost) in history {
            now += gap;
            let counts: u64 =
                called.iter().filter(|(at, _)| at + window > now).map(|(_, cost): &(u64, u64)| cost).sum();
            prop_assert_eq!(model.remaining(ms(now)), capacity.saturating_sub(counts));
            model.charge(ms(now), cost.min(capacity));
            called.push((now, cost.min(capacity)));
            fits_at_is_exact(&mut model, now, asked)?;
        }
    }

    #[test]
    fn a_bucket_gives_what_it_held_and_what_came_back(
        history in history(), capacity in 1_u64..8, amount in 1_u64..20, period in 1_u64..2000, asked in 1_u64..9,
    ) {
        // By definition, in whole parts: a level that rises by `amount` each millisecond, of `period` parts a unit.
        let full = capacity * period;
        let mut model = LeakyBucket::new(capacity, amount, ms(period));
        play(&mut model, &history, |accepted, now, cost| {
            let (mut level, mut seen) = (full, 0);
            for (at, cost) in accepted.iter().copied().chain([(now, 0)]) {
                level = (level + (at - seen) * amount).min(full) - cost * period;
                seen = at;
            }
            cost * period <= level
        })?;
        let now = history.iter().map(|(gap, _)| gap).sum();
        let reset = model.named_reset(ms(now)).unwrap();
        prop_assert_eq!(model.clone().remaining(reset), capacity);
        fits_at_is_exact(&mut model, now, asked)?;
    }

    #[test]
    fn a_bucket_and_the_cell_rate_algorithm_are_one_rule(
        history in history(), capacity in 1_u64..8, amount in 1_u64..20, period in 1_u64..2000,
    ) {
        let mut bucket = LeakyBucket::new(capacity, amount, ms(period));
        let mut cells = Gcra::new(capacity, amount, ms(period));
        let mut now = 0;
        for (gap, cost) in history {
            now += gap;
            prop_assert_eq!(bucket.remaining(ms(now)), cells.remaining(ms(now)));
            prop_assert_eq!(bucket.fits_at(ms(now), cost), cells.fits_at(ms(now), cost));
            prop_assert_eq!(bucket.named_reset(ms(now)), cells.named_reset(ms(now)));
            prop_assert_eq!(bucket.call(ms(now), cost), cells.call(ms(now), cost));
        }
    }

    #[test]
    fn two_weighted_windows_take_the_older_one_to_have_been_even(
        history in history(), capacity in 1_u64..8, window in 100_u64..900, phase in 0_u64..2000, asked in 1_u64..9,
    ) {
        let index = |at: u64| (at + window - phase % window) / window;
        // By definition, in parts of a window: what this one holds in full, the one before by what is left of this one.
        let weight = |accepted: &[(u64, u64)], now: u64| {
            let of = |i: u64| accepted.iter().filter(|(at, _)| index(*at) == i).map(|(_, cost)| cost).sum::<u64>();
            let left = phase % window + index(now) * window - now;
            let before = if index(now) == 0 { 0 } else { of(index(now) - 1) };
            of(index(now)) * window + before * left
        };
        let mut model = WeightedWindows::new(capacity, ms(window), ms(phase));
        let accepted = play(&mut model, &history, |accepted, now, cost| {
            weight(accepted, now) + cost * window <= capacity * window
        })?;
        let now = history.iter().map(|(gap, _)| gap).sum();
        let end = phase % window + index(now) * window;
        match model.named_reset(ms(now)) {
            Some(reset) if reset < ms(end) => {
                prop_assert!(reset > ms(now));
                prop_assert!(model.clone().remaining(reset) > model.remaining(ms(now)));
            }
            Some(reset) => prop_assert_eq!(reset, ms(end)),
            None => prop_assert_eq!(weight(&accepted, now), 0),
        }
        // Who names ends counts alike.
        let mut names_ends = WeightedWindows::naming_ends(capacity, ms(window), ms(phase));
        prop_assert_eq!(&play(&mut names_ends, &history, |accepted, now, cost| {
            weight(accepted, now) + cost * window <= capacity * window
        })?, &accepted);
        prop_assert_eq!(names_ends.named_reset(ms(now)), Some(ms(end)));
        fits_at_is_exact(&mut model, now, asked)?;
    }

    #[test]
    fn a_window_enforced_in_parts_holds_its_share_in_each(
        history in history(), share in 1_u64..4, parts in 1_u32..6, part in 50_u64..300, phase in 0_u64..2000, asked in 1_u64..16,
    ) {
        let (window, capacity) = (part * u64::from(parts), share * u64::from(parts));
        let mut model = SubWindows::new(capacity, ms(window), parts, ms(phase));
        let in_same = |accepted: &[(u64, u64)], now: u64, length: u64| -> u64 {
            let index = |at: u64| (at + length - phase % length) / length;
            accepted.iter().filter(|(at, _)| index(*at) == index(now)).map(|(_, cost)| cost).sum()
        };
        let accepted = play(&mut model, &history, |accepted, now, cost| {
            in_same(accepted, now, part) + cost <= share && in_same(accepted, now, window) + cost <= capacity
        })?;
        let now = history.iter().map(|(gap, _)| gap).sum();
        prop_assert_eq!(model.named_remaining(ms(now)), capacity - in_same(&accepted, now, window));
        let end = model.window_end(ms(now)).unwrap();
        prop_assert_eq!(model.clone().named_remaining(end), capacity);
        if let Some(at) = model.fits_at(ms(now), asked) {
            prop_assert!(at >= ms(now) && model.clone().fits(at, asked));
            prop_assert!(at == ms(now) || !model.clone().fits(at - Duration::from_nanos(1), asked));
        } else {
            prop_assert!(asked > share);
        }
    }

    #[test]
    fn a_capacity_that_changes_leaves_what_counts(
        before in history(), after in history(), old in 1_u64..8, new in 1_u64..8, window in 100_u64..900, phase in 0_u64..2000,
    ) {
        let full = 100_000;
        type Pair = (&'static str, Box<dyn Model>, Box<dyn Model>);
        let models: [Pair; 4] = [
            ("clock", Box::new(ClockWindow::new(old, ms(window), ms(phase))), Box::new(ClockWindow::new(full, ms(window), ms(phase)))),
            ("first call", Box::new(FirstCallWindow::new(old, ms(window))), Box::new(FirstCallWindow::new(full, ms(window)))),
            ("rolling", Box::new(RollingLog::new(old, ms(window))), Box::new(RollingLog::new(full, ms(window)))),
            ("weighted", Box::new(WeightedWindows::new(old, ms(window), ms(phase))), Box::new(WeightedWindows::new(full, ms(window), ms(phase)))),
        ];
        for (name, mut model, mut counter) in models {
            // What is used is counted by the same rule with more than anybody uses.
            let (mut now, mut capacity) = (0, old);
            for (i, (gap, cost)) in before.iter().chain(&after).enumerate() {
                now += gap;
                if i == before.len() {
                    model.resize(ms(now), new);
                    capacity = new;
                }
                let used = full - counter.remaining(ms(now));
                prop_assert_eq!(model.remaining(ms(now)), capacity.saturating_sub(used), "{}", name);
                if model.call(ms(now), *cost) == Verdict::Accepted {
                    counter.charge(ms(now), *cost);
                }
            }
        }
    }

    #[test]
    fn a_bucket_that_changes_keeps_what_is_missing_and_refills_in_proportion(
        before in history(), after in history(), old in 1_u64..8, new in 1_u64..8, rate in 1_u64..5, period in 1_u64..2000,
    ) {
        let mut bucket = LeakyBucket::new(old, old * rate, ms(period));
        let mut cells = Gcra::new(old, old * rate, ms(period));
        // By definition, in parts of which a unit has `period` nanoseconds' worth.
        let (mut missing, mut seen, mut now, mut capacity) = (0_u64, 0, 0, old);
        let nano_period = period * 1_000_000;
        for (i, (gap, cost)) in before.iter().chain(&after).enumerate() {
            now += gap;
            missing = missing.saturating_sub((now - seen) * 1_000_000 * capacity * rate);
            seen = now;
            if i == before.len() {
                bucket.resize(ms(now), new);
                cells.resize(ms(now), new);
                capacity = new;
            }
            let remaining = capacity.saturating_sub(missing.div_ceil(nano_period));
            prop_assert_eq!(bucket.remaining(ms(now)), remaining);
            prop_assert_eq!(cells.remaining(ms(now)), remaining);
            let fits = *cost <= remaining;
            prop_assert_eq!(bucket.call(ms(now), *cost) == Verdict::Accepted, fits);
            prop_assert_eq!(cells.call(ms(now), *cost) == Verdict::Accepted, fits);
            missing += if fits { cost * nano_period } else { 0 };
        }
    }

    #[test]
    fn a_slot_is_taken_from_its_start_until_it_has_lingered(
        steps in proptest::collection::vec((0_u64..50, any::<bool>()), 1..120), capacity in 1_usize..5, linger in 0_u64..80,
    ) {
        let mut model = Concurrency::new(capacity, ms(linger));
        // Each call as (answered at, if it is).
        let mut calls: Vec<Option<u64>> = Vec::new();
        let mut now = 0;
        for (gap, start) in steps {
            now += gap;
            let taken = calls.iter().filter(|end| end.is_none_or(|end| end + linger > now)).count();
            prop_assert_eq!(model.taken(ms(now)), taken);
            prop_assert_eq!(model.under_way(), calls.iter().filter(|end| end.is_none()).count());
            if start {
                prop_assert_eq!(model.fits_at(ms(now)) == Some(ms(now)), taken < capacity);
                if model.start(ms(now)) {
                    prop_assert!(taken < capacity);
                    calls.push(None);
                } else {
                    prop_assert!(taken >= capacity);
                }
            } else if let Some(open) = calls.iter_mut().find(|end| end.is_none()) {
                *open = Some(now);
                model.finish(ms(now));
            }
        }
    }
}

fn rule(name: &'static str, classes: &'static [&'static str], refusals_count: bool, n: u64) -> Rule {
    let model = Box::new(ClockWindow::new(n, ms(1000), Duration::ZERO));
    Rule { name, classes, refusals_count, model }
}

#[test]
fn a_call_must_fit_every_rule_of_its_class_and_else_counts_on_none() {
    let rules = vec![rule("all", &[], false, 3), rule("auth", &["auth"], false, 1)];
    let mut account = Account::new(rules, Some(Concurrency::new(2, ms(10))));
    assert_eq!(account.call(ms(0), "auth", 1), Answer::Accepted);
    let refused = Answer::Refused { by: Some(1), fits_at: Some(ms(1000)) };
    assert_eq!(account.call(ms(1), "auth", 1), refused);
    assert_eq!(account.standing(ms(1), 0).unwrap().remaining, 2);
    assert_eq!(account.call(ms(2), "default", 1), Answer::Accepted);
    // Two are under way: the windows have room, the slots have not, and when one will be free nobody knows.
    assert_eq!(account.call(ms(3), "default", 1), Answer::Refused { by: None, fits_at: None });
    account.finish(ms(5));
    assert_eq!(account.call(ms(6), "default", 1), Answer::Refused { by: None, fits_at: Some(ms(15)) });
    assert_eq!(account.standing(ms(6), 0).unwrap().remaining, 1);
    assert_eq!(account.call(ms(15), "default", 1), Answer::Accepted);
    assert_eq!(
        account.call(ms(16), "auth", 1),
        Answer::Refused { by: Some(0), fits_at: Some(ms(1000)) },
        "the first rule in order is the one that is told"
    );
}

#[test]
fn refusals_that_count_prolong_a_rolling_throttle() {
    let model = Box::new(RollingLog::new(2, ms(1000)));
    let rules = vec![Rule { name: "reads", classes: &["read"], refusals_count: true, model }];
    let mut account = Account::new(rules, None);
    assert_eq!(account.call(ms(0), "read", 1), Answer::Accepted);
    assert_eq!(account.call(ms(100), "read", 1), Answer::Accepted);
    // Without the refused call there would be room again at 1000.
    let refused = Answer::Refused { by: Some(0), fits_at: Some(ms(1100)) };
    assert_eq!(account.call(ms(200), "read", 1), refused);
    let refused = Answer::Refused { by: Some(0), fits_at: Some(ms(1200)) };
    assert_eq!(account.call(ms(1000), "read", 1), refused);
    assert_eq!(account.call(ms(2000), "write", 1), Answer::Accepted, "no rule of the class, no limit");
    assert_eq!(account.call(ms(2000), "read", 1), Answer::Accepted);
}

#[test]
fn others_use_what_we_do_not() {
    let mut account = Account::new(vec![rule("all", &[], false, 2)], Some(Concurrency::new(1, ms(0))));
    assert!(account.foreign(ms(0), "default", 1));
    assert_eq!(account.call(ms(1), "default", 1), Answer::Accepted);
    assert!(!account.foreign(ms(2), "default", 1));
    assert_eq!(account.standing(ms(2), 0).unwrap().remaining, 0);
}
