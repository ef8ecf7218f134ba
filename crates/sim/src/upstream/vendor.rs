//! The vendors: their rules, which calls fall under them, and how they spell what they say. Data, as far as it goes.

use std::time::Duration;

use http::Method;
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::config::{UpstreamConfig, VendorProfile, WindowKind};
use crate::model::{
    Account, ClockWindow, Concurrency, FirstCallWindow, LeakyBucket, Model, RollingLog, Rule,
};

/// Which family of headers a vendor sends on every response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeaderStyle {
    /// `X-RateLimit-Limit`, `-Remaining` and `-Reset` in epoch seconds.
    EpochReset,
    /// `X-RateLimit-Limit` and `-Remaining`.
    NoReset,
    /// `RateLimit-Limit`, `-Remaining`, `-Reset` in seconds from now, and `RateLimit-Policy`.
    DeltaReset,
    /// The structured fields `RateLimit-Policy` and `RateLimit`.
    Structured,
}

/// What the body of a refusal looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RefusalBody {
    /// `error.code`, `error.message`, `error.retryAfter` in seconds.
    ErrorCode,
    /// `rateLimitExceeded.tier`, `.rateLimitWindow` in ms, `.rateLimitMax`.
    RateLimitExceeded,
}

/// One window rule of a vendor, as it applies here: scaled, overridden.
#[derive(Debug, Clone)]
pub(super) struct WindowRule {
    /// `requests`, `auth`, `reads`, `writes`.
    pub(super) name: &'static str,
    /// Empty: all.
    pub(super) classes: &'static [&'static str],
    pub(super) capacity: u64,
    pub(super) window: Duration,
    pub(super) kind: WindowKind,
    /// Less than the window.
    pub(super) phase: Duration,
    /// Whether it is part of the capacity that is offered; a rule that only narrows another one is not.
    pub(super) offers: bool,
}

/// A vendor, as it is played here.
#[derive(Debug, Clone)]
pub(super) struct Vendor {
    profile: VendorProfile,
    /// In order of precedence.
    pub(super) rules: Vec<WindowRule>,
    refusals_count: bool,
    /// At once for each token, and how long a slot outlasts its response.
    pub(super) concurrency: Option<(usize, Duration)>,
    /// What a refusal for concurrency says to wait where it is not known when a slot will be free.
    pub(super) concurrency_retry: Duration,
    pub(super) style: HeaderStyle,
    pub(super) body: RefusalBody,
}

const MINUTE: Duration = Duration::from_secs(60);

