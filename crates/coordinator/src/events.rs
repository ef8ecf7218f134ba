//! What the ledger announces, passed on to lanes and watchers.

use std::{sync::Arc, time::Duration};

use bursar_quota::{Clock, EventKind, LedgerEvent};
use futures_util::StreamExt;
use tokio::{sync::broadcast, time::sleep};

use crate::{bars::FOR_GOOD, core::Core, lane::Lane};

/// How long after a stream of events ended it is asked for again.
const PAUSE: Duration = Duration::from_secs(1);

/// Listens until the coordinator is gone.
pub(crate) async fn listen(core: Arc<Core>, watchers: broadcast::Sender<LedgerEvent>) {
    // The first stream is asked for before anything else runs, so that nothing announced from now on is missed.
    let mut events = core.ledger.events();
    loop {
        tokio::select! {
            biased;
            () = core.stop.cancelled() => return,
            event = events.next() => match event {
                Some(event) => pass_on(&core, &watchers, event),
                None => {
                    tracing::warn!("the ledger's events ended; listening again");
                    tokio::select! {
                        biased;
                        () = core.stop.cancelled() => return,
                        () = sleep(PAUSE) => {}
                    }
                    events = core.ledger.events();
                }
            },
        }
    }
}

fn pass_on(core: &Arc<Core>, watchers: &broadcast::Sender<LedgerEvent>, event: LedgerEvent) {
    if let Some(lane) = core.find_lane(&event.budget) {
        bar(&lane, &event.kind, &*core.clock);
        match &event.kind {
            EventKind::Wake
            | EventKind::Resumed { .. }
            | EventKind::LimitChanged { .. }
            | EventKind::StateLost => lane.wake(),
            EventKind::SpecChanged { version } => {
                lane.spec.forget_unless(*version);
                lane.respec();
            }
            EventKind::Deleted => {
                lane.spec.clear();
                lane.respec();
            }
            EventKind::Paused { .. }
            | EventKind::ThresholdCrossed { .. }
            | EventKind::ForeignUse { .. }
            | EventKind::RungChanged { .. }
            | EventKind::RationBegan { .. }
            | EventKind::RationEnded { .. } => {}
        }
    }
    match &event.kind {
        EventKind::Deleted => core.expected.heard(&event.budget, true),
        EventKind::SpecChanged { .. } => core.expected.heard(&event.budget, false),
        _ => {}
    }
    core.metrics.heard(&event);
    if event.kind != EventKind::Wake {
        // Nobody watches: that is no error.
        let _ = watchers.send(event);
    }
}

/// Notes what a ration must heed.
fn bar(lane: &Lane, kind: &EventKind, clock: &dyn Clock) {
    let mut bars = lane.spec.bars();
    match kind {
        EventKind::Paused { scope, for_ms } => {
            let until = |ms: u64| clock.monotonic().saturating_add(Duration::from_millis(ms));
            bars.scope(scope, for_ms.map_or(FOR_GOOD, until));
        }
        EventKind::Resumed { scope } => bars.resumed(scope),
        EventKind::LimitChanged { limit, to, .. } => bars.capacity(limit, *to),
        EventKind::StateLost => bars.budget(FOR_GOOD),
        EventKind::Wake
        | EventKind::ThresholdCrossed { .. }
        | EventKind::ForeignUse { .. }
        | EventKind::RungChanged { .. }
        | EventKind::SpecChanged { .. }
        | EventKind::Deleted
        | EventKind::RationBegan { .. }
        | EventKind::RationEnded { .. } => {}
    }
}
