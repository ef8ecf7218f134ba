//! The ration: what a lane grants while the ledger gives no answer, where the budget declares it.
//!
//! Architecture Invariant: this is the one place outside the ledger where a grant is decided. It decides by what was
//! declared and what the ledger said last, and never grants where that is not known, paused or used up.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bursar_quota::{CommitReply, EventKind, LedgerError, LedgerEvent, Scope, SettleKind, Settled, Trouble};

use super::{
    ANSWERED, Lane, Pending, PendingRenew, Unclaimed,
    answers::Answers,
    counts::settle_kind,
    decide::Terms,
    flight::Flight,
    lease::Leases,
    plan::Group,
    ration::Rations,
    run::{Down, Run},
    waiter::Waiter,
};
use crate::{
    SettleReport,
    bars::{Bars, FOR_GOOD},
    millis::millis,
    spec::SpecView,
};

/// For how long an answer of the ledger to this lane counts for more than what is said of it elsewhere.
const FRESH: Duration = Duration::from_secs(1);

/// When those are to come back for whom a ration that began before a commit failed has nothing.
const COME_BACK: Duration = Duration::from_secs(1);

/// How soon those who wait are looked at again for whom the ration had nothing.
const STEP: Duration = Duration::from_millis(100);

impl Rations {
    /// Whether the ration might have something for one who just came.
    pub(super) fn may_have(
        &mut self,
        waiter: &Waiter,
        view: Option<&SpecView>,
        lane: &Lane,
        now: Duration,
    ) -> bool {
        let Some(view) = view else { return false };
        let of_request = |tag| Leases::of_request(&waiter.kind.class, tag);
        if waiter.request.is_some_and(|tag| self.has(of_request(tag))) {
            return true;
        }
        let kind = &waiter.kind;
        let barred = lane.spec.bars().until(&kind.class, &kind.costs, &view.spec, now).is_some();
        !barred && self.room_for(&kind.costs, now) > 0
    }

    fn room_for(&mut self, costs: &[u64], now: Duration) -> u64 {
        let out = if self.allowance.has_slots() { self.out(costs.len(), now) } else { Vec::new() };
        let room = self.room();
        self.allowance.fits(costs, &out, room, now)
    }

    /// How many of a group may be granted.
    fn fits(&mut self, group: &Group, bars: &Bars, view: &SpecView, now: Duration) -> u16 {
        if bars.until(&group.kind.class, &group.kind.costs, &view.spec, now).is_some() {
            return 0;
        }
        let fits = self.room_for(&group.kind.costs, now);
        u16::try_from(fits).unwrap_or(u16::MAX).min(group.count)
    }
}

impl Run {
    /// The specification by which the lane may grant now; `None`: it has no ration, or its time is over, or the
    /// specification is known to be an old one.
    pub(super) fn ration(&self, now: Duration) -> Option<Arc<SpecView>> {
        let since = self.rations.since?;
        let view = self.view.as_ref().filter(|_| self.reading.is_none())?;
        let span = view.spec.rations()?.span;
        let current = self.lane.spec.peek().is_some_and(|known| Arc::ptr_eq(&known, view));
        (current && now < since + span).then(|| Arc::clone(view))
    }

    /// When the ration that is in force ends.
    pub(super) fn ration_ends(&self) -> Option<Duration> {
        let span = self.view.as_ref()?.spec.rations()?.span;
        self.rations.since.filter(|_| self.rations.announced).map(|since| since + span)
    }

    /// The ledger gave no answer; whether the ration is in force.
    // ## Answering => Lost
    pub(super) fn lose(&mut self) -> bool {
        let now = self.now();
        if self.rations.since.is_none() {
            // Whoever is asked late must not begin late: its time counts from when the store was lost.
            let lasts = self.core.ledger.trouble().map_or(Duration::ZERO, |trouble| trouble.lasts);
            let since = now.saturating_sub(lasts).max(self.rations.answered.unwrap_or_default());
            self.rations.since = Some(since);
            self.rations.granted = 0;
            self.lane.lost_ms.store(millis(since), Ordering::Relaxed);
        }
        self.begin_ration(now)
    }

    /// Somebody asks while the ledger is known not to be reachable: no commit of ours need show it first.
    // ## Answering => Lost
    fn lose_early(&mut self, now: Duration) {
        let may_ration = self.view.as_ref().is_some_and(|view| view.spec.rations().is_some());
        let is_fresh = self.rations.answered.is_some_and(|at| now < at + FRESH);
        if !may_ration || is_fresh || self.rations.since.is_some() || self.queues.len() == 0 {
            return;
        }
        let Some(Trouble { cause, .. }) = self.core.ledger.trouble() else { return };
        // Whom the ration has nothing for is told so. The ledger is asked all the same.
        let error = LedgerError::Unavailable { cause, retry_after: COME_BACK };
        self.down.get_or_insert(Down { until: now, error });
        self.lose();
    }

    /// The ledger answers.
    // ## Lost => Answering
    pub(super) fn found(&mut self) {
        self.rations.answered = Some(self.now());
        if self.rations.since.take().is_some() {
            self.lane.lost_ms.store(ANSWERED, Ordering::Relaxed);
            self.end_ration(true);
            // Who was passed over is worth asking for.
            self.queues.bump();
        }
    }

