//! Commits on their way: made, sent, and taken in again.

use std::{sync::Arc, time::Duration};

use bursar_quota::{
    AcquireGroup, Commit, CommitReply, LeaseId,
    LedgerError::{self, Forgotten, UnknownBudget},
    Reason, Renewal, Requests,
};
use futures_util::FutureExt;

use super::{
    Pending, PendingRenew,
    answers::Answers,
    counts::Counts,
    decide::Terms,
    orphan::Orphan,
    plan::{Batch, MAX_GROUPS},
    run::{Down, Run},
    settle,
};
use crate::{CoordinatorError, core::error_kind, slab::Key, spec::SpecView, spec_cell::Missing};

/// How often in a row a stale specification is read anew before callers are told.
const MAX_STALE: u32 = 8;

/// How long callers wait at a replica whose ledger gives no answer: most stores that fail over are back by then.
const STORE_PATIENCE: Duration = Duration::from_secs(3);

/// What is left alone after an error, at least and at most.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(30));

/// A commit on its way.
pub(super) struct Flight {
    pub(super) batch: Option<Batch>,
    pub(super) settles: Vec<Pending>,
    renews: Vec<PendingRenew>,
    orphans: Vec<Orphan>,
    /// Leases of the ration that the store is told of, after the batch's groups.
    pub(super) telling: Vec<(LeaseId, AcquireGroup)>,
    /// Whose requests by id it looks up, beside those that it asks for.
    looked: Vec<Key>,
    /// How many it said to wait here.
    waiting: u64,
    pub(super) started: Duration,
    pub(super) view: Arc<SpecView>,
}

impl Run {
    /// Sends as many commits as there is work for and as may be under way.
    pub(super) fn launch(&mut self) {
        let now = self.now();
        self.launched_at = now;
        self.ration_out(now);
        if self.down.as_ref().is_some_and(|down| now < down.until) || self.reading.is_some() {
            return;
        }
        self.queues.refresh_parties_due(now);
        while self.flights.len() < self.core.config.max_in_flight.max(1) {
            let Some(view) = self.view.clone() else {
                if !self.is_empty() {
                    self.reread();
                }
                return;
            };
            let Some((commit, flight)) = self.make(now, view) else { return };
            self.send(commit, flight);
        }
    }

    fn is_empty(&self) -> bool {
        self.queues.len() == 0
            && self.settles.is_empty()
            && self.renews.is_empty()
            && self.unsent.is_empty()
            && self.orphans.is_empty()
            && self.doubt.is_empty()
            && !self.rations.owes()
    }

    /// Makes a commit of what there is to do now.
    fn make(&mut self, now: Duration, view: Arc<SpecView>) -> Option<(Commit, Flight)> {
        while let Some(permit) = self.unsent.pop_back() {
            self.settles.push_front(Pending::unclaimed(permit, &view, now));
        }
        let (mut settles, taken) = settle::fold(&mut self.settles, &view, now);
        let orphans: Vec<Orphan> =
            self.orphans.drain(..self.orphans.len().min(MAX_GROUPS - settles.len())).collect();
        let frees = !settles.is_empty() || orphans.iter().any(Orphan::may_hold);
        settles.extend(orphans.iter().map(Orphan::group));
        let register = std::mem::take(&mut self.register) && self.queues.waiting() > 0;
        if frees || register {
            // What is settled may free what others wait for, in this very commit.
            self.queues.bump();
        }
        let waiting = u64::try_from(self.queues.waiting()).unwrap_or(u64::MAX);
        let (renews, renewing) = settle::renewals(&mut self.renews, &view);
        // What was granted without the store is charged there before anything else is granted.
        let telling = self.rations.tell(&view);
        let batch = if telling.is_empty() {
            self.next_doubt().or_else(|| self.queues.plan(now, &view, &mut self.leases))
        } else {
            None
        };
        let looked = self.queues.looks();
        let is_empty = settles.is_empty() && renews.is_empty() && telling.is_empty() && looked.is_empty();
        if is_empty && batch.is_none() {
            return None;
        }
        let mut acquires = batch.as_ref().map_or_else(Vec::new, Batch::acquires);
        acquires.extend(telling.iter().map(|(_, group)| group.clone()));
        let metrics = &self.core.metrics;
        metrics.groups(&self.lane.name, "settle", settles.len());
        metrics.groups(&self.lane.name, "renew", renews.len());
        metrics.groups(&self.lane.name, "acquire", acquires.len());
        let told = self.core.config.shares_across_replicas;
        let contenders = if told { self.queues.contenders(batch.as_ref(), now) } else { Vec::new() };
        let commit = Commit {
            replica: self.core.config.replica.clone(),
            spec_version: view.version,
            waiting,
            contenders,
            jitter: self.leases.jitter(),
            settles,
            renews,
            acquires,
            looks: looked.iter().map(|(_, tag)| *tag).collect(),
        };
        let flight = Flight {
            batch,
            settles: taken,
            renews: renewing,
            orphans,
            telling,
            looked: looked.into_iter().map(|(key, _)| key).collect(),
            waiting,
            started: now,
            view,
        };
        Some((commit, flight))
    }

