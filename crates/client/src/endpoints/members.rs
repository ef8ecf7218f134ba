//! Who the replicas are, and whose turn it is, without any I/O.

use std::{net::SocketAddr, sync::Arc};

use rand::{Rng, rngs::SmallRng, seq::SliceRandom};
use tonic::transport::Channel;

use super::{
    Turn,
    replica::{Place, Replica},
};

/// The replicas and the one that is asked.
#[derive(Debug)]
pub(crate) struct Members {
    replicas: Vec<Arc<Replica>>,
    /// Who is asked, counted in a circle while there is nobody yet.
    at: usize,
    /// Of its turn.
    number: u64,
    /// Connections of earlier turns are left.
    kept_from: u64,
    /// How often names were resolved.
    pub(super) rounds: u64,
    /// Whether the last time, which failures had asked for, found nothing new, or found nothing.
    pub(super) in_vain: bool,
    /// Why there is nobody.
    pub(super) problem: Option<String>,
}

impl Members {
    pub(super) fn new(replicas: Vec<Arc<Replica>>, first: usize) -> Self {
        let at = first.checked_rem(replicas.len()).unwrap_or(first);
        Self { replicas, at, number: 0, kept_from: 0, rounds: 0, in_vain: false, problem: None }
    }

    pub(super) fn len(&self) -> usize {
        self.replicas.len()
    }

    /// Whether there is somebody to ask, or certainly nobody for now.
    pub(super) fn is_known(&self) -> bool {
        !self.replicas.is_empty() || self.problem.is_some()
    }

    pub(super) fn current(&self) -> Option<Turn> {
        let replica = Arc::clone(self.replicas.get(self.at)?);
        Some(Turn { number: self.number, replica })
    }

    pub(super) fn after(&self, turn: &Turn) -> Option<Turn> {
        let found = self.replicas.iter().position(|replica| Arc::ptr_eq(replica, &turn.replica));
        let next = found.map_or(self.at, |at| (at + 1) % self.replicas.len());
        let replica = Arc::clone(self.replicas.get(next)?);
        Some(Turn { number: turn.number.wrapping_add(1), replica })
    }

    /// The one whose turn this was does not answer; whether it was still its turn.
    pub(super) fn failed(&mut self, turn: u64) -> bool {
        if turn != self.number || self.replicas.is_empty() {
            return false;
        }
        self.at = (self.at + 1) % self.replicas.len();
        self.number += 1;
        true
    }

    pub(super) fn keeps(&self, turn: &Turn) -> bool {
        turn.number >= self.kept_from && !turn.replica.is_gone()
    }

    /// A connection to this turn's replica is open.
    pub(super) fn opened(&mut self, turn: &Turn, acquires: Channel) {
        if let Some(known) = self.replicas.iter_mut().find(|known| Arc::ptr_eq(known, &turn.replica)) {
            *known = Arc::new(turn.replica.opened(acquires));
        }
    }

    /// The addresses of an endpoint that are in use.
    pub(super) fn addresses(&self, endpoint: usize) -> Vec<SocketAddr> {
        let ours = |replica: &Arc<Replica>| replica.place.0 == endpoint;
        self.replicas.iter().filter(|replica| ours(replica)).filter_map(|replica| replica.place.1).collect()
    }

    /// These are the replicas from now on; whether that is a change. Who is known keeps its connections. Who is not named any
    /// more is asked nothing new, and keeps its connections until what was asked is answered.
    ///
    /// With `random`, everybody is as likely to be asked as anybody else, of all clients together: who was asked and is gone
    /// is followed by anyone, and of the clients of those that stay a part moves to those that came.
    pub(super) fn become_these(
        &mut self,
        places: &[Place],
        mut make: impl FnMut(Place) -> Option<Replica>,
        random: Option<&mut SmallRng>,
    ) -> bool {
        if self.replicas.iter().map(|replica| &replica.place).eq(places) {
            return false;
        }
        let known = |place: &Place| self.replicas.iter().find(|replica| replica.place == *place).cloned();
        let mut came = Vec::new();
        let mut replicas: Vec<Arc<Replica>> = Vec::with_capacity(places.len());
        for place in places {
            if let Some(replica) = known(place) {
                replicas.push(replica);
            } else if let Some(replica) = make(*place) {
                came.push(replicas.len());
                replicas.push(Arc::new(replica));
            }
        }
        for replica in self.replicas.iter().filter(|replica| !places.contains(&replica.place)) {
            replica.leaves();
        }
        let asked = self.replicas.get(self.at).map(|replica| replica.place);
        let stays = asked.and_then(|asked| replicas.iter().position(|replica| replica.place == asked));
        let first = self.replicas.is_empty();
        self.replicas = replicas;
        let all = self.replicas.len().max(1);
        let next = match (stays, random) {
            (Some(at), None) => at,
            (Some(at), Some(random)) => {
                // Of all that there are now, the place of one that came, or of one that was there.
                match came.get(random.random_range(0..all)) {
                    Some(new) => {
                        self.kept_from = self.number + 1;
                        *new
                    }
                    None => at,
                }
            }
            (None, _) if first => self.at % all,
            (None, Some(random)) => random.random_range(0..all),
            (None, None) => 0,
        };
        // Who fails in a turn that lasts is left by its number.
        if stays != Some(next) {
            self.number += 1;
        }
        self.at = next;
        true
    }
}

/// Which addresses of those found are used, at most `most`: those that are known first, so that none is left for another
/// without need. With `random`, any of the others; else the first.
pub(super) fn choose(
    known: &[SocketAddr],
    found: &[SocketAddr],
    most: usize,
    random: Option<&mut SmallRng>,
) -> Vec<SocketAddr> {
    let mut chosen: Vec<_> = known.iter().filter(|address| found.contains(address)).copied().collect();
    let mut new: Vec<SocketAddr> = Vec::new();
    for address in found {
        if !chosen.contains(address) && !new.contains(address) {
            new.push(*address);
        }
    }
    if let Some(random) = random.filter(|_| chosen.len() + new.len() > most) {
        new.shuffle(random);
    }
    chosen.append(&mut in_turns(&new));
    chosen.truncate(most);
    chosen
}

/// The address families in turns: where one of them leads nowhere, the next that is asked is of the other.
fn in_turns(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let like_first =
        |address: &&SocketAddr| addresses.first().is_some_and(|f| f.is_ipv6() == address.is_ipv6());
    let (mut one, mut other) =
        (addresses.iter().filter(like_first), addresses.iter().filter(|a| !like_first(a)));
    let mut mixed = Vec::with_capacity(addresses.len());
    while mixed.len() < addresses.len() {
        mixed.extend(one.next());
        mixed.extend(other.next());
    }
    mixed
}
