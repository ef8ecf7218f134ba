//! The budget that declares a simulated upstream.

use std::time::Duration;

use bursar_quota::{
    Backoff, BudgetName, BudgetSpec, ClassName, LimitKind, LimitName, LimitSpec, NameError, ProfileName,
};

use super::{UpstreamConfig, VendorProfile, WindowKind, vendor::Vendor};

/// What is added to the linger, since moments are whole milliseconds in the store.
const LINGER_MARGIN: Duration = Duration::from_millis(1);

impl UpstreamConfig {
    /// The budget that declares this upstream, as its vendor's profile does, but scaled and overridden as this is. Windows
    /// are declared as aligned where the profile does so, never as on a clock: their phase is for Bursar to learn.
    ///
    /// Times of the budget are scaled as well: `send_within` (5 s, at least 2 s: a busy machine is not faster), the permits' life, back-off, ramp.
    pub fn budget(&self, name: BudgetName) -> Result<BudgetSpec, NameError> {
        let vendor = Vendor::new(self);
        let mut limits = Vec::new();
        for rule in &vendor.rules {
            let fixed = matches!(rule.kind, WindowKind::Clock | WindowKind::FirstCall);
            let kind = match rule.kind {
                WindowKind::Bucket => LimitKind::Bucket {
                    capacity: rule.capacity,
                    #[allow(clippy::cast_precision_loss, reason = "10^12 is exact in a double")]
                    refill_per_second: rule.capacity as f64 / rule.window.as_secs_f64(),
                },
                _ => LimitKind::Window {
                    capacity: rule.capacity,
                    window: rule.window,
                    aligned: fixed && rule.offers,
                    on_clock: false,
                },
            };
            let mut limit = LimitSpec::new(LimitName::new(rule.name)?, kind);
            limit.readings = rule.offers;
            limit.classes =
                rule.classes.iter().map(|class| ClassName::new(class)).collect::<Result<_, _>>()?;
            limits.push(limit);
        }
        if let Some((at_once, linger)) = vendor.concurrency {
            let capacity = u64::try_from(at_once).unwrap_or(bursar_quota::MAX_CAPACITY);
            let kind = LimitKind::Concurrency { capacity, linger: linger + LINGER_MARGIN };
            limits.push(LimitSpec::new(LimitName::new("concurrency")?, kind));
        }
        let (profile, class) = match self.profile {
            VendorProfile::Salestim => ("salestim", "read"),
            // One profile reads the drafts, old and new.
            VendorProfile::Polli => ("ietf", "default"),
            other => (other.as_str(), "default"),
        };
        let scaled = |seconds: u64, least_ms: u64| {
            self.scaled(Duration::from_secs(seconds)).max(Duration::from_millis(least_ms))
        };
        let mut spec = BudgetSpec::new(name, limits);
        spec.profile = Some(ProfileName::new(profile)?);
        spec.default_class = Some(ClassName::new(class)?);
        spec.send_within = scaled(5, 2000);
        spec.permit_ttl = scaled(60, 5000) + 2 * self.latency.1;
        spec.max_permit_ttl = spec.permit_ttl * 10;
        spec.backoff = Backoff { base: scaled(1, 1), max: scaled(300, 1) };
        spec.ramp = scaled(1, 1);
        Ok(spec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_upstream_has_a_budget_that_is_valid() {
        for profile in VendorProfile::ALL {
            for scale in [1.0, 12.0, 100.0] {
                for windows in
                    [WindowKind::Clock, WindowKind::FirstCall, WindowKind::Rolling, WindowKind::Bucket]
                {
                    let config =
                        UpstreamConfig { scale, windows: Some(windows), ..UpstreamConfig::new(profile) };
                    let spec = config.budget(BudgetName::new("demo").unwrap()).unwrap();
                    assert_eq!(spec.validate(), Ok(()), "{profile} {scale} {windows:?}");
                }
            }
        }
    }

    #[test]
    fn autotask_is_declared_as_its_profile_does() {
        let config = UpstreamConfig::new(VendorProfile::Autotask);
        let spec = config.budget(BudgetName::new("demo").unwrap()).unwrap();
        let minute = Duration::from_secs(60);
        let window =
            |capacity, aligned| LimitKind::Window { capacity, window: minute, aligned, on_clock: false };
        assert_eq!(spec.limits[0].kind, window(600, true));
        assert_eq!(spec.limits[1].kind, window(10, false));
        assert!(spec.limits[0].readings && !spec.limits[1].readings);
        let linger = Duration::from_millis(51);
        assert_eq!(spec.limits[2].kind, LimitKind::Concurrency { capacity: 3, linger });
    }
}
