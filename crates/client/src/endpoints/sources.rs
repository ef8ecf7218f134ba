//! The endpoints of a configuration, and how connections to them are made.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use http::Uri;
use tonic::transport::{Channel, Endpoint};

use super::replica::{Bearer, Place, Replica};
use crate::{
    config::{ClientConfig, ConfigError},
    error::root_cause,
};

/// Makes a channel from a place of the caller's own to this address of this endpoint.
type Dial = Arc<dyn Fn(&Uri, SocketAddr) -> Channel + Send + Sync>;

/// An endpoint of the configuration.
#[derive(Debug)]
pub(super) struct Source {
    uri: Uri,
    /// The whole endpoint; where it is a name, of its address only the rest.
    whole: Endpoint,
    /// A name, and a port: to be resolved.
    pub(super) name: Option<(String, u16)>,
}

/// The endpoints of a configuration that was validated, and how connections to them are made.
pub(crate) struct Sources {
    config: ClientConfig,
    pub(super) all: Vec<Source>,
    dial: Option<Dial>,
    pub(super) bearer: Bearer,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").field("all", &self.all).finish_non_exhaustive()
    }
}

impl Sources {
    /// Reads the endpoints; the error names the one that cannot be, or `tls`.
    pub(crate) fn new(config: &ClientConfig, dial: Option<Dial>) -> Result<Self, ConfigError> {
        let one = |(index, text): (usize, &String)| {
            let field = || format!("endpoints[{index}]");
            let uri: Uri = text.parse().map_err(|error| ConfigError::new(field(), error))?;
            let whole = endpoint(config, &uri, None).map_err(|error| {
                let field = if config.tls.is_some() { "tls".to_owned() } else { field() };
                ConfigError::new(field, root_cause(&error))
            })?;
            let host = uri.host().unwrap_or_default().to_owned();
            let bare = host.trim_start_matches('[').trim_end_matches(']');
            let name = bare.parse::<IpAddr>().is_err().then(|| (host, port(&uri)));
            Ok(Source { uri, whole, name })
        };
        let all = config.endpoints.iter().enumerate().map(one).collect::<Result<_, _>>()?;
        Ok(Self { config: config.clone(), all, dial, bearer: Bearer(config.token.clone()) })
    }

    /// The configuration of a place's connections.
    pub(super) fn endpoint(&self, place: Place) -> Option<Endpoint> {
        let source = self.all.get(place.0)?;
        match place.1 {
            None => Some(source.whole.clone()),
            // It was checked with the name, from which an address differs in nothing that could be wrong.
            Some(address) => endpoint(&self.config, &source.uri, Some(address)).ok(),
        }
    }

    /// A replica whose connections open with their first call.
    pub(super) fn replica(&self, place: Place) -> Option<Replica> {
        let channels = match &self.dial {
            None => {
                let endpoint = self.endpoint(place)?;
                (endpoint.connect_lazy(), endpoint.connect_lazy())
            }
            Some(dial) => {
                let uri = &self.all.get(place.0)?.uri;
                let address = place.1.or_else(|| literal(uri))?;
                (dial(uri, address), dial(uri, address))
            }
        };
        Some(Replica::new(place, channels, self.bearer.clone()))
    }
}

fn port(uri: &Uri) -> u16 {
    uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 })
}

fn literal(uri: &Uri) -> Option<SocketAddr> {
    let host = uri.host()?.trim_start_matches('[').trim_end_matches(']');
    Some(SocketAddr::new(host.parse().ok()?, port(uri)))
}

/// An endpoint, or one address of it. The calls and the certificate are for the endpoint's own name all the same.
fn endpoint(
    config: &ClientConfig,
    uri: &Uri,
    address: Option<SocketAddr>,
) -> Result<Endpoint, tonic::transport::Error> {
    let scheme = uri.scheme_str().unwrap_or("http");
    let endpoint = match address {
        None => Endpoint::from(uri.clone()),
        Some(address) => Endpoint::from_shared(format!("{scheme}://{address}"))?.origin(uri.clone()),
    };
    let endpoint = endpoint
        .connect_timeout(config.connect_timeout)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(config.keep_alive)
        .keep_alive_timeout(config.keep_alive_timeout)
        .keep_alive_while_idle(true);
    match &config.tls {
        // Of an endpoint that is given whole the name is its host.
        Some(tls) => endpoint.tls_config(tls.to_tonic(address.and(uri.host()))),
        None => Ok(endpoint),
    }
}