    fn begin_ration(&mut self, now: Duration) -> bool {
        let Some(view) = self.ration(now) else { return false };
        let Some(ration) = view.spec.rations() else { return false };
        self.rations.allowance.adopt(&view.spec, ration, view.version, now);
        if std::mem::replace(&mut self.rations.announced, true) {
            return true;
        }
        // ## Lost => Rationing
        let (budget, replica) = (&self.lane.name, self.core.config.replica.clone());
        let left = self.rations.since.map_or(ration.span, |since| (since + ration.span).saturating_sub(now));
        tracing::warn!(
            %budget, fraction = ration.fraction, replicas = ration.replicas, span = ?left,
            "the store gives no answer: granting by the budget's ration"
        );
        self.core.rationing.fetch_add(1, Ordering::Relaxed);
        self.core.metrics.rationing(budget, 1);
        self.announce(EventKind::RationBegan { replica, for_ms: crate::millis::millis(left) });
        true
    }

    // ## Rationing => Lost, Rationing => Answering
    fn end_ration(&mut self, store_back: bool) {
        if !std::mem::take(&mut self.rations.announced) {
            return;
        }
        let (budget, replica, granted) =
            (&self.lane.name, self.core.config.replica.clone(), self.rations.granted);
        if store_back {
            tracing::info!(%budget, granted, "the store answers again: the ration ends");
        } else {
            tracing::warn!(%budget, granted, "the ration is over: refusing until the store answers");
        }
        self.core.rationing.fetch_sub(1, Ordering::Relaxed);
        self.core.metrics.rationing(budget, -1);
        self.announce(EventKind::RationEnded { replica, granted, store_back });
    }

    fn announce(&self, kind: EventKind) {
        if let Some(watchers) = self.core.watchers.upgrade() {
            // Nobody watches: that is no error.
            let _ = watchers.send(LedgerEvent { budget: self.lane.name.clone(), kind });
        }
    }

    /// Grants what the ration has for those who are queued.
    pub(super) fn ration_out(&mut self, now: Duration) {
        self.lose_early(now);
        if self.rations.since.is_none() {
            return;
        }
        if !self.begin_ration(now) {
            // While the specification is being read again nobody knows yet.
            let unsure = self.reading.is_some() && self.ration_ends().is_some_and(|ends| now < ends);
            if !unsure {
                self.end_ration(false);
            }
            return;
        }
        if self.queues.len() > 0
            && let Some(view) = self.view.clone()
        {
            self.grant_ration(&view, now);
        }
        if std::mem::take(&mut self.rations.hoped)
            && let Some(down) = self.down.as_ref().filter(|down| now < down.until)
        {
            let mut answers = Answers::new(&self.lane.name, &self.core.metrics, now);
            self.queues.fail_impatient(down.until, &down.error, &mut answers);
        }
    }

    /// Each round grants all that it asks for, or leaves a class alone: so it ends.
    fn grant_ration(&mut self, view: &Arc<SpecView>, now: Duration) {
        let lane = Arc::clone(&self.lane);
        let before = self.rations.granted;
        let terms = Terms { view, stand: &[], age: Duration::ZERO, recheck: self.core.config.recheck };
        let mut unclaimed = Vec::new();
        let mut answers = Answers::new(&lane.name, &self.core.metrics, now);
        answers.rationed = true;
        while let Some(batch) = self.queues.plan_apart(now, view, &mut self.leases) {
            let mut short = Vec::new();
            let mut rest = &batch.waiters[..];
            for group in &batch.groups {
                let (keys, others) = rest.split_at(usize::from(group.count).min(rest.len()));
                rest = others;
                let again = self.rations.again(group.lease, now);
                let decision = again.unwrap_or_else(|| {
                    let fits = self.rations.fits(group, &lane.spec.bars(), view, now);
                    self.rations.grant(group, fits, view, now)
                });
                let granted = decision.granted;
                self.queues.grant(group, granted, keys, &decision, &terms, &mut answers, &mut unclaimed);
                if granted < group.count {
                    short.push(group.class);
                }
            }
            self.queues.put_back(&batch.waiters);
            self.queues.hold(&short, now + STEP);
        }
        drop(answers);
        if self.flights.is_empty() && self.down.as_ref().is_none_or(|down| now >= down.until) {
            // It is time to ask the ledger for those for whom there was nothing: else nobody would find that it is back.
            self.queues.bump();
        }
        self.core.metrics.rationed(&lane.name, self.rations.granted - before);
        self.take_unsent(unclaimed);
    }

    /// Takes in settlements: those of rationed permits are answered here.
    pub(super) fn take_settles(&mut self, settles: Vec<Pending>) {
        let now = self.now();
        for pending in settles {
            self.heed_pause(&pending);
            let view = self.view.clone().filter(|_| self.rations.has(pending.lease));
            match view.and_then(|view| self.rations.settle(&pending, &view, now)) {
                Some(result) => self.answer_settled(pending, result, now),
                None => self.settles.push_back(pending),
            }
        }
    }

