//! What goes wrong, and when: from the seed, until everything heals.

use std::time::Duration;

use rand::{Rng as _, SeedableRng as _, rngs::SmallRng, seq::IndexedRandom as _};
use turmoil::Sim;

use super::{HEALED, REPLICAS, WORKERS, worker_name};

/// One thing that is wrong now.
#[derive(Debug, Clone)]
enum Fault {
    /// No message passes between the two.
    Cut(String, String),
    /// Messages wait, and pass all at once.
    Held(String, String),
    /// The replica is gone.
    Crashed(&'static str),
}

pub(crate) struct Faults {
    random: SmallRng,
    /// With the moment at which it ends.
    current: Vec<(Duration, Fault)>,
    next: Duration,
    told: Vec<String>,
}

impl Faults {
    pub(crate) fn new(seed: u64) -> Self {
        let random = SmallRng::seed_from_u64(seed ^ 0xfa_17);
        Self { random, current: Vec::new(), next: Duration::from_secs(4), told: Vec::new() }
    }

    /// Ends what is over, and begins what is due.
    pub(crate) fn turn(&mut self, sim: &mut Sim<'_>) {
        let now = sim.elapsed();
        let over = |until: &Duration| *until <= now || now >= HEALED;
        for (_, fault) in self.current.extract_if(.., |(until, _)| over(until)) {
            match fault {
                Fault::Cut(a, b) => sim.repair(a, b),
                Fault::Held(a, b) => sim.release(a, b),
                Fault::Crashed(replica) => sim.bounce(replica),
            }
        }
        if now < self.next || now >= HEALED {
            return;
        }
        self.next = now + Duration::from_millis(self.random.random_range(500..5000));
        let until = now + Duration::from_millis(self.random.random_range(200..9000));
        let fault = self.draw();
        if self.current.iter().any(|(_, other)| fault.is_about(other)) {
            return;
        }
        match &fault {
            Fault::Cut(a, b) => sim.partition(a.as_str(), b.as_str()),
            Fault::Held(a, b) => sim.hold(a.as_str(), b.as_str()),
            Fault::Crashed(replica) => sim.crash(*replica),
        }
        self.told.push(format!("{:.1} s {fault:?} until {:.1} s", now.as_secs_f64(), until.as_secs_f64()));
        self.current.push((until, fault));
    }

    fn draw(&mut self) -> Fault {
        let random = &mut self.random;
        let replica = *REPLICAS.choose(random).unwrap();
        let other = match random.random_bool(0.6) {
            true => "store".to_owned(),
            false => worker_name(random.random_range(0..WORKERS)),
        };
        match random.random_range(0..10) {
            0..5 => Fault::Cut(replica.to_owned(), other),
            5..8 => Fault::Held(replica.to_owned(), other),
            _ => Fault::Crashed(replica),
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.told.len()
    }

    pub(crate) fn told(&self) -> String {
        self.told.join(", ")
    }
}

impl Fault {
    /// Whether the two are about one link or one replica: then the end of the one would end the other.
    fn is_about(&self, other: &Self) -> bool {
        let names = |fault: &Self| match fault {
            Self::Cut(a, b) | Self::Held(a, b) => (a.clone(), Some(b.clone())),
            Self::Crashed(replica) => ((*replica).to_owned(), None),
        };
        match (names(self), names(other)) {
            ((a, Some(b)), (c, Some(d))) => a == c && b == d,
            ((a, _), (b, _)) => a == b,
        }
    }
}
