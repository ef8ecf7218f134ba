//! Both fleets against one upstream, at the same time, each with a token of its own: so neither is in the other's way, and
//! both have the same windows to use.
//!
//! Whoever runs a [`Demo`] starts a Bursar that knows the budget [`DemoConfig::budget`], and hands a client of it to
//! [`Demo::run`]; the rest is here. The fleets start at the edge of a window and end at another, so that the share is of
//! whole windows: those, by the upstream's own count, that began and ended in between.

use std::{sync::Arc, time::Duration};

use bursar_quota::{BudgetName, BudgetSpec, Clock, NameError};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    fleet::{Broker, Counters, FleetConfig, FleetError, FleetSnapshot, independent, through_bursar},
    report::{Report, Row},
    upstream::{
        ConfigError, ServeError, TokenTruth, Truth, Upstream, UpstreamConfig, VendorProfile, token_label,
    },
};

/// The most windows that a demo measures.
pub const MAX_DEMO_WINDOWS: u32 = 120;

/// What is shown.
#[derive(Debug, Clone)]
pub struct DemoConfig {
    /// The upstream. Its windows are on a clock.
    pub upstream: UpstreamConfig,
    /// Workers of each fleet.
    pub workers: usize,
    /// How many windows are measured, 1 to [`MAX_DEMO_WINDOWS`].
    pub windows: u32,
    /// One call in so many is made on an authentication endpoint (of SalesTim: is a write); 0: none.
    pub special_every: u32,
    /// The budget's name.
    pub budget: BudgetName,
    /// What everything random in the fleets follows from.
    pub seed: u64,
}

impl DemoConfig {
    /// About half a minute: Autotask, twelve times faster, so that a window has 5 s. Five windows are measured, after at
    /// most one of waiting for an edge. Calls and lingers are short enough for 3 at once to use a window up: 600 calls in
    /// 5 s leave 25 ms for each.
    pub fn quick(budget: BudgetName, workers: usize, seed: u64) -> Self {
        let ms = Duration::from_millis;
        let upstream = UpstreamConfig {
            scale: 12.0,
            latency: (ms(4), ms(8)),
            linger: Some(ms(2)),
            seed,
            ..UpstreamConfig::new(VendorProfile::Autotask)
        };
        // 600 calls a window, 6 of them to authenticate: less than the 10 that are allowed.
        Self { upstream, workers, windows: 5, special_every: 100, budget, seed }
    }

    /// True windows: three of a minute are measured, after at most one of waiting for an edge.
    pub fn real_time(budget: BudgetName, workers: usize, seed: u64) -> Self {
        let quick = Self::quick(budget, workers, seed);
        let ms = Duration::from_millis;
        let upstream = UpstreamConfig { latency: (ms(20), ms(100)), seed, ..UpstreamConfig::default() };
        Self { upstream, windows: 3, ..quick }
    }

    /// The budget that Bursar has to know before the demo runs.
    pub fn budget(&self) -> Result<BudgetSpec, NameError> {
        self.upstream.budget(self.budget.clone())
    }

    /// One of the two fleets.
    fn fleet(&self, token: &str) -> FleetConfig {
        let scale = self.upstream.scale;
        let fleet = match self.upstream.profile {
            VendorProfile::Autotask => FleetConfig::autotask(self.workers, token, self.special_every, scale),
            VendorProfile::Salestim => FleetConfig::salestim(self.workers, token, self.special_every, scale),
            _ => FleetConfig::plain(self.workers, token, "/", scale),
        };
        FleetConfig { budget: self.budget.as_str().to_owned(), seed: self.seed, ..fleet }
    }
}

/// What happens, for a live view.
#[derive(Debug, Clone)]
pub enum DemoEvent {
    /// The upstream listens.
    Listening {
        /// Where.
        url: String,
    },
    /// The fleets start at the next edge of a window.
    WaitingForEdge {
        /// How long that is.
        left: Duration,
    },
    /// The fleets run. Their counters may be looked at until the demo has ended, and after.
    Running {
        /// For how long.
        left: Duration,
        /// Of the fleet that asks Bursar.
        bursar: Arc<Counters>,
        /// Of the fleet that does not.
        independent: Arc<Counters>,
    },
    /// The fleets have been told to stop, and finish what is under way.
    Stopping,
}

/// What a demo found.
#[derive(Debug, Clone, PartialEq)]
pub struct DemoOutcome {
    /// The figures.
    pub report: Report,
    /// What the fleet that asked Bursar counted itself.
    pub bursar: FleetSnapshot,
    /// What the fleet that did not counted itself.
    pub independent: FleetSnapshot,
    /// What the upstream counted.
    pub truth: Truth,
}