    /// The next batch that is in doubt and still has somebody waiting for it.
    fn next_doubt(&mut self) -> Option<Batch> {
        while let Some(batch) = self.doubt.pop_front() {
            if self.queues.present(&batch.waiters) > 0 {
                return Some(batch);
            }
            self.give_up(&batch);
        }
        None
    }

    fn send(&mut self, commit: Commit, flight: Flight) {
        self.last_flight += 1;
        let id = self.last_flight;
        let (ledger, name) = (Arc::clone(&self.core.ledger), self.lane.name.clone());
        self.flights.push((id, flight));
        self.flying.push(async move { (id, ledger.commit(&name, &commit).await) }.boxed());
    }

    /// Takes in what became of a commit.
    pub(super) fn land(&mut self, id: u64, result: Result<CommitReply, LedgerError>) {
        let Some(at) = self.flights.iter().position(|(flight, _)| *flight == id) else { return };
        let (_, flight) = self.flights.swap_remove(at);
        let (span, error) = (self.now().saturating_sub(flight.started), result.as_ref().err());
        self.core.metrics.commit(&self.lane.name, error.map_or("done", error_kind), span);
        let result = result.and_then(|reply| flight.check(reply));
        match result {
            Ok(reply) => self.done(flight, &reply),
            Err(error) => {
                self.core.metrics.ledger_error(&self.lane.name, error_kind(&error));
                tracing::debug!(budget = %self.lane.name, %error, "a commit failed");
                match error {
                    LedgerError::StaleSpec { .. } if self.stale < MAX_STALE => self.stale(flight),
                    UnknownBudget(name) | Forgotten(name) => match self.core.expected.miss(&name) {
                        Some(error) => self.undeclared(flight, error),
                        None => self.unknown(Some(flight)),
                    },
                    error => self.failed(flight, &error),
                }
            }
        }
    }

    fn done(&mut self, flight: Flight, reply: &CommitReply) {
        let now = self.now();
        (self.down, self.down_since, self.stale) = (None, None, 0);
        self.found();
        self.heed(&flight, reply, now);
        self.told(&flight, reply, now);
        let (metrics, name) = (&self.core.metrics, &self.lane.name);
        let mut settled = Counts::default();
        settle::answer(flight.settles, reply, |kind, result, malformed| {
            settled.add(kind, result);
            metrics.malformed(name, malformed);
        });
        settled.report(|kind, result, count| metrics.settled(name, kind, result, count));
        for (renew, renewal) in flight.renews.into_iter().zip(&reply.renewed) {
            metrics.renewed(name, renewal_kind(renewal));
            // A caller who went away needs no answer.
            let _ = renew.answer.send(Ok(*renewal));
        }
        let found = self.queues.found(&flight.looked, &reply.found);
        if let Some(batch) = &flight.batch {
            let terms = Terms {
                view: &flight.view,
                stand: &reply.limits,
                age: now.saturating_sub(flight.started),
                recheck: self.core.config.recheck,
            };
            let mut answers = Answers::new(name, metrics, now);
            let unclaimed = self.queues.apply(batch, &reply.decisions, &terms, &mut answers);
            self.unsent.extend(unclaimed);
            // Who was refused just now waits unannounced: what came free since is found by asking once more.
            self.register |= flight.waiting == 0;
        }
        if let Some(batch) = flight.batch.filter(|batch| batch.doubtful || reply.resent) {
            self.give_up_refused(&batch, &reply.decisions);
        }
        self.queues.claim_soon(&found);
    }

    /// Nothing was done, and nothing can be until the specification is read again.
    fn stale(&mut self, flight: Flight) {
        self.stale += 1;
        self.lane.spec.forget(flight.view.version);
        self.take_back(flight);
        self.reread();
    }

