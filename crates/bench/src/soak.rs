//! A long run, and what memory does meanwhile.

use std::{sync::Mutex, sync::PoisonError, time::Duration};

use serde::Serialize;
use tokio::time::sleep;

use crate::{Bench, BenchError, Kind, Load, Row, Stage, load::span};

/// Memory at one moment. What could not be seen is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Sample {
    /// Seconds since the load began.
    pub at_s: f64,
    /// Bytes of the servers in memory.
    pub server_bytes: Option<u64>,
    /// Bytes that Redis says its data takes.
    pub store_bytes: Option<u64>,
}

/// What a soak shows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Soaked {
    /// What was carried meanwhile.
    pub row: Row,
    /// In order of time.
    pub samples: Vec<Sample>,
}

/// Puts the load on the stage and looks at memory each `every` (100 ms to a day); `tell` hears of each look.
pub async fn soak(
    bench: Bench,
    stage: &Stage,
    kind: Kind,
    load: &Load,
    every: Duration,
    tell: impl Fn(&Sample),
) -> Result<Soaked, BenchError> {
    span("--every", every, Duration::from_millis(100))?;
    let samples = Mutex::new(Vec::new());
    let looking = async {
        let mut at = Duration::ZERO;
        loop {
            let sample = Sample {
                at_s: at.as_secs_f64(),
                server_bytes: stage.resident(),
                store_bytes: stage.store_memory(),
            };
            tell(&sample);
            samples.lock().unwrap_or_else(PoisonError::into_inner).push(sample);
            sleep(every).await;
            at += every;
        }
    };
    let row = tokio::select! {
        row = Box::pin(bench.measure(stage, kind, load)) => row?,
        never = looking => never,
    };
    Ok(Soaked { row, samples: samples.into_inner().unwrap_or_else(PoisonError::into_inner) })
}