/// Why a demo came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The upstream's configuration is not valid.
    #[error("the upstream's configuration is not valid")]
    Config(#[from] ConfigError),
    /// `windows` is outside its bounds.
    #[error("windows: {0} is outside 1 to {MAX_DEMO_WINDOWS}")]
    Windows(u32),
    /// No port could be listened on.
    #[error("the upstream cannot listen")]
    Listen(#[source] std::io::Error),
    /// The upstream failed while it served.
    #[error("the upstream failed")]
    Upstream(#[from] ServeError),
    /// A fleet could not run.
    #[error("a fleet failed")]
    Fleet(#[from] FleetError),
    /// It was told to stop before the end.
    #[error("stopped before the end")]
    Stopped,
    /// The upstream counted nothing of a fleet in a whole window.
    #[error("the upstream counted no whole window of {0}")]
    Nothing(&'static str),
}

/// The tokens that the fleets call with. They open nothing but the simulated upstream.
const TOKENS: (&str, &str) = ("demo-bursar", "demo-independent");

/// A demo whose upstream has been set up.
pub struct Demo {
    config: DemoConfig,
    upstream: Arc<Upstream>,
    listener: TcpListener,
    url: String,
}

impl Demo {
    /// Sets the upstream up on a free port of 127.0.0.1; it answers once the demo runs. Fails if a value of the
    /// configuration is outside its bounds, or there is no port.
    pub async fn new(config: DemoConfig, clock: Arc<dyn Clock>) -> Result<Self, DemoError> {
        if !(1..=MAX_DEMO_WINDOWS).contains(&config.windows) {
            return Err(DemoError::Windows(config.windows));
        }
        let upstream = Upstream::new(config.upstream.clone(), clock)?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(DemoError::Listen)?;
        let url = format!("http://{}", listener.local_addr().map_err(DemoError::Listen)?);
        Ok(Self { config, upstream, listener, url })
    }

    /// Where the upstream listens, as a URL without a path.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Runs both fleets, the one through `broker`, and reports. `tell` is called as it goes on. With `stop` it ends early,
    /// as [`DemoError::Stopped`].
    pub async fn run<B: Broker>(
        self,
        broker: B,
        tell: impl Fn(DemoEvent),
        stop: CancellationToken,
    ) -> Result<DemoOutcome, DemoError> {
        let Self { config, upstream, listener, url } = self;
        let down = CancellationToken::new();
        let serving = upstream.clone().serve(listener, down.clone().cancelled_owned());
        tell(DemoEvent::Listening { url: url.clone() });
        let showing = async {
            let outcome = show(&config, &upstream, &url, broker, tell, stop).await;
            down.cancel();
            outcome
        };
        let (served, outcome) = tokio::join!(serving, showing);
        served?;
        outcome
    }
}

async fn show<B: Broker>(
    config: &DemoConfig,
    upstream: &Upstream,
    url: &str,
    broker: B,
    tell: impl Fn(DemoEvent),
    stop: CancellationToken,
) -> Result<DemoOutcome, DemoError> {
    let left = until_edge(&upstream.truth());
    tell(DemoEvent::WaitingForEdge { left });
    let pause = |time| stop.run_until_cancelled(tokio::time::sleep(time));
    pause(left).await.ok_or(DemoError::Stopped)?;

    let start = upstream.truth();
    // The window that has just begun, though the sleep may have ended a little before it or after.
    let into = start.window_ms - start.next_window_in_ms;
    let ahead = into > start.window_ms / 2.0;
    let from_ms = start.now_ms - into + if ahead { start.window_ms } else { 0.0 };
    let to_ms = from_ms + start.window_ms * f64::from(config.windows);
    let left = millis(to_ms - start.now_ms);
    let end = CancellationToken::new();
    let (ours, theirs) = (Arc::new(Counters::default()), Arc::new(Counters::default()));
    let (ours_told, theirs_told) = (ours.clone(), theirs.clone());
    tell(DemoEvent::Running { left, bursar: ours_told, independent: theirs_told });
    let through = through_bursar(broker, url, config.fleet(TOKENS.0), ours, end.clone());
    let alone = independent(url, config.fleet(TOKENS.1), theirs, end.clone());
    let ending = async {
        let stopped = pause(left).await.is_none();
        tell(DemoEvent::Stopping);
        end.cancel();
        if stopped { Err(DemoError::Stopped) } else { Ok(()) }
    };
    let through = async { through.await.map_err(DemoError::from) };
    let alone = async { alone.await.map_err(DemoError::from) };
    let (bursar, independent, ()) = tokio::try_join!(through, alone, ending)?;

    let truth = upstream.truth();
    let row = |token: &str, name: &'static str, given_up: u64| {
        let counted = truth.token(&token_label(token)).ok_or(DemoError::Nothing(name))?;
        row(counted, from_ms, to_ms, given_up).ok_or(DemoError::Nothing(name))
    };
    let report = Report {
        bursar: row(TOKENS.0, "the fleet through Bursar", bursar.given_up)?,
        independent: row(TOKENS.1, "the independent fleet", independent.given_up)?,
    };
    Ok(DemoOutcome { report, bursar, independent, truth })
}

fn row(counted: &TokenTruth, from_ms: f64, to_ms: f64, given_up: u64) -> Option<Row> {
    let share = counted.share(from_ms, to_ms, |_| true)?;
    Some(Row { accepted: counted.accepted, refused: counted.refused, given_up, share })
}

fn until_edge(truth: &Truth) -> Duration {
    millis(truth.next_window_in_ms)
}

/// Milliseconds, at least none.
fn millis(ms: f64) -> Duration {
    Duration::try_from_secs_f64(ms / 1000.0).unwrap_or_default()
}