/// Name, classes, capacity, window in true time, whether it is part of what is offered.
type Row = (&'static str, &'static [&'static str], u64, Duration, bool);

/// An authentication call of Autotask counts on both windows and takes a slot.
const AUTOTASK: &[Row] = &[("requests", &[], 600, MINUTE, true), ("auth", &["auth"], 10, MINUTE, false)];
const QUARTER_HOUR: Duration = Duration::from_secs(900);
/// Tier 1. Other tiers differ in their capacity: override it.
const SALESTIM: &[Row] =
    &[("reads", &["read"], 6, QUARTER_HOUR, true), ("writes", &["write"], 6, QUARTER_HOUR, true)];
const PLAIN: &[Row] = &[("requests", &[], 100, MINUTE, true)];

impl Vendor {
    /// The vendor that `config`, which is valid, describes.
    pub(super) fn new(config: &UpstreamConfig) -> Self {
        let profile = config.profile;
        let (rows, kind, style) = match profile {
            VendorProfile::Autotask => (AUTOTASK, WindowKind::Clock, HeaderStyle::EpochReset),
            // A refused call counts, and the throttle is longer for it: the definition of a rolling log.
            VendorProfile::Salestim => (SALESTIM, WindowKind::Rolling, HeaderStyle::NoReset),
            VendorProfile::Ietf => (PLAIN, WindowKind::Clock, HeaderStyle::Structured),
            VendorProfile::Polli => (PLAIN, WindowKind::Clock, HeaderStyle::DeltaReset),
            VendorProfile::Generic => (PLAIN, WindowKind::Clock, HeaderStyle::EpochReset),
        };
        let mut rng = StdRng::seed_from_u64(config.seed);
        let rule = |(name, classes, capacity, window, offers): &Row| {
            let window = config.window.unwrap_or_else(|| config.scaled(*window));
            let overridden = if *offers { config.capacity } else { config.auth_capacity };
            // Drawn even if it is overridden: whatever else is random stays the same.
            let drawn = window.mul_f64(rng.random::<f64>());
            let phase = config.phase.unwrap_or(drawn).as_nanos() % window.as_nanos();
            WindowRule {
                name,
                classes,
                capacity: overridden.unwrap_or(*capacity),
                window,
                kind: config.windows.unwrap_or(kind),
                phase: Duration::from_nanos(u64::try_from(phase).unwrap_or_default()),
                offers: *offers,
            }
        };
        let rules = rows.iter().map(rule).collect();
        let at_once = match profile {
            VendorProfile::Autotask => 3,
            _ => 0,
        };
        let at_once = config.concurrency.map_or(at_once, |n| usize::try_from(n).unwrap_or(usize::MAX));
        let linger = config.linger.unwrap_or_else(|| config.scaled(Duration::from_millis(50)));
        Self {
            profile,
            rules,
            refusals_count: profile == VendorProfile::Salestim,
            concurrency: (at_once > 0).then_some((at_once, linger)),
            concurrency_retry: config.scaled(Duration::from_secs(1)),
            style,
            body: match profile {
                VendorProfile::Salestim => RefusalBody::RateLimitExceeded,
                _ => RefusalBody::ErrorCode,
            },
        }
    }

    /// A token's account, with nothing used.
    pub(super) fn account(&self) -> Account {
        let rule = |rule: &WindowRule| Rule {
            name: rule.name,
            classes: rule.classes,
            refusals_count: self.refusals_count,
            model: rule.model(),
        };
        let slots = self.concurrency.map(|(at_once, linger)| Concurrency::new(at_once, linger));
        Account::new(self.rules.iter().map(rule).collect(), slots)
    }

    /// The class of a call. Autotask: `auth` where the path starts with `/auth`, or contains `authenticat` or
    /// `zoneinformation`, in any case. SalesTim: `read` for GET and HEAD, `write` otherwise. Else `default`.
    pub(super) fn class_of(&self, method: &Method, path: &str) -> &'static str {
        match self.profile {
            VendorProfile::Autotask => {
                let path = path.to_ascii_lowercase();
                let auth = path.starts_with("/auth")
                    || path.contains("authenticat")
                    || path.contains("zoneinformation");
                if auth { "auth" } else { "default" }
            }
            VendorProfile::Salestim if method == Method::GET || method == Method::HEAD => "read",
            VendorProfile::Salestim => "write",
            _ => "default",
        }
    }

    /// The class of calls that others make.
    pub(super) fn foreign_class(&self) -> &'static str {
        match self.profile {
            VendorProfile::Salestim => "read",
            _ => "default",
        }
    }

    /// The rule whose reading a response to a call of `class` carries, unless another one refused it: the first.
    pub(super) fn told_rule(&self, class: &str) -> Option<usize> {
        let applies = |rule: &WindowRule| rule.classes.is_empty() || rule.classes.contains(&class);
        self.rules.iter().position(applies)
    }
}

impl WindowRule {
    fn model(&self) -> Box<dyn Model> {
        match self.kind {
            WindowKind::Clock => Box::new(ClockWindow::new(self.capacity, self.window, self.phase)),
            WindowKind::FirstCall => Box::new(FirstCallWindow::new(self.capacity, self.window)),
            WindowKind::Rolling => Box::new(RollingLog::new(self.capacity, self.window)),
            WindowKind::Bucket => Box::new(LeakyBucket::new(self.capacity, self.capacity, self.window)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_of_the_class_that_its_path_or_method_says() {
        let autotask = Vendor::new(&UpstreamConfig::new(VendorProfile::Autotask));
        for path in
            ["/auth", "/authenticate", "/v1.0/Authentication", "/ATServicesRest/V1.0/zoneInformation?user=x"]
        {
            assert_eq!(autotask.class_of(&Method::GET, path), "auth", "{path}");
        }
        assert_eq!(autotask.class_of(&Method::POST, "/v1.0/Tickets"), "default");
        let salestim = Vendor::new(&UpstreamConfig::new(VendorProfile::Salestim));
        assert_eq!(salestim.class_of(&Method::GET, "/teams"), "read");
        assert_eq!(salestim.class_of(&Method::DELETE, "/teams"), "write");
        assert_eq!(salestim.told_rule("write"), Some(1));
    }

    #[test]
    fn windows_scale_and_have_a_phase_of_their_own() {
        let phases = |seed: u64| {
            let config = UpstreamConfig { scale: 12.0, seed, ..UpstreamConfig::default() };
            let vendor = Vendor::new(&config);
            assert_eq!(vendor.rules[0].window, Duration::from_secs(5));
            assert_eq!(vendor.concurrency.unwrap().1, Duration::from_millis(50).div_f64(12.0));
            vendor.rules.iter().map(|rule| rule.phase).collect::<Vec<_>>()
        };
        let one = phases(1);
        assert_eq!(one, phases(1));
        assert_ne!(one, phases(2));
        assert_ne!(one[0], one[1]);
        assert!(one.iter().all(|phase| *phase < Duration::from_secs(5)));
        let second = Some(Duration::from_secs(61));
        let vendor = Vendor::new(&UpstreamConfig { phase: second, ..UpstreamConfig::default() });
        assert_eq!(vendor.rules[0].phase, Duration::from_secs(1));
    }
}
