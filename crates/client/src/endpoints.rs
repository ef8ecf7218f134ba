//! The replicas, and which of them is asked.

mod follow;
mod members;
mod replica;
mod sources;

use std::{sync::Arc, time::Duration};

use rand::rngs::SmallRng;
use tokio::{
    sync::{Notify, watch},
    task::AbortHandle,
};
use tonic::transport::Channel;

use self::{
    follow::Follower,
    members::Members,
    replica::{Bearer, Replica},
};
use crate::{
    config::{ClientConfig, Token},
    error::{ConnectError, Fault, root_cause},
};

pub(crate) use self::{replica::Line, sources::Sources};

/// One replica's turn to be asked.
#[derive(Debug, Clone)]
pub(crate) struct Turn {
    /// Counts on with every change of who is asked: hand it to [`Endpoints::failed`] if there is no answer.
    pub(crate) number: u64,
    pub(crate) replica: Arc<Replica>,
}

/// All replicas, and the one that is asked now.
#[derive(Debug)]
pub(crate) struct Endpoints {
    members: Arc<watch::Sender<Members>>,
    /// Asks for names to be resolved anew soon.
    hurry: Arc<Notify>,
    follower: Option<AbortHandle>,
}

impl Endpoints {
    /// Of `(acquires, settles)` channels, at least one pair; begins with the `first`th, counted in a circle.
    pub(crate) fn over(channels: Vec<(Channel, Channel)>, first: usize, token: Option<&Token>) -> Self {
        let bearer = Bearer(token.cloned());
        let one = |(index, channels)| Arc::new(Replica::new((index, None), channels, bearer.clone()));
        let replicas = channels.into_iter().enumerate().map(one).collect();
        Self::of(Members::new(replicas, first))
    }

    /// Of a configuration's endpoints. Names are followed by a task on this runtime until the client is gone; those who ask
    /// earlier wait for their first addresses.
    pub(crate) fn follow(
        sources: Arc<Sources>,
        config: &ClientConfig,
        first: usize,
        random: SmallRng,
    ) -> Self {
        let mut endpoints = Self::of(Members::new(Vec::new(), first));
        let (members, hurry) = (Arc::clone(&endpoints.members), Arc::clone(&endpoints.hurry));
        let follower = Follower::new(sources, config, members, hurry, random);
        if let Some(follower) = follower.start() {
            endpoints.follower = Some(tokio::spawn(follower.run()).abort_handle());
        }
        endpoints
    }

    fn of(members: Members) -> Self {
        let members = Arc::new(watch::Sender::new(members));
        Self { members, hurry: Arc::default(), follower: None }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.members.borrow().len()
    }

    /// Who is asked now; `None` while no name has led anywhere yet.
    pub(crate) fn current(&self) -> Option<Turn> {
        self.members.borrow().current()
    }

    /// Who is asked now, as soon as that is known; why nobody can be, if names lead nowhere.
    pub(crate) async fn ready(&self) -> Result<Turn, Fault> {
        if let Some(turn) = self.current() {
            return Ok(turn);
        }
        let mut members = self.members.subscribe();
        // The sender is ours.
        let _ = members.wait_for(Members::is_known).await;
        let members = members.borrow();
        members.current().ok_or_else(|| Fault::Elsewhere(members.problem.clone().unwrap_or_default()))
    }

    /// One that is not `turn`'s, where there is another: the one that is asked now, or else the next.
    pub(crate) fn other_than(&self, turn: Option<&Turn>) -> Option<Turn> {
        let current = self.current()?;
        if turn.is_some_and(|turn| Arc::ptr_eq(&turn.replica, &current.replica)) {
            return self.after(&current);
        }
        Some(current)
    }

    /// The one after it, in a circle.
    pub(crate) fn after(&self, turn: &Turn) -> Option<Turn> {
        self.members.borrow().after(turn)
    }

    /// Moves on to the next, unless somebody else has already, and has names resolved anew.
    pub(crate) fn failed(&self, turn: u64) {
        // Who watches waits for other replicas, not for another turn.
        let mut moved = false;
        self.members.send_if_modified(|members| {
            moved = members.failed(turn);
            false
        });
        if moved {
            self.hurry.notify_one();
        }
    }

    /// After all have failed: sleeps for `rest`. Where the names may lead elsewhere by now, it then waits until they have been
    /// resolved anew, which does not take long.
    pub(crate) async fn rest(&self, rest: Duration) {
        const LONGEST: Duration = Duration::from_secs(2);
        let (rounds, in_vain) = {
            let members = self.members.borrow();
            (members.rounds, members.in_vain)
        };
        tokio::time::sleep(rest).await;
        if self.follower.is_some() && !in_vain {
            let mut members = self.members.subscribe();
            let renewed = members.wait_for(|members| members.rounds > rounds);
            let _ = tokio::time::timeout(LONGEST.saturating_sub(rest), renewed).await;
        }
    }

    /// Whether a connection of this turn is to be kept: its replica is still one, and not left for new ones.
    pub(crate) fn keeps(&self, turn: &Turn) -> bool {
        self.members.borrow().keeps(turn)
    }

    /// Tells when there may be connections that are not to be kept.
    pub(crate) fn changes(&self) -> watch::Receiver<Members> {
        self.members.subscribe()
    }

    /// Opens a connection to the first that answers, from who is asked now on, and asks that one.
    pub(crate) async fn open(&self, sources: &Sources) -> Result<(), ConnectError> {
        let unreachable = |fault: Fault| ConnectError::Unreachable(fault.message());
        let mut turn = self.ready().await.map_err(unreachable)?;
        let mut last = String::new();
        for _ in 0..self.len() {
            let Some(endpoint) = sources.endpoint(turn.replica.place) else { break };
            match endpoint.connect().await {
                Ok(open) => {
                    self.members.send_modify(|members| members.opened(&turn, open));
                    return Ok(());
                }
                Err(error) => last = format!("{}: {}", endpoint.uri(), root_cause(&error)),
            }
            self.failed(turn.number);
            let Some(next) = self.current() else { break };
            turn = next;
        }
        Err(ConnectError::Unreachable(last))
    }
}

impl Drop for Endpoints {
    fn drop(&mut self) {
        if let Some(follower) = &self.follower {
            follower.abort();
        }
    }
}

#[cfg(test)]
mod tests;
