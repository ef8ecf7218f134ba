//! What the observer is told: each of its invariants fails where it must.

mod closed;
mod unheard;

use std::{sync::Arc, time::Duration};

use bursar_ledger::{HostError, VmUse};
use bursar_quota::{
    AcquireGroup, BudgetSnapshot, Commit, CommitReply, Decision, LeaseId, Ledger, LimitKind, LimitName,
    LimitSnapshot, LimitSpec, ReplicaName, Requests, SettleGroup, SettleKind, Settled, TenantName, Tier,
    UnitName, Usage,
};

use super::{
    Keep,
    book::{Arrival, Book, Ran, Rest},
    dice::Dice,
    exact,
    invariants::Invariant,
    plan::{Scenario, Secondary},
    store::Machine,
    tests::sized,
    upstream::{Answer, RuleTruth},
    world::World,
};

/// An observer of one budget, `window` of 600 a minute and `slots` at once, and what it is told.
struct Told {
    book: Book,
    scenario: Scenario,
    now: Duration,
}

const MS: Duration = Duration::from_millis(1);

fn usage() -> VmUse {
    VmUse { instructions: 10_000, commands: 10, keys: 5, bytes: 1000 }
}

impl Told {
    fn new() -> Self {
        let mut scenario = sized("window", 1, 8, 2);
        let kind = LimitKind::Concurrency { capacity: 1, linger: Duration::ZERO };
        let slots = LimitSpec::new(LimitName::new("slots").unwrap(), kind);
        scenario.budgets[0].spec.limits.push(slots);
        scenario.expects.exact_at_rest = true;
        Self { book: Book::new(&scenario), scenario, now: Duration::from_secs(1) }
    }

    fn commit(settles: Vec<SettleGroup>, acquires: Vec<AcquireGroup>) -> Commit {
        Commit {
            replica: ReplicaName::new("r0").unwrap(),
            spec_version: 1,
            contenders: Vec::new(),
            looks: Vec::new(),
            waiting: 0,
            jitter: 0.5,
            settles,
            renews: Vec::new(),
            acquires,
        }
    }

    fn ran(&mut self, commit: &Commit, reply: &CommitReply, usage: VmUse) {
        self.book.committed(self.now, &Ran { budget: 0, commit, reply, usage, by_store: self.now });
    }

    fn reply() -> CommitReply {
        CommitReply {
            settled: Vec::new(),
            renewed: Vec::new(),
            decisions: Vec::new(),
            paused_ms: Vec::new(),
            limits: vec![(600, 0, 0), (1, 0, 0)],
            found: Vec::new(),
            resent: false,
        }
    }

    fn group(&self, lease: u128) -> AcquireGroup {
        AcquireGroup {
            lease: LeaseId(lease),
            requests: Requests::None,
            class: self.scenario.budgets[0].spec.class_or_default(None),
            tenant: TenantName::default_tenant(),
            tier: Tier::Standard,
            costs: vec![1, 1],
            units: vec![(UnitName::requests(), 1)],
            count: 1,
            ttl_ms: 60_000,
        }
    }

    fn grant(&mut self, lease: u128) {
        let granted = Decision {
            granted: 1,
            places: Vec::new(),
            send_within_ms: 5000,
            deadline_ms: 60_000,
            refusal: None,
        };
        let reply = CommitReply { decisions: vec![granted], ..Self::reply() };
        self.ran(&Self::commit(Vec::new(), vec![self.group(lease)]), &reply, usage());
    }

    fn settle(&mut self, lease: u128, kind: SettleKind, paused_ms: u64) {
        self.settle_for(lease, kind, paused_ms, 0);
    }

