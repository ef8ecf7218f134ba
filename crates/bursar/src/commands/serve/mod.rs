//! `bursar serve`.

mod declared;
mod options;
mod signals;

use std::{path::PathBuf, sync::Arc, time::Duration};

use bursar_coordinator::Coordinator;
use bursar_dialect::Profiles;
use bursar_quota::{Clock, SystemClock};
use rand::{SeedableRng as _, rngs::SmallRng};
use serde_json::json;
use tokio::{net::TcpListener, sync::watch};

use self::{
    declared::{Declared, Declarer},
    signals::{Order, Signals},
};
use crate::{
    config::{self, FlagValue, Sources},
    exit::{Failure, Outcome},
    identity, logging, output, store,
};

/// How long the line that says where it listens waits for the declared budgets.
const DECLARED_WITHIN: Duration = Duration::from_secs(2);

/// Run the service.
///
/// Settings come from a file, from variables of the environment, and from flags: what comes later wins. The variable
/// BURSAR_LISTEN__GRPC is the setting listen.grpc. With none of them it serves on loopback, keeps its budgets in the
/// process, and has the budgets of the profiles autotask and salestim.
///
/// SIGHUP reads the file again and declares its budgets; a file that is wrong changes nothing. SIGTERM and SIGINT drain:
/// new work is refused, waiters finish within server.drain, then it exits 0. A second one ends it at once.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bursar serve
  bursar serve --config bursar.toml
  bursar serve --store redis://127.0.0.1:6379 --grpc 0.0.0.0:7411
  BURSAR_STORE__PASSWORD_FILE=/run/secrets/redis bursar serve --config bursar.yaml
  bursar serve --set server.drain=5s --set store.drivers=4")]
