//! Where names lead: resolved when a client begins, now and then, and soon after failures.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use rand::{Rng, rngs::SmallRng};
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
};

use super::{
    members::{Members, choose},
    replica::Place,
    sources::{Source, Sources},
};
use crate::{
    config::{ClientConfig, MAX_ENDPOINTS},
    resolver::Resolver,
};

/// How long one question to the resolver may take.
const LONGEST: Duration = Duration::from_secs(5);
/// The least time between two rounds, less up to a quarter; doubled, up to the period, by each that was made in a hurry and
/// found nothing new.
const LEAST: Duration = Duration::from_secs(1);
/// After a failure, the longest until names are resolved anew: so many clients may have met it at once.
const SPREAD: Duration = Duration::from_millis(500);

/// What a round found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Change,
    Same,
    /// At least one name led nowhere.
    Nothing,
}

/// Keeps the members what the names say.
#[derive(Debug)]
pub(super) struct Follower {
    sources: Arc<Sources>,
    resolver: Arc<dyn Resolver>,
    every: Duration,
    /// How many addresses of a name are used: all names together have as many as a list may have endpoints.
    share: usize,
    members: Arc<watch::Sender<Members>>,
    hurry: Arc<Notify>,
    in_order: bool,
    random: SmallRng,
}

impl Follower {
    pub(super) fn new(
        sources: Arc<Sources>,
        config: &ClientConfig,
        members: Arc<watch::Sender<Members>>,
        hurry: Arc<Notify>,
        random: SmallRng,
    ) -> Self {
        let names = sources.all.iter().filter(|source| source.name.is_some()).count();
        let share = (MAX_ENDPOINTS + names).saturating_sub(sources.all.len()) / names.max(1);
        let (resolver, every, in_order) =
            (Arc::clone(&config.resolver), config.resolve_every, config.in_order);
        Self { sources, resolver, every, share, members, hurry, in_order, random }
    }

    /// Takes what needs no resolver; `None` if that is all.
    pub(super) fn start(mut self) -> Option<Self> {
        let listed = |source: &Source| source.name.is_none();
        if !self.in_order || self.sources.all.first().is_some_and(listed) {
            self.apply(&vec![Vec::new(); self.sources.all.len()], None);
        }
        (!self.sources.all.iter().all(listed)).then_some(self)
    }

    /// Resolves again and again, for ever.
    pub(super) async fn run(mut self) {
        let mut gap = LEAST;
        let mut hurried = false;
        loop {
            let found = self.round().await;
            let in_vain = found == Found::Nothing || (hurried && found == Found::Same);
            self.members.send_modify(|members| {
                members.rounds += 1;
                members.in_vain = in_vain;
            });
            gap = if in_vain { gap.saturating_mul(2).min(self.every) } else { LEAST };
            let next = self.part_of(self.every);
            let soonest = self.part_of(gap);
            tokio::time::sleep(soonest).await;
            hurried = false;
            if found != Found::Nothing {
                hurried = tokio::select! {
                    biased;
                    () = self.hurry.notified() => true,
                    () = tokio::time::sleep(next.saturating_sub(soonest)) => false,
                };
                if hurried {
                    let pause = SPREAD.mul_f64(self.random.random_range(0.0..1.0));
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    /// Something between three quarters of it and all.
    fn part_of(&mut self, span: Duration) -> Duration {
        span.mul_f64(self.random.random_range(0.75..=1.0))
    }

    /// Asks for all names at once.
    async fn round(&mut self) -> Found {
        let mut asked = JoinSet::new();
        for (index, source) in self.sources.all.iter().enumerate() {
            let Some((host, port)) = source.name.clone() else { continue };
            let resolver = Arc::clone(&self.resolver);
            asked.spawn(async move { (index, resolve(&*resolver, &host, port).await) });
        }
        let mut found: Vec<Vec<SocketAddr>> = vec![Vec::new(); self.sources.all.len()];
        let mut problem = None;
        while let Some(answer) = asked.join_next().await {
            // A resolver that panics has found nothing.
            let Ok((index, answer)) = answer else {
                problem = Some("a name was not resolved: the resolver failed".to_owned());
                continue;
            };
            match (answer, found.get_mut(index), self.sources.all.get(index)) {
                (Ok(addresses), Some(found), _) => *found = addresses,
                (Err(error), _, Some(source)) => {
                    let name = source.name.as_ref().map(|(host, _)| host.as_str()).unwrap_or_default();
                    tracing::debug!(name, %error, "a name was not resolved");
                    problem = Some(format!("{name} was not resolved: {error}"));
                }
                _ => {}
            }
        }
        self.apply(&found, problem)
    }

    /// Takes what was found; of names that led nowhere, what was known.
    fn apply(&mut self, found: &[Vec<SocketAddr>], problem: Option<String>) -> Found {
        let mut places: Vec<Place> = Vec::new();
        for (index, (source, found)) in self.sources.all.iter().zip(found).enumerate() {
            if source.name.is_none() {
                places.push((index, None));
                continue;
            }
            let known = self.members.borrow().addresses(index);
            let random = (!self.in_order).then_some(&mut self.random);
            let chosen = if found.is_empty() { known } else { choose(&known, found, self.share, random) };
            places.extend(chosen.into_iter().map(|address| (index, Some(address))));
        }
        let failed = problem.is_some();
        let mut changed = false;
        let (sources, random) = (&self.sources, (!self.in_order).then_some(&mut self.random));
        self.members.send_if_modified(|members| {
            changed = members.become_these(&places, |place| sources.replica(place), random);
            let told = members.problem != problem;
            members.problem = problem;
            changed || told
        });
        if changed {
            tracing::debug!(replicas = places.len(), "names lead to other addresses");
        }
        match (failed, changed) {
            (true, _) => Found::Nothing,
            (false, true) => Found::Change,
            (false, false) => Found::Same,
        }
    }
}

async fn resolve(resolver: &dyn Resolver, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let answer = tokio::time::timeout(LONGEST, resolver.resolve(host, port)).await;
    match answer {
        Ok(Ok(addresses)) if addresses.is_empty() => Err(io::Error::other("it has no addresses")),
        Ok(answer) => answer,
        Err(_) => Err(io::Error::other(format!("no answer within {} s", LONGEST.as_secs()))),
    }
}