    /// Settled, with what it cost in requests; 0: that is not said.
    fn settle_for(&mut self, lease: u128, kind: SettleKind, paused_ms: u64, cost: u64) {
        let units = (cost > 0).then(|| (UnitName::requests(), cost)).into_iter().collect();
        let group = SettleGroup {
            lease: LeaseId(lease),
            indexes: vec![0],
            kind,
            costs: Vec::new(),
            units,
            readings: Vec::new(),
            pause: None,
            age_ms: 0,
        };
        let (settled, paused_ms) = (vec![vec![Settled::Applied]], vec![paused_ms]);
        let reply = CommitReply { settled, paused_ms, ..Self::reply() };
        self.ran(&Self::commit(vec![group], Vec::new()), &reply, usage());
    }

    /// A call under a permit arrives; refused, it is told to stay away for so many seconds.
    fn call(&mut self, lease: u128, refused: Option<&str>) {
        let told = refused.filter(|seconds| !seconds.is_empty()).map(|seconds| ("Retry-After", seconds));
        self.answered(lease, refused.is_some(), told.as_slice());
    }

    /// A call under a permit arrives, and is answered with such headers.
    fn answered(&mut self, lease: u128, is_refused: bool, headers: &[(&str, &str)]) {
        let header = |(name, value): &(&str, &str)| ((*name).to_owned(), value.as_bytes().to_vec());
        let answer = Answer {
            call: u64::try_from(lease).unwrap(),
            accepted: !is_refused,
            refused_by: is_refused.then(|| "secondary".to_owned()),
            status: if is_refused { 429 } else { 200 },
            headers: headers.iter().map(header).collect(),
            body: Vec::new(),
            costs: Vec::new(),
            readings_sent: false,
            tells_until: is_refused && !headers.is_empty(),
        };
        self.book.arrived(self.now, &Arrival { key: (LeaseId(lease), 0), answer: &answer, units: &[] });
    }