pub(crate) struct Args {
    /// The configuration: TOML, or YAML where it ends in .yaml or .yml.
    #[arg(long, short, value_name = "FILE", env = "BURSAR_CONFIG")]
    config: Option<PathBuf>,
    /// Where gRPC listens (listen.grpc); port 0: any free one. [default: 127.0.0.1:7411]
    #[arg(long, value_name = "ADDR")]
    grpc: Option<String>,
    /// Where metrics and health listen (listen.admin); port 0: any free one. [default: 127.0.0.1:7412]
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,
    /// Where budgets live (store.url): embedded, redis://…, rediss://…, redis+sentinel://…, redis+cluster://…. [default: embedded]
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// This replica's name (server.replica). [default: a random one]
    #[arg(long, value_name = "NAME")]
    replica: Option<String>,
    /// How long waiters have to finish at shutdown (server.drain). [default: 20s]
    #[arg(long, value_name = "DURATION")]
    drain: Option<String>,
    /// The log's form (log.format): text or json. [default: text]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// What is logged (log.level): error, warn, info, debug, trace, or info,bursar_ledger=debug. [default: info]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Any setting; may be repeated. Lists and tables as in TOML.
    #[arg(long, value_name = "SECTION.KEY=VALUE", value_parser = setting)]
    set: Vec<(String, String)>,
    /// Say where it listens as one JSON object: {"grpc": …, "admin": …}.
    #[arg(long)]
    json: bool,
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write section.key=value, as in server.drain=5s")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

impl Args {
    fn sources(&self) -> Sources {
        let named = [
            ("--grpc", "listen.grpc", &self.grpc),
            ("--admin", "listen.admin", &self.admin),
            ("--store", "store.url", &self.store),
            ("--replica", "server.replica", &self.replica),
            ("--drain", "server.drain", &self.drain),
            ("--log-format", "log.format", &self.log_format),
            ("--log-level", "log.level", &self.log_level),
        ];
        let flag = |flag: &str, path: &str, text: &str| FlagValue {
            flag: flag.to_owned(),
            path: path.to_owned(),
            text: text.to_owned(),
        };
        let named =
            named.into_iter().filter_map(|(name, path, text)| Some(flag(name, path, text.as_deref()?)));
        let set = self.set.iter().map(|(path, text)| flag("--set", path, text));
        Sources {
            file: self.config.clone(),
            // What is not Unicode is no setting of ours.
            environment: std::env::vars_os()
                .filter_map(|(name, text)| Some((name.into_string().ok()?, text.into_string().ok()?)))
                .collect(),
            flags: named.chain(set).collect(),
        }
    }
}

pub(crate) async fn run(args: Args) -> Outcome {
    let sources = args.sources();
    let config = config::load(&sources).map_err(|problems| Failure::Failed(problems.to_string()))?;
    logging::start(&config.settings.log)?;
    let mut signals = Signals::listen()?;

    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let ledger =
        store::open(&config.settings.store, &config.folder, Arc::clone(&clock), identity::entropy()?)?;
    let profiles = Arc::new(config.profiles.clone());
    let lanes = options::coordinator(&config.settings)?;
    let replica = lanes.replica.clone();
    let options = options::server(&config, Arc::clone(&profiles), Arc::clone(&clock))?;
    let grpc = listen("listen.grpc", config.settings.listen.grpc).await?;
    let admin = listen("listen.admin", config.settings.listen.admin).await?;
    let addresses = [address(&grpc)?, address(&admin)?];
    let coordinator = Coordinator::new(ledger, Arc::clone(&profiles), clock, lanes);
    tracing::info!(%replica, store = config.settings.store.place(), grpc = addresses[0], admin = addresses[1], "serving");

    let (wanted, declarer) = Declarer::new(coordinator.clone(), Declared::of(&config));
    let mut done = declarer.done();
    let declaring = declarer.run(SmallRng::seed_from_u64(identity::entropy()?));
    let announcing = async {
        // A store that cannot be reached must not keep whoever waits for the line from learning where to look.
        let _ = tokio::time::timeout(DECLARED_WITHIN, done.wait_for(|done| *done)).await;
        announce(&addresses, args.json)
    };
    let drain = config.settings.server.drain;
    let (shutdown, shut_down) = tokio::sync::oneshot::channel::<()>();
    let serving = bursar_server::serve(
        grpc,
        Some(admin),
        coordinator,
        options,
        async move { shut_down.await.unwrap_or_default() },
        drain,
    );
    let steering = async {
        while signals.next().await == Order::Reload {
            reload(&sources, &profiles, &wanted);
        }
        drop(shutdown);
        while signals.next().await == Order::Reload {}
        Err(Failure::Failed("ended at once by a second signal".to_owned()))
    };
    tokio::select! {
        served = serving => served.map_err(Failure::of),
        failed = steering => failed,
        never = declaring => never,
        failed = async {
            match announcing.await {
                Ok(()) => std::future::pending().await,
                Err(failure) => Err(failure),
            }
        } => failed,
    }
}

/// Reads the configuration again and hands its budgets over; what is wrong changes nothing.
fn reload(sources: &Sources, profiles: &Profiles, wanted: &watch::Sender<Declared>) {
    let config = match config::load(sources) {
        Ok(config) => config,
        Err(problems) => {
            for problem in &problems.0 {
                tracing::error!(%problem, "the configuration was read again and is wrong: nothing is changed");
            }
            return;
        }
    };
    let unknown =
        config.budgets.iter().find(|spec| spec.profile.as_ref().is_some_and(|p| profiles.get(p).is_none()));
    if let Some(spec) = unknown {
        tracing::error!(budget = %spec.name, "its profile is new, which takes a restart: nothing is changed");
        return;
    }
    let declared = Declared::of(&config);
    for gone in wanted.borrow().missing_from(&declared) {
        tracing::warn!(budget = %gone, "no longer declared; it stays in the store until it is deleted there");
    }
    tracing::info!(
        budgets = config.budgets.len(),
        "the configuration was read again; all but budgets takes a restart"
    );
    wanted.send_replace(declared);
}

async fn listen(field: &str, address: std::net::SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address)
        .await
        .map_err(|error| Failure::doing(format_args!("{field}: {address}"), error))
}

fn address(listener: &TcpListener) -> Result<String, Failure> {
    Ok(listener.local_addr().map_err(Failure::of)?.to_string())
}

/// Says where it listens, on standard output.
fn announce([grpc, admin]: &[String; 2], json: bool) -> Outcome {
    let said = if json {
        output::json(&json!({ "grpc": grpc, "admin": admin }))
    } else {
        output::line(&format!("bursar listens on {grpc} (gRPC) and {admin} (metrics, health)"))
    };
    match said {
        // Nobody reads it: that is no reason not to serve.
        Err(Failure::Passed(_)) => Ok(()),
        said => said,
    }
}
