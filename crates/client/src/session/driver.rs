//! A session's connections: opened when there is something to write, read until they end, replaced when they break.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bursar_wire::v1::{SessionRequest, SessionResponse};
use tokio::{sync::Notify, task::JoinSet};
use tokio_stream::Stream;
use tonic::Streaming;

use super::{Shared, state::Write};
use crate::{core::lock, error::Fault};

/// Retiring connections that are still read beside the current one.
const MOST_RETIRING: usize = 2;

/// No connection has this number.
const NONE: u64 = 0;

/// What callers ask, as the stream that the transport pulls from: a message holds what has been asked since the last
/// one was taken.
#[derive(Debug)]
struct Outbound {
    shared: Arc<Shared>,
    epoch: u64,
    /// It stood back once, since it last had something to write.
    stood_back: bool,
}

impl Stream for Outbound {
    type Item = SessionRequest;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<SessionRequest>> {
        let now = self.shared.core.now();
        let shared = Arc::clone(&self.shared);
        let mut state = lock(&shared.state);
        // The first caller that asks wakes this before the others have run that were answered with it. They share the
        // message if it stands back once, behind whoever can run now; nothing waits for a time to pass.
        if state.may_grow() && !self.stood_back {
            self.stood_back = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.stood_back = false;
        match state.write(self.epoch, now, context.waker()) {
            Write::Message(message) => Poll::Ready(Some(message)),
            Write::Wait => Poll::Pending,
            Write::End => Poll::Ready(None),
        }
    }
}

/// Runs until the last handle is gone and what it left is answered, or as long as a call may take.
pub(super) async fn drive(shared: Arc<Shared>) {
    let mut readers = JoinSet::new();
    while wanted(&shared).await {
        while readers.try_join_next().is_some() {}
        pause(&shared).await;
        connect(&shared, &mut readers).await;
    }
    let empty = async {
        loop {
            let changed = shared.changed.notified();
            if lock(&shared.state).is_empty() {
                return;
            }
            changed.await;
        }
    };
    let _ = tokio::time::timeout(shared.core.config.rpc_timeout, empty).await;
    // Readers end with their set.
}

/// Waits until a connection is needed; `false` if the session is closed. Meanwhile one to a replica that is to be left, since
/// its name does not lead there any more, is: what was asked there is still answered there.
async fn wanted(shared: &Shared) -> bool {
    let mut members = shared.core.endpoints.changes();
    loop {
        let changed = shared.changed.notified();
        {
            let mut state = lock(&shared.state);
            if state.is_closed() {
                return false;
            }
            if let Some((epoch, _)) = state.current().filter(|(_, turn)| !shared.core.endpoints.keeps(turn)) {
                state.retire(epoch);
            }
            if state.wants_connection() {
                return true;
            }
        }
        tokio::select! {
            () = changed => {}
            Ok(()) = members.changed() => {}
        }
    }
}

/// Backs off once every endpoint has failed.
async fn pause(shared: &Shared) {
    let failures = lock(&shared.state).failures;
    let endpoints = u32::try_from(shared.core.endpoints.len()).unwrap_or(u32::MAX).max(1);
    if let Some(rounds) = (failures / endpoints).checked_sub(1) {
        shared.core.endpoints.rest(shared.core.backoff(rounds)).await;
    }
}

async fn connect(shared: &Arc<Shared>, readers: &mut JoinSet<()>) {
    let core = &shared.core;
    {
        let mut state = lock(&shared.state);
        if let Some(epoch) = state.surplus(MOST_RETIRING) {
            state.broken(epoch, &Fault::Elsewhere("its connection was left for others".to_owned()), false);
        }
    }
    // Who asks waits no longer than its own deadline.
    let turn = match core.endpoints.ready().await {
        Ok(turn) => turn,
        Err(fault) => {
            let mut state = lock(&shared.state);
            state.failures = state.failures.saturating_add(1);
            state.broken(NONE, &fault, true);
            return;
        }
    };
    let mut client = turn.replica.settles();
    let (number, (epoch, done)) = (turn.number, lock(&shared.state).open(turn));
    let outbound = Outbound { shared: Arc::clone(shared), epoch, stood_back: false };
    let limit = core.config.connect_timeout.saturating_add(core.config.rpc_timeout);
    let opened = tokio::time::timeout(limit, client.session(outbound)).await;
    let fault = match opened {
        Ok(Ok(response)) => {
            let reader = read(Arc::clone(shared), epoch, number, done, response.into_inner());
            readers.spawn(reader);
            return;
        }
        Ok(Err(status)) => Fault::read(&status),
        Err(_) => Fault::Elsewhere(format!("no session within {} ms", limit.as_millis())),
    };
    core.endpoints.failed(number);
    let mut state = lock(&shared.state);
    state.failures = state.failures.saturating_add(1);
    state.broken(epoch, &fault, true);
}

/// Reads a connection until it ends, or until it is retired and has nothing more to say.
async fn read(
    shared: Arc<Shared>,
    epoch: u64,
    turn: u64,
    done: Arc<Notify>,
    mut answers: Streaming<SessionResponse>,
) {
    let fault = loop {
        let message = tokio::select! {
            message = answers.message() => message,
            () = done.notified() => break None,
        };
        match message {
            Ok(Some(SessionResponse { answers })) => {
                let (waker, left) = lock(&shared.state).answered(epoch, answers, shared.core.now());
                if let Some(left) = left {
                    shared.core.endpoints.failed(left.number);
                }
                if let Some(waker) = waker {
                    waker.wake();
                }
                shared.changed.notify_one();
            }
            Ok(None) => break Some(Fault::Elsewhere("the server ended the session".to_owned())),
            Err(status) => break Some(Fault::read(&status)),
        }
    };
    if let Some(fault) = fault {
        shared.core.endpoints.failed(turn);
        let mut state = lock(&shared.state);
        state.failures = state.failures.saturating_add(1);
        state.broken(epoch, &fault, false);
    } else {
        lock(&shared.state).broken(epoch, &Fault::Elsewhere("the session moved on".to_owned()), false);
    }
    shared.changed.notify_one();
}
