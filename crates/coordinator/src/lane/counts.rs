//! What became of settlements, as metrics count it.

use bursar_quota::{SettleKind, Settled};

/// Settlements counted by kind and result, so that each label is looked up once a commit.
#[derive(Default)]
pub(super) struct Counts([[u64; 4]; 4]);

const KINDS: [&str; 4] = ["not_sent", "accepted", "lost", "refused"];
const RESULTS: [&str; 4] = ["applied", "already", "unknown", "unanswered"];

impl Counts {
    pub(super) fn add(&mut self, kind: SettleKind, result: Option<Settled>) {
        let kind = kind_at(kind);
        let result = match result {
            Some(Settled::Applied) => 0,
            Some(Settled::Already) => 1,
            Some(Settled::Unknown) => 2,
            None => 3,
        };
        self.0[kind][result] += 1;
    }

    pub(super) fn report(&self, mut report: impl FnMut(&'static str, &'static str, u64)) {
        for (counts, kind) in self.0.iter().zip(KINDS) {
            for (count, result) in counts.iter().zip(RESULTS).filter(|(count, _)| **count > 0) {
                report(kind, result, *count);
            }
        }
    }
}

fn kind_at(kind: SettleKind) -> usize {
    match kind {
        SettleKind::NotSent | SettleKind::Unclaimed => 0,
        SettleKind::Accepted => 1,
        SettleKind::Lost => 2,
        SettleKind::Refused { .. } => 3,
    }
}

/// What became of a permit, as metrics spell it.
pub(super) fn settle_kind(kind: SettleKind) -> &'static str {
    KINDS[kind_at(kind)]
}
