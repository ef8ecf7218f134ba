//! What changed, for the wire.

use bursar_quota::{EventKind, LedgerEvent};
use bursar_wire::v1::{self, watch_response::Event};

/// One change; `None` for what only replicas care about.
pub(crate) fn event(event: LedgerEvent) -> Option<v1::WatchResponse> {
    let kind = match event.kind {
        EventKind::Wake => return None,
        EventKind::Paused { scope, for_ms } => Event::Paused(v1::Paused { scope, for_ms }),
        EventKind::Resumed { scope } => Event::Resumed(v1::Resumed { scope }),
        EventKind::LimitChanged { limit, from, to } => {
            Event::LimitChanged(v1::LimitChanged { limit: limit.as_str().into(), from, to })
        }
        EventKind::ThresholdCrossed { limit, used, capacity } => {
            Event::ThresholdCrossed(v1::ThresholdCrossed { limit: limit.as_str().into(), used, capacity })
        }
        EventKind::ForeignUse { limit, cost } => {
            Event::ForeignUse(v1::ForeignUse { limit: limit.as_str().into(), cost })
        }
        EventKind::RungChanged { limit, from, to } => {
            Event::RungChanged(v1::RungChanged { limit: limit.as_str().into(), from, to })
        }
        EventKind::SpecChanged { version } => Event::SpecChanged(v1::SpecChanged { version }),
        EventKind::Deleted => Event::Deleted(v1::Deleted {}),
        EventKind::StateLost => Event::StateLost(v1::StateLost {}),
        EventKind::RationBegan { replica, for_ms } => {
            Event::RationBegan(v1::RationBegan { replica: replica.as_str().into(), for_ms })
        }
        EventKind::RationEnded { replica, granted, store_back } => {
            Event::RationEnded(v1::RationEnded { replica: replica.as_str().into(), granted, store_back })
        }
    };
    Some(v1::WatchResponse { budget: event.budget.as_str().into(), event: Some(kind) })
}

/// What a watcher that was too slow is told.
pub(crate) fn missed(count: u64) -> v1::WatchResponse {
    v1::WatchResponse { budget: String::new(), event: Some(Event::Missed(v1::Missed { count })) }
}