    /// Takes back what a commit that did nothing was made of.
    fn take_back(&mut self, flight: Flight) {
        flight.settles.into_iter().rev().for_each(|pending| self.settles.push_front(pending));
        flight.renews.into_iter().rev().for_each(|renew| self.renews.push_front(renew));
        self.orphans.extend(flight.orphans);
        self.rations.tell_again(&flight.telling.iter().map(|(lease, _)| *lease).collect::<Vec<_>>());
        if let Some(batch) = flight.batch {
            if batch.doubtful {
                self.doubt.push_front(batch);
            } else {
                self.queues.put_back(&batch.waiters);
            }
        }
        self.queues.look_again(&flight.looked);
    }

    /// The store answers, and does not know a budget that this replica is declaring: nothing was done, and its
    /// specification is looked for again after a rest. What was rationed is told later.
    fn undeclared(&mut self, flight: Flight, error: LedgerError) {
        self.view = None;
        self.lane.spec.forget(flight.view.version);
        self.take_back(flight);
        self.found();
        self.read(Err(Missing::Failed(error)));
    }

    /// There is no such budget: that is everybody's answer.
    fn unknown(&mut self, flight: Option<Flight>) {
        if let Some(version) = self.view.take().map(|view| view.version) {
            self.lane.spec.forget(version);
        }
        let now = self.now();
        let mut answers = Answers::new(&self.lane.name, &self.core.metrics, now);
        self.queues.refuse_all(Reason::UnknownBudget, true, &mut answers);
        drop(answers);
        let (settles, renews) = flight.map(|flight| (flight.settles, flight.renews)).unwrap_or_default();
        settles.into_iter().chain(self.settles.drain(..)).for_each(Pending::unknown);
        for renew in renews.into_iter().chain(self.renews.drain(..)) {
            let _ = renew.answer.send(Ok(Renewal::Unknown));
        }
        self.unsent.clear();
        self.orphans.clear();
        self.doubt.clear();
        self.found();
        self.rations.clear();
    }

    /// The ledger gave no answer, and the commit may have run.
    fn failed(&mut self, mut flight: Flight, error: &LedgerError) {
        let told = CoordinatorError::Ledger(error.clone());
        let lost = matches!(error, LedgerError::Unavailable { .. });
        for pending in &flight.settles {
            self.heed_pause(pending);
        }
        self.untell(&flight, lost);
        self.queues.look_again(&flight.looked);
        if lost && self.lose() {
            // Who waits need not wait for what the lost commit gave: that is given back once the ledger answers. What it
            // gave must be remembered for it: where there is no room they wait on.
            let has_room = self.has_room_for_orphans();
            if let Some(batch) = flight.batch.take_if(|_| has_room) {
                self.queues.put_back(&batch.waiters);
                self.give_up(&batch);
            }
        }
        self.settles.extend(flight.settles.into_iter().filter_map(|pending| pending.failed(&told)));
        for renew in flight.renews {
            let _ = renew.answer.send(Err(told.clone()));
        }
        self.orphan_again(flight.orphans);
        if let LedgerError::Unavailable { retry_after, .. } = error {
            self.go_down(*retry_after, error);
        } else if let Some(batch) = &flight.batch {
            let mut answers = Answers::new(&self.lane.name, &self.core.metrics, self.core.clock.monotonic());
            self.queues.fail(&batch.waiters, &told, &mut answers);
        }
        self.stale = 0;
        let Some(mut batch) = flight.batch else { return };
        if self.queues.present(&batch.waiters) > 0 {
            batch.doubtful = true;
            self.queues.watch(&mut batch, self.core.clock.monotonic());
            self.doubt.push_back(batch);
        } else {
            self.give_up(&batch);
        }
    }

    /// Leaves the ledger alone for a while, each lane for another. Who can wait as long waits; others are told, and after
    /// [`STORE_PATIENCE`] all are: another replica may reach it. Where a ration is in force they wait for that.
    fn go_down(&mut self, retry_after: Duration, error: &LedgerError) {
        let now = self.now();
        self.down_since.get_or_insert(now);
        let span = retry_after.clamp(BACK_OFF.0, BACK_OFF.1).mul_f64(1.0 + self.leases.jitter() / 2.0);
        let until = now + span;
        self.down = Some(Down { until, error: error.clone() });
        self.rations.hoped = false;
        self.ration_out(now);
        let until = if self.is_given_up(now) { Duration::MAX } else { until };
        let mut answers = Answers::new(&self.lane.name, &self.core.metrics, now);
        self.queues.fail_impatient(until, error, &mut answers);
    }