    /// One of the book's looks at a budget that stands so.
    fn rest(
        &mut self,
        available: i64,
        truth: u64,
        charged: u64,
        out: u64,
        look: fn(&mut Book, Duration, &Rest<'_>),
    ) {
        let limit = |name: &str, available, out| LimitSnapshot {
            limit: LimitName::new(name).unwrap(),
            capacity: 600,
            available,
            out,
            paid: 0,
            rung: "aligned".to_owned(),
            window_end_ms: Some((0, 60_000)),
            known: true,
            foreign: 0,
            recovering_ms: None,
            foreign_per_window: 0,
            reserved: 0,
        };
        let name = self.scenario.budgets[0].spec.limits[0].name.clone();
        let usage = Usage {
            dimension: "class".to_owned(),
            name: "default".to_owned(),
            unit: UnitName::requests(),
            cost: charged,
        };
        let snapshot = BudgetSnapshot {
            limits: vec![limit(name.as_str(), available, 0), limit("slots", 1, out)],
            pauses: Vec::new(),
            usage: vec![usage],
            granted: 0,
            settled: 0,
            refused_upstream: 0,
            waiting: Vec::new(),
        };
        let rule = RuleTruth {
            rule: name.as_str().to_owned(),
            unit: "requests".to_owned(),
            capacity: 600,
            remaining: truth,
            window_end: Some(self.now + Duration::from_secs(30)),
            accepted: 600 - truth,
            refused: 0,
            foreign: 0,
            charged: 600 - truth,
        };
        let rest =
            Rest { budget: 0, stopped: self.now, snapshot: &snapshot, truths: &[rule], slots_taken: 0 };
        look(&mut self.book, self.now, &rest);
    }

    fn found(&self) -> Vec<Invariant> {
        self.book.violations.told().iter().map(|violation| violation.invariant).collect()
    }
}

#[test]
fn a_world_that_is_right_is_found_right() {
    let mut told = Told::new();
    told.grant(1);
    told.book.got(told.now, (LeaseId(1), 0), 0, (told.now, told.now + MS * 5000));
    told.call(1, None);
    told.book.let_go(0, (LeaseId(1), 0));
    told.settle(1, SettleKind::Accepted, 0);
    told.rest(599, 599, 1, 0, Book::at_rest);
    told.rest(599, 599, 1, 0, Book::at_end);
    assert_eq!(told.found(), []);
}

#[test]
fn at_rest_less_than_the_truth_is_not_exact_and_more_is_above() {
    let mut told = Told::new();
    told.rest(599, 600, 0, 0, Book::at_rest);
    assert_eq!(told.found(), [Invariant::AtRestExact]);
    let mut told = Told::new();
    told.rest(600, 599, 0, 0, Book::at_rest);
    assert_eq!(told.found(), [Invariant::AtRestNotAbove, Invariant::AtRestExact]);
}

#[test]
fn what_is_available_and_what_may_still_come_is_no_more_than_remains() {
    let mut told = Told::new();
    told.grant(1);
    told.rest(599, 600, 0, 1, Book::under_way);
    assert_eq!(told.found(), []);
    told.rest(600, 600, 0, 1, Book::under_way);
    assert_eq!(told.found(), [Invariant::NeverAbove]);
    // Nothing is left for one that is out.
    let mut told = Told::new();
    told.grant(1);
    told.rest(0, 0, 0, 1, Book::under_way);
    assert_eq!(told.found(), [Invariant::NeverAbove]);
    let mut told = Told::new();
    told.grant(1);
    told.call(1, None);
    told.rest(599, 599, 1, 1, Book::under_way);
    assert_eq!(told.found(), []);
}

#[test]
fn two_permits_where_one_may_be_out_are_too_many() {
    let mut told = Told::new();
    for lease in [1, 2] {
        told.grant(lease);
        told.book.got(told.now, (LeaseId(lease), 0), 0, (told.now, told.now + MS * 5000));
    }
    assert_eq!(told.found(), [Invariant::SlotsWithin]);
    let mut told = Told::new();
    let reply = CommitReply { limits: vec![(600, 0, 0), (-1, 1, 1)], ..Told::reply() };
    told.ran(&Told::commit(Vec::new(), Vec::new()), &reply, usage());
    assert_eq!(told.found(), [Invariant::SlotsWithin]);
}

#[test]
fn replicas_that_wake_each_other_without_end_are_found() {
    // A thousand in ten seconds, and two hundred for each of eight workers: so many may come to nothing.
    let most = 1000 + 200 * 8;
    let storm = |commits: u32, apart: Duration| {
        let mut told = Told::new();
        for _ in 0..commits {
            told.now += apart;
            told.ran(&Told::commit(Vec::new(), Vec::new()), &Told::reply(), usage());
        }
        told.found()
    };
    assert_eq!(storm(most, MS), [Invariant::BoundedWork]);
    assert_eq!(storm(most - 1, MS), []);
    // A few at a time go on for ever.
    assert_eq!(storm(10 * most, MS * 5), []);
    let mut told = Told::new();
    for lease in 0..200 {
        told.now += MS * 10;
        told.grant(lease);
        for _ in 0..20 {
            told.ran(&Told::commit(Vec::new(), Vec::new()), &Told::reply(), usage());
        }
    }
    assert_eq!(told.found(), [], "what is granted may wake others");
}

#[test]
fn a_slot_that_does_not_come_back_is_missed() {
    let mut told = Told::new();
    told.rest(600, 600, 0, 1, Book::at_end);
    assert_eq!(told.found(), [Invariant::SlotsReturn]);
}

#[test]
fn a_charge_too_many_or_too_few_is_found() {
    let mut told = Told::new();
    told.grant(1);
    told.call(1, None);
    told.settle(1, SettleKind::Accepted, 0);
    told.rest(599, 599, 2, 0, Book::at_end);
    assert_eq!(told.found(), [Invariant::ChargesEqual]);
    // What a settlement said that it cost is what it cost.
    for (said, is_wrong) in [(1, false), (2, true)] {
        let mut told = Told::new();
        told.grant(1);
        told.call(1, None);
        told.settle_for(1, SettleKind::Accepted, 0, said);
        told.rest(599, 599, said, 0, Book::at_end);
        assert_eq!(told.found().contains(&Invariant::ChargesEqual), is_wrong, "{said}");
    }
    // Given back, though it was sent; sent, though it was given back.
    for sent_first in [true, false] {
        let mut told = Told::new();
        told.grant(1);
        if sent_first {
            told.call(1, None);
            told.settle(1, SettleKind::Unclaimed, 0);
        } else {
            told.settle(1, SettleKind::NotSent, 0);
            told.call(1, None);
        }
        assert_eq!(told.found(), [Invariant::ChargesEqual]);
    }
}

#[test]
fn a_grant_before_the_upstream_said_so_is_one_in_a_pause() {
    let mut told = Told::new();
    told.grant(1);
    told.call(1, Some("10"));
    told.settle(1, SettleKind::Refused { counted: false }, 10_000);
    told.now += Duration::from_secs(10) - MS;
    told.grant(2);
    assert_eq!(told.found(), [Invariant::NoGrantInPause]);
    told.now += MS;
    told.grant(3);
    assert_eq!(told.found().len(), 1);
}

#[test]
fn a_date_until_which_to_stay_away_is_one_by_the_responses_own() {
    let away = "Sun, 22 Nov 2026 06:00:17 GMT";
    // By the upstream's clock, whatever ours shows; its own date is cut to the second.
    let cases: [(&[&str], u64); 5] = [
        (&["Sun, 22 Nov 2026 06:00:07 GMT"], 9),
        (&["Sun, 22 Nov 2026 06:00:16 GMT"], 0),
        (&["Sun, 22 Nov 2026 06:00:18 GMT"], 0),
        // Whose clock that is nobody knows.
        (&[], 0),
        (&["Sun, 22 Nov 2026 06:00:07 GMT", "Sun, 22 Nov 2026 06:00:08 GMT"], 0),
    ];
    for (dates, seconds) in cases {
        let headers: Vec<_> =
            dates.iter().map(|date| ("Date", *date)).chain([("Retry-After", away)]).collect();
        let mut told = Told::new();
        told.grant(1);
        told.answered(1, true, &headers);
        told.settle(1, SettleKind::Refused { counted: false }, 10_000);
        let refused = told.now;
        if seconds > 0 {
            told.now = refused + Duration::from_secs(seconds) - MS;
            told.grant(2);
            assert_eq!(told.found(), [Invariant::NoGrantInPause], "{dates:?}");
        }
        told.now = refused + Duration::from_secs(seconds);
        told.grant(3);
        assert_eq!(told.found().len(), usize::from(seconds > 0), "{dates:?}");
    }
}

#[test]
fn a_congestion_event_that_counts_twice_is_found() {
    // Two permits granted before the pause began; the second refusal moves its end.
    let mut told = Told::new();
    told.grant(1);
    told.grant(2);
    told.call(1, Some(""));
    told.call(2, Some(""));
    told.settle(1, SettleKind::Refused { counted: false }, 900);
    told.settle(2, SettleKind::Refused { counted: false }, 1900);
    assert_eq!(told.found(), [Invariant::OneEventCountsOnce]);
    // One epoch backs off by more than one step.
    let mut told = Told::new();
    told.grant(1);
    told.call(1, Some(""));
    told.settle(1, SettleKind::Refused { counted: false }, 4000);
    assert_eq!(told.found(), [Invariant::OneEventCountsOnce]);
}

#[test]
fn scripts_refuse_by_name_and_never_fail() {
    let failed = |code: &str| {
        let mut told = Told::new();
        let error = HostError::Script { code: code.to_owned(), message: "of some sort".to_owned() };
        told.book.failed(told.now, "commit", &error);
        told.found()
    };
    for known in ["FORGOTTEN", "LOST", "NOBUDGET", "STALE"] {
        assert_eq!(failed(known), []);
    }
    assert_eq!(failed("ERR"), [Invariant::ScriptsAnswer]);
    let mut told = Told::new();
    told.book.unread(told.now, &bursar_quota::LedgerError::Corrupt("of no sort".to_owned()));
    assert_eq!(told.found(), [Invariant::ScriptsAnswer]);
}

#[test]
fn work_and_memory_have_bounds() {
    let huge = [
        (VmUse { commands: 10_000, ..usage() }, Invariant::BoundedWork),
        (VmUse { instructions: 50_000_000, ..usage() }, Invariant::BoundedWork),
        (VmUse { keys: 10_000, ..usage() }, Invariant::BoundedMemory),
        (VmUse { bytes: 1 << 30, ..usage() }, Invariant::BoundedMemory),
    ];
    for (used, invariant) in huge {
        let mut told = Told::new();
        told.ran(&Told::commit(Vec::new(), Vec::new()), &Told::reply(), used);
        assert_eq!(told.found(), [invariant]);
    }
    let mut told = Told::new();
    let crowd = Commit { waiting: 1000, ..Told::commit(Vec::new(), Vec::new()) };
    told.ran(&crowd, &Told::reply(), usage());
    assert_eq!(told.found(), [Invariant::BoundedMemory]);
}

#[test]
fn leases_that_are_settled_are_kept_for_a_minute_and_no_longer() {
    for (kept, is_broken) in [(60, false), (200, true)] {
        let mut told = Told::new();
        for lease in 0..200 {
            told.grant(lease);
            told.call(lease, None);
            told.settle(lease, SettleKind::Accepted, 0);
        }
        told.now += Duration::from_secs(63);
        // Some are swept in each run.
        for left in (0..200).step_by(16).rev() {
            let used = VmUse { keys: 5 + kept.max(left), ..usage() };
            told.ran(&Told::commit(Vec::new(), Vec::new()), &Told::reply(), used);
        }
        assert_eq!(told.found().contains(&Invariant::BoundedMemory), is_broken, "{kept}: {:?}", told.found());
    }
}

#[test]
fn a_time_to_come_back_that_is_wrong_by_a_millisecond_is_found() {
    let _machine = Machine::start().unwrap();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut scenario = sized("sliding", 1, 1, 1);
        scenario.budgets[0].spec.limits[0].readings = false;
        let world = Arc::new(World::new(&scenario, 1, Keep::Last(0)));
        let spec = &scenario.budgets[0].spec;
        world.ledger.put(spec).await.unwrap();
        let class = spec.class_or_default(None);
        let group = |lease: u128| AcquireGroup {
            lease: LeaseId::new(&class, lease),
            requests: Requests::None,
            class: class.clone(),
            tenant: TenantName::default_tenant(),
            tier: Tier::Standard,
            costs: vec![1],
            units: vec![(UnitName::requests(), 1)],
            count: 1000,
            ttl_ms: 60_000,
        };
        world.ledger.commit(&spec.name, &Told::commit(Vec::new(), vec![group(1)])).await.unwrap();
        let asked = Told::commit(Vec::new(), vec![group(2)]);
        let mut reply = world.ledger.commit(&spec.name, &asked).await.unwrap();
        let mut dice = Dice::of(1, "test", 0);
        exact::check(&world, 0, &asked, &reply, &mut dice);
        assert_eq!(world.book().violations.told(), []);
        assert_eq!(world.book().tally.refusal_checks, 1);
        for (at, off) in [(1, MS), (2, Duration::ZERO)] {
            let refusal = reply.decisions[0].refusal.as_mut().unwrap();
            let after = refusal.retry_after.unwrap();
            // A millisecond too late; then a millisecond too early.
            refusal.retry_after = Some(if off.is_zero() { after - MS * 2 } else { after + MS });
            exact::check(&world, 0, &asked, &reply, &mut dice);
            assert_eq!(world.book().violations.told().len(), at);
        }
    });
}
