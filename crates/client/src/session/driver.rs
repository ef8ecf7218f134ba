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

/// What callers ask, as the stream that the transport pulls from: a message holds what has been asked since the last
/// one was taken.
#[derive(Debug)]
struct Outbound {
    shared: Arc<Shared>,
    epoch: u64,
}

impl Stream for Outbound {
    type Item = SessionRequest;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<SessionRequest>> {
        let now = self.shared.core.now();
        match lock(&self.shared.state).write(self.epoch, now, context.waker()) {
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

/// Waits until a connection is needed; `false` if the session is closed.
async fn wanted(shared: &Shared) -> bool {
    loop {
        let changed = shared.changed.notified();
        {
            let state = lock(&shared.state);
            if state.is_closed() {
                return false;
            }
            if state.wants_connection() {
                return true;
            }
        }
        changed.await;
    }
}

/// Backs off once every endpoint has failed.
async fn pause(shared: &Shared) {
    let failures = lock(&shared.state).failures;
    let endpoints = u32::try_from(shared.core.endpoints.len()).unwrap_or(u32::MAX).max(1);
    if let Some(rounds) = (failures / endpoints).checked_sub(1) {
        tokio::time::sleep(shared.core.backoff(rounds)).await;
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
    let ticket = core.endpoints.current();
    let Some(mut client) = core.endpoints.settles(ticket) else { return };
    let (epoch, done) = lock(&shared.state).open(ticket);
    let outbound = Outbound { shared: Arc::clone(shared), epoch };
    let limit = core.config.connect_timeout.saturating_add(core.config.rpc_timeout);
    let opened = tokio::time::timeout(limit, client.session(outbound)).await;
    let fault = match opened {
        Ok(Ok(response)) => {
            let reader = read(Arc::clone(shared), epoch, ticket, done, response.into_inner());
            readers.spawn(reader);
            return;
        }
        Ok(Err(status)) => Fault::read(&status),
        Err(_) => Fault::Elsewhere(format!("no session within {} ms", limit.as_millis())),
    };
    core.endpoints.failed(ticket);
    let mut state = lock(&shared.state);
    state.failures = state.failures.saturating_add(1);
    state.broken(epoch, &fault, true);
}

/// Reads a connection until it ends, or until it is retired and has nothing more to say.
async fn read(
    shared: Arc<Shared>,
    epoch: u64,
    ticket: usize,
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
                if let Some(ticket) = left {
                    shared.core.endpoints.failed(ticket);
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
        shared.core.endpoints.failed(ticket);
        let mut state = lock(&shared.state);
        state.failures = state.failures.saturating_add(1);
        state.broken(epoch, &fault, false);
    } else {
        lock(&shared.state).broken(epoch, &Fault::Elsewhere("the session moved on".to_owned()), false);
    }
    shared.changed.notify_one();
}
