//! What goes wrong at times, and that it heals.

use std::{sync::Arc, sync::atomic::Ordering, time::Duration};

use super::{
    plan::{Fault, FaultEvent},
    world::World,
};

/// Lets everything go wrong that is planned; one task for each fault.
pub(crate) fn begin(world: &Arc<World>) {
    for event in &world.scenario.faults.events {
        if let Fault::StoreOlder(by) = event.what {
            let then = event.at.saturating_sub(by);
            let world = Arc::clone(world);
            tokio::spawn(async move {
                world.until(then).await;
                world.store().remember();
            });
        }
        tokio::spawn(happen(Arc::clone(world), event.clone()));
    }
}

async fn happen(world: Arc<World>, event: FaultEvent) {
    let FaultEvent { at, lasts, what } = event;
    world.until(at).await;
    world.note(format_args!("world"), format_args!("{what:?} for {} ms", lasts.as_millis()));
    world.book().fault(world.now(), lasts, what);
    let store = world.store();
    let down = |begins: bool| {
        // Faults overlap: the store is back when the last of them is over.
        let by = if begins { 1 } else { u32::MAX };
        world.store_down.fetch_add(by, Ordering::Relaxed);
    };
    match what {
        Fault::Crash(replica) => {
            let replica = usize::from(replica) % world.replicas.len();
            world.replicas[replica].crash();
            world.pass(lasts).await;
            world.start_replica(replica);
        }
        Fault::CutFromStore(replica) => {
            let replica = &world.replicas[usize::from(replica) % world.replicas.len()];
            replica.cut_from_store(true);
            world.pass(lasts).await;
            replica.cut_from_store(false);
        }
        Fault::CutFromWorkers(replica) => {
            let replica = &world.replicas[usize::from(replica) % world.replicas.len()];
            replica.cut_from_workers(true);
            world.pass(lasts).await;
            replica.cut_from_workers(false);
        }
        Fault::StoreDown => {
            down(true);
            world.pass(lasts).await;
            down(false);
        }
        Fault::StoreEmpty => {
            down(true);
            world.pass(lasts).await;
            store.lose_all();
            world.server.send_modify(|server| *server += 1);
            down(false);
        }
        Fault::StoreOlder(by) => {
            down(true);
            world.pass(lasts).await;
            store.go_back(at.saturating_sub(by));
            world.server.send_modify(|server| *server += 1);
            down(false);
        }
        Fault::StoreStep(ms) => store.step(ms),
        Fault::StoreDrift(millionths) => {
            store.drift(millionths);
            world.pass(lasts).await;
            store.drift(0);
        }
    }
    if lasts > Duration::ZERO {
        world.note(format_args!("world"), format_args!("{what:?} is over"));
    }
}
