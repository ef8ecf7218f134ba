//! Leases that nobody waits for, and that may have been granted, or may yet be, by a commit of which nothing was heard.

use bursar_quota::{Decision, LeaseId, Requests, SettleGroup, SettleKind};

use super::{
    plan::{Batch, Group, MAX_GROUPS},
    run::Run,
    settle,
};

/// How many leases that were given up are remembered.
const MAX_ORPHANS: usize = 1024;

/// A lease that is given up: what it holds is given back, and what it might hold yet is not granted.
#[derive(Debug)]
pub(super) struct Orphan {
    lease: LeaseId,
    count: u16,
    tries: u8,
    /// It was refused when it was heard of last: most likely it holds nothing.
    was_refused: bool,
}

impl Orphan {
    /// Whether what it gives back may be of use to somebody.
    pub(super) fn may_hold(&self) -> bool {
        !self.was_refused
    }

    /// As it is given back.
    pub(super) fn group(&self) -> SettleGroup {
        SettleGroup {
            lease: self.lease,
            indexes: (0..self.count).collect(),
            kind: SettleKind::Unclaimed,
            costs: Vec::new(),
            units: Vec::new(),
            readings: Vec::new(),
            pause: None,
            age_ms: 0,
        }
    }
}

impl Run {
    /// Whether the leases of one batch more can be remembered, and none is forgotten for them.
    pub(super) fn has_room_for_orphans(&self) -> bool {
        self.orphans.len() <= MAX_ORPHANS - MAX_GROUPS
    }

    /// Remembers the leases of a batch that nobody waits for any more: what they hold is given back once the ledger
    /// answers.
    pub(super) fn give_up(&mut self, batch: &Batch) {
        batch.groups.iter().for_each(|group| self.give_up_group(group, false));
    }

    /// A batch was sent more than once. What it was refused now, a commit of which nothing was heard may still be granted, where
    /// it is on its way: those leases are given up.
    pub(super) fn give_up_refused(&mut self, batch: &Batch, decisions: &[Decision]) {
        for (group, decision) in batch.groups.iter().zip(decisions) {
            // None that may hold permits is forgotten for one that was refused.
            if decision.granted == 0 && self.has_room_for_orphans() {
                self.give_up_group(group, true);
            }
        }
    }

    fn give_up_group(&mut self, group: &Group, was_refused: bool) {
        if matches!(group.requests, Requests::Claim(..)) {
            // Granted to the same request before, and perhaps taken.
            return;
        }
        if self.orphans.len() >= MAX_ORPHANS {
            self.orphans.pop_front();
        }
        self.orphans.push_back(Orphan { lease: group.lease, count: group.count, tries: 0, was_refused });
    }

    /// Gives up all batches that are in doubt; who waits for them waits as if never asked for.
    pub(super) fn give_up_doubt(&mut self) {
        for batch in std::mem::take(&mut self.doubt) {
            self.queues.put_back(&batch.waiters);
            self.give_up(&batch);
        }
    }

    /// It is not known whether these were given back: they are once more, unless that was tried often enough.
    pub(super) fn orphan_again(&mut self, orphans: Vec<Orphan>) {
        for mut orphan in orphans {
            orphan.tries += 1;
            if orphan.tries < settle::MAX_TRIES {
                self.orphans.push_back(orphan);
            }
        }
    }
}
