//! Workers that ask Bursar first.

use std::{sync::Arc, time::Duration};

use bursar_client::Outcome;
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio_util::sync::CancellationToken;

use super::{
    Ask, Broker, Counters, FleetConfig, FleetError, FleetSnapshot, NotGranted,
    config::CallKind,
    request::{Sender, Sent},
    run, sleep, validate,
};

/// The least and the most time after which a worker that got no permit asks again, unless it is told another.
const ASK_AGAIN: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(100));

/// Runs a fleet whose workers ask `broker` for a permit for each request, until `stop`: then requests under way are
/// finished and settled, and permits that were not used are given back. `counters` may be looked at meanwhile. Fails
/// before it begins if the configuration is not valid, or as soon as Bursar says that a request can never be granted.
pub async fn through_bursar<B: Broker>(
    broker: B,
    url: &str,
    config: FleetConfig,
    counters: Arc<Counters>,
    stop: CancellationToken,
) -> Result<FleetSnapshot, FleetError> {
    validate(&config)?;
    let sender = Sender::new(url, &config)?;
    let (config, shown) = (Arc::new(config), counters.clone());
    run(config.workers, shown, |number| {
        let worker = Worker {
            broker: broker.clone(),
            sender: sender.clone(),
            config: config.clone(),
            counters: counters.clone(),
            stop: stop.clone(),
            rng: StdRng::seed_from_u64(config.seed ^ number as u64),
        };
        worker.work()
    })
    .await
}

struct Worker<B> {
    broker: B,
    sender: Sender,
    config: Arc<FleetConfig>,
    counters: Arc<Counters>,
    stop: CancellationToken,
    rng: StdRng,
}

/// A permit with what is to be told of it.
type Settlement<P> = (P, Outcome);

impl<B: Broker> Worker<B> {
    async fn work(mut self) -> Result<(), FleetError> {
        let config = self.config.clone();
        // What was last sent is settled by the next acquire, where there is one.
        let mut riding = None;
        loop {
            let kind = config.pick(&mut self.rng).ok_or(FleetError::NoCalls)?;
            let mut tries = 0;
            while tries < config.retry.tries {
                let Some(permit) = self.permit(kind, riding.take()).await? else { return Ok(()) };
                let sent = self.sender.send(kind, &self.counters).await;
                tries += 1;
                let done = sent.is_done();
                if done {
                    self.counters.done();
                } else if tries >= config.retry.tries {
                    self.counters.given_up();
                }
                riding = self.settle(permit, sent).await;
                if done {
                    break;
                }
            }
            if !config.think.is_zero() {
                sleep(config.think, &self.stop).await;
            }
        }
    }

    /// Settles at once if no acquire follows at once; else gives what is to ride along.
    async fn settle(&self, permit: B::Permit, sent: Sent) -> Option<Settlement<B::Permit>> {
        let outcome = sent.outcome();
        if self.config.think.is_zero() && !self.stop.is_cancelled() {
            return Some((permit, outcome));
        }
        self.tell(permit, outcome).await;
        None
    }

    async fn tell(&self, permit: B::Permit, outcome: Outcome) {
        if !self.broker.settle(permit, outcome).await {
            self.counters.unsettled();
        }
    }

    /// Asks until there is a permit that can be sent; `None`: the fleet stops.
    async fn permit(
        &mut self,
        kind: &CallKind,
        mut riding: Option<Settlement<B::Permit>>,
    ) -> Result<Option<B::Permit>, FleetError> {
        let counters = self.counters.clone();
        let _waiting = counters.wait();
        loop {
            let ask =
                Ask { budget: self.config.budget.clone(), class: kind.class, max_wait: self.config.max_wait };
            let asking = self.broker.acquire(ask, riding.take());
            // Asked before the stop is looked at: so what rides along is told in any case.
            let answer = tokio::select! {
                biased;
                answer = asking => answer,
                () = self.stop.cancelled() => return Ok(None),
            };
            match answer {
                Ok(permit) if !self.stop.is_cancelled() && self.broker.is_sendable(&permit) => {
                    return Ok(Some(permit));
                }
                Ok(permit) => {
                    counters.not_sent();
                    self.tell(permit, Outcome::not_sent()).await;
                }
                Err(refusal) => {
                    counters.not_granted();
                    self.come_back(refusal).await?;
                }
            }
            if self.stop.is_cancelled() {
                return Ok(None);
            }
        }
    }

    /// Waits until it makes sense to ask again.
    async fn come_back(&mut self, refusal: NotGranted) -> Result<(), FleetError> {
        if refusal.hopeless {
            return Err(FleetError::Hopeless(refusal.message));
        }
        let (least, most) = ASK_AGAIN;
        // Told or not, workers do not come back all at once.
        let jitter = self.rng.random_range(least..=most);
        let told = refusal.retry_after.unwrap_or_default().min(self.config.max_wait);
        sleep(told + jitter, &self.stop).await;
        Ok(())
    }
}