    fn answer_settled(&self, pending: Pending, result: Settled, now: Duration) {
        let kind = settle_kind(pending.resolved.kind);
        self.core.metrics.settled(&self.lane.name, kind, "rationed", 1);
        let malformed = pending.seen.as_ref().map_or(0, |seen| seen.malformed);
        self.core.metrics.malformed(&self.lane.name, malformed);
        let paused_for = match &pending.resolved.pause {
            Some(order) => {
                let left = self.ration_ends().map_or(Duration::ZERO, |ends| ends.saturating_sub(now));
                left.max(Duration::from_millis(order.retry_after_ms.unwrap_or(0)).saturating_sub(pending.age))
            }
            None => Duration::ZERO,
        };
        pending.reply(Ok(SettleReport { result, paused_for, malformed }));
    }

    /// Takes in renewals: those of rationed permits are answered here.
    pub(super) fn take_renews(&mut self, renews: Vec<PendingRenew>) {
        let now = self.now();
        for renew in renews {
            let view = self.view.as_ref().filter(|_| self.rations.has(renew.lease));
            let ttl = view.map(|view| Duration::from_millis(view.ttl_in_force(renew.ttl_ms)));
            match ttl.and_then(|ttl| self.rations.renew(renew.lease, renew.index, ttl, now)) {
                Some(renewal) => {
                    // A caller who went away needs no answer.
                    let _ = renew.answer.send(Ok(renewal));
                }
                None => self.renews.push_back(renew),
            }
        }
    }

    /// Takes in permits that nobody took.
    pub(super) fn take_unsent(&mut self, unsent: Vec<Unclaimed>) {
        let now = self.now();
        for permit in unsent {
            let view = self.view.clone().filter(|_| self.rations.has(permit.lease));
            let settled = view.and_then(|view| {
                let pending = Pending::unclaimed(permit, &view, now);
                self.rations.settle(&pending, &view, now)
            });
            if settled.is_none() {
                self.unsent.push_back(permit);
            }
        }
    }

    /// Heeds a response whose settlement the ledger cannot take now: its scope is not rationed until the ledger grants
    /// there again.
    pub(super) fn heed_pause(&self, pending: &Pending) {
        let lost = self.rations.since.is_some() || self.rations.has(pending.lease);
        let Some(order) = pending.resolved.pause.as_ref().filter(|_| lost) else { return };
        let mut bars = self.lane.spec.bars();
        match &order.scope {
            Scope::Budget => bars.budget(FOR_GOOD),
            Scope::Class(class) => bars.class(class.clone(), FOR_GOOD),
            Scope::Limit(at) => {
                let limits = self.view.as_ref().map(|view| &view.spec.limits);
                match limits.and_then(|limits| limits.get(usize::from(*at))) {
                    Some(limit) => bars.limit(limit.name.clone(), FOR_GOOD),
                    None => bars.budget(FOR_GOOD),
                }
            }
        }
    }

    /// Remembers what the ledger said that a ration must heed.
    pub(super) fn heed(&self, flight: &Flight, reply: &CommitReply, now: Duration) {
        let spec = &flight.view.spec;
        if spec.rations().is_none() {
            return;
        }
        let mut bars = self.lane.spec.bars();
        let paused = reply.paused_ms.iter().copied().max().unwrap_or(0);
        if paused > 0 {
            bars.budget(now.saturating_add(Duration::from_millis(paused)));
        }
        let groups = flight.batch.iter().flat_map(|batch| &batch.groups);
        let asked = groups.map(|group| (&group.kind.class, &group.kind.costs));
        let told = flight.telling.iter().map(|(_, group)| (&group.class, &group.costs));
        for ((class, costs), decision) in asked.chain(told).zip(&reply.decisions) {
            if decision.granted > 0 {
                bars.granted(class, costs, spec);
            }
            if let Some(refusal) = &decision.refusal {
                bars.refused(refusal, spec, now);
            }
        }
    }

    /// Takes in what the ledger knows now of what was rationed.
    pub(super) fn told(&mut self, flight: &Flight, reply: &CommitReply, now: Duration) {
        let groups = flight.batch.as_ref().map_or(0, |batch| batch.groups.len());
        for ((lease, _), decision) in flight.telling.iter().zip(reply.decisions.iter().skip(groups)) {
            self.tell(*lease, decision.granted, &flight.view, now);
        }
    }

    /// The ledger was not told; whether it is to be told again.
    pub(super) fn untell(&mut self, flight: &Flight, again: bool) {
        let leases: Vec<_> = flight.telling.iter().map(|(lease, _)| *lease).collect();
        if again {
            return self.rations.tell_again(&leases);
        }
        let now = self.now();
        for lease in leases {
            self.tell(lease, 0, &flight.view, now);
        }
    }

    fn tell(&mut self, lease: bursar_quota::LeaseId, taken: u16, view: &SpecView, now: Duration) {
        let taken = self.rations.told(lease, taken, view, now);
        self.core.metrics.untold(&self.lane.name, taken.untold);
        self.settles.extend(taken.owed.into_iter().filter(|owed| owed.kind != SettleKind::Unclaimed));
    }
}
