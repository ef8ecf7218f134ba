//! Model upstreams: brute force, obviously right, and coded without a look at the ledger.

/// How an upstream counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Windows on a clock.
    Clock,
    /// A window starts with the first call after the one before has ended.
    FirstCall,
    /// The last window's worth of calls.
    Rolling,
    /// A bucket of N that refills N a window.
    Leaking,
}

/// An upstream: `n` per `window` ms.
#[derive(Debug, Clone)]
pub struct Upstream {
    pub kind: Kind,
    pub n: u64,
    pub window: u64,
    /// Of windows on a clock: one ends at every moment that is `phase` modulo `window`.
    pub phase: u64,
    /// Every call ever accepted: when, and its cost.
    calls: Vec<(u64, u64)>,
}

impl Upstream {
    pub fn new(kind: Kind, n: u64, window: u64, phase: u64) -> Self {
        Self { kind, n, window, phase, calls: Vec::new() }
    }

    /// The end of the window that `now` is in, where there is one.
    pub fn end(&self, now: u64) -> Option<u64> {
        match self.kind {
            Kind::Clock => Some(((now - self.phase) / self.window + 1) * self.window + self.phase),
            Kind::FirstCall => {
                let mut end = None;
                for (at, _) in &self.calls {
                    if end.is_none_or(|end| *at >= end) {
                        end = Some(at + self.window);
                    }
                }
                end.filter(|end| now < *end)
            }
            Kind::Rolling | Kind::Leaking => None,
        }
    }

    /// What would be accepted now; of a bucket in whole units.
    pub fn remaining(&self, now: u64) -> u64 {
        let used: u64 = match self.kind {
            Kind::Clock | Kind::FirstCall => match self.end(now) {
                Some(end) => self
                    .calls
                    .iter()
                    .filter(|(at, _)| at + self.window >= end && *at < end)
                    .map(|c| c.1)
                    .sum(),
                None => 0,
            },
            Kind::Rolling => self.calls.iter().filter(|(at, _)| at + self.window > now).map(|c| c.1).sum(),
            Kind::Leaking => {
                // In units of 1/window: exact.
                let (mut used, mut last) = (0_u64, 0);
                for (at, cost) in &self.calls {
                    used = used.saturating_sub((at - last) * self.n) + cost * self.window;
                    last = *at;
                }
                used.saturating_sub((now - last) * self.n).div_ceil(self.window)
            }
        };
        self.n - used
    }

    /// A call: whether it is accepted.
    pub fn call(&mut self, now: u64, cost: u64) -> bool {
        let fits = cost <= self.remaining(now);
        if fits {
            self.calls.push((now, cost));
        }
        fits
    }
}
