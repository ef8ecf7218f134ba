//! Workers that know nothing of each other.

use std::sync::Arc;

use rand::{SeedableRng, rngs::StdRng};
use tokio_util::sync::CancellationToken;

use super::{Counters, FleetConfig, FleetError, FleetSnapshot, request::Sender, run, sleep, validate};

/// Runs a fleet whose workers each have a retry handler of their own, until `stop`; requests under way are then finished.
/// `counters` may be looked at meanwhile. Fails before it begins if the configuration is not valid.
pub async fn independent(
    url: &str,
    config: FleetConfig,
    counters: Arc<Counters>,
    stop: CancellationToken,
) -> Result<FleetSnapshot, FleetError> {
    validate(&config)?;
    let sender = Sender::new(url, &config)?;
    let (config, shown) = (Arc::new(config), counters.clone());
    run(config.workers, shown, |number| {
        let (sender, config) = (sender.clone(), config.clone());
        work(number, sender, config, counters.clone(), stop.clone())
    })
    .await
}

async fn work(
    number: usize,
    sender: Sender,
    config: Arc<FleetConfig>,
    counters: Arc<Counters>,
    stop: CancellationToken,
) -> Result<(), FleetError> {
    let mut rng = StdRng::seed_from_u64(config.seed ^ number as u64);
    while !stop.is_cancelled() {
        let kind = config.pick(&mut rng).ok_or(FleetError::NoCalls)?;
        let mut tries = 0;
        loop {
            let sent = sender.send(kind, &counters).await;
            tries += 1;
            if sent.is_done() {
                counters.done();
                break;
            }
            if tries >= config.retry.tries {
                counters.given_up();
                break;
            }
            let _waiting = counters.wait();
            if sleep(config.retry.delay(tries, sent.retry_after()), &stop).await {
                return Ok(());
            }
        }
        if !config.think.is_zero() {
            sleep(config.think, &stop).await;
        }
    }
    Ok(())
}