    /// Whether the ledger has given no answer for so long that nobody is to wait here for it.
    pub(super) fn is_given_up(&self, now: Duration) -> bool {
        self.down_since.is_some_and(|since| now >= since + STORE_PATIENCE) && self.ration(now).is_none()
    }

    /// Takes in the specification that was read.
    pub(super) fn read(&mut self, read: Result<Arc<SpecView>, Missing>) {
        match read {
            Ok(view) => self.adopt(view),
            Err(Missing::Unknown) => self.unknown(None),
            Err(Missing::Failed(error)) => {
                let retry_after = match &error {
                    LedgerError::Unavailable { retry_after, .. } => *retry_after,
                    _ => Duration::from_secs(1),
                };
                let told = CoordinatorError::Ledger(error.clone());
                self.settles = self.settles.drain(..).filter_map(|pending| pending.failed(&told)).collect();
                for renew in self.renews.drain(..) {
                    let _ = renew.answer.send(Err(told.clone()));
                }
                self.unread += 1;
                if self.unread >= u32::from(settle::MAX_TRIES) {
                    // Without a specification nothing can be given back either; deadlines reclaim it.
                    self.unsent.clear();
                    self.orphans.clear();
                }
                self.go_down(retry_after, &error);
            }
        }
    }

    /// Takes in what callers have read meanwhile.
    pub(super) fn align(&mut self) {
        if self.reading.is_none()
            && let Some(view) = self.lane.spec.peek()
            && self.view.as_ref().is_none_or(|known| !Arc::ptr_eq(known, &view))
        {
            self.adopt(view);
        }
    }

    fn adopt(&mut self, view: Arc<SpecView>) {
        (self.unread, self.down_since) = (0, None);
        let known = self.view.as_ref();
        let changed = std::mem::take(&mut self.mixed)
            || known.is_none_or(|known| known.version != view.version || known.spec != view.spec);
        self.view = Some(Arc::clone(&view));
        if !changed || self.queues.len() == 0 && self.doubt.is_empty() {
            return;
        }
        let now = self.now();
        let mut answers = Answers::new(&self.lane.name, &self.core.metrics, now);
        self.queues.recost(&view, &mut answers);
        drop(answers);
        for mut batch in std::mem::take(&mut self.doubt) {
            if batch.recost(&view) {
                self.doubt.push_back(batch);
            } else {
                // Those whose calls still can be are asked for anew; what the lost commit gave them is given back.
                self.queues.put_back(&batch.waiters);
                self.give_up(&batch);
            }
        }
    }
}

impl Flight {
    /// A reply must speak of everything that was asked.
    fn check(&self, reply: CommitReply) -> Result<CommitReply, LedgerError> {
        let groups = self.batch.as_ref().map_or(0, |batch| batch.groups.len()) + self.telling.len();
        let asked = self.batch.iter().flat_map(|batch| &batch.groups);
        let placed = asked.zip(&reply.decisions).all(|(group, decision)| {
            let places = decision.places.len();
            let is_claim = matches!(group.requests, Requests::Claim(..));
            (places == 0 && !is_claim) || places == usize::from(group.count)
        });
        let found = reply.found.len() == self.looked.len();
        if placed && found && reply.decisions.len() == groups && reply.renewed.len() == self.renews.len() {
            return Ok(reply);
        }
        Err(LedgerError::Corrupt("a commit's reply is not of its length".to_owned()))
    }
}

impl Batch {
    fn acquires(&self) -> Vec<AcquireGroup> {
        let group = |group: &super::plan::Group| AcquireGroup {
            lease: group.lease,
            requests: group.requests.clone(),
            class: group.kind.class.clone(),
            tenant: group.tenant.clone(),
            tier: group.tier,
            costs: group.kind.costs.clone(),
            units: group.kind.units.clone(),
            count: group.count,
            ttl_ms: group.ttl_ms,
        };
        self.groups.iter().map(group).collect()
    }

    /// Costs the groups by another version of the specification; whether all of them still can be.
    fn recost(&mut self, view: &SpecView) -> bool {
        self.groups.iter_mut().all(|group| {
            let kind = view.kind(&group.kind.class, &group.kind.named);
            kind.map(|kind| group.kind = kind).is_ok()
        })
    }
}

fn renewal_kind(renewal: &Renewal) -> &'static str {
    match renewal {
        Renewal::Renewed { .. } => "renewed",
        Renewal::Settled => "settled",
        Renewal::Unknown => "unknown",
    }
}
