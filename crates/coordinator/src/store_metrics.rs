//! What the store is asked, and what it says of itself, as metrics.

use std::{fmt, sync::Arc};

use bursar_quota::{Eviction, Ledger};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};

/// Shows what the ledger has asked of its store.
#[derive(Debug)]
pub(crate) struct StoreCollector(pub(crate) Arc<dyn Ledger>);

impl Collector for StoreCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let calls = self.0.store_calls();
        let counters = [
            ("store_script_calls", "Runs of scripts asked of the store", calls.scripts),
            (
                "store_round_trips",
                "Commands sent to the store over a network, tries and looks at its health included; 0 where it is embedded",
                calls.round_trips,
            ),
        ];
        for (name, help, count) in counters {
            let counter = ConstCounter::new(count);
            counter.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)?;
        }
        let eviction = self.0.eviction();
        let gauges = [
            (
                "store_may_evict",
                "1 where the store's maxmemory-policy lets it evict what it was told",
                matches!(eviction, Eviction::May { .. }),
            ),
            (
                "store_eviction_unseen",
                "1 where the store does not say whether it may evict",
                matches!(eviction, Eviction::Unseen { .. }),
            ),
        ];
        for (name, help, holds) in gauges {
            let gauge = ConstGauge::new(i64::from(holds));
            gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        Ok(())
    }
}
