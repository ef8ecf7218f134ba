//! The store as redis-rs wants it described: addresses, logins, certificates, timeouts.

use std::{path::Path, sync::Arc, time::Duration};

use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _,
    RedisConnectionInfo, RedisResult, TlsCertificates, TlsMode,
    aio::PubSub,
    cluster::{ClusterClient, ClusterClientBuilder},
    io::tcp::TcpSettings,
    sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType},
};

use super::{
    config::{RedisConfig, RedisConfigError, RedisTls},
    dial::{Dial, Dialled},
    secret::Secret,
    url::{StoreUrl, Topology},
};

/// The most calls that one driver has under way at once; also the connection's write queue.
pub(super) const MAX_IN_FLIGHT: usize = 256;

/// What redis-rs allows one look-up at a sentinel: a second to connect, half a second to answer. Three run at once.
const SENTINEL_TURN: Duration = Duration::from_millis(1500);

/// A store that can be connected to.
pub(super) struct Target {
    url: StoreUrl,
    sentinel_user: Option<String>,
    sentinel_password: Option<Secret>,
    certificates: Option<TlsCertificates>,
    /// One a node of the address, with login and certificates. For sentinels, theirs are in the builder.
    nodes: Vec<ConnectionInfo>,
    cluster: Option<ClusterClient>,
    /// Opens connections to a single server, where that is not done by TCP.
    dial: Option<Arc<dyn Dial>>,
    pub(super) connect_timeout: Duration,
    pub(super) response_timeout: Duration,
}

impl Target {
    /// Describes the store; reads the certificates. Connects nowhere. `dial` is for a single server without TLS.
    pub(super) fn new(config: &RedisConfig, dial: Option<Arc<dyn Dial>>) -> Result<Self, RedisConfigError> {
        let url = config.address()?;
        if dial.is_some() && (url.topology != Topology::Single || url.tls) {
            let problem = "only a single server without TLS is dialled".to_owned();
            return Err(RedisConfigError { field: "url", problem });
        }
        let certificates = read_certificates(&config.tls)?;
        let invalid =
            |field| move |error: redis::RedisError| RedisConfigError { field, problem: error.to_string() };
        let nodes = url
            .nodes
            .iter()
            .map(|(host, port)| node(&url, host, *port, certificates.as_ref()))
            .collect::<RedisResult<Vec<_>>>()
            .map_err(invalid("tls"))?;
        let cluster = match url.topology {
            Topology::Cluster => {
                Some(cluster(config, &url, &nodes, certificates.clone()).map_err(invalid("url"))?)
            }
            _ => None,
        };
        let (most, turns) = (config.connect_timeout, url.nodes.len().div_ceil(3));
        let connect_timeout = match url.topology {
            Topology::Sentinel { .. } => most + SENTINEL_TURN * u32::try_from(turns).unwrap_or(u32::MAX),
            _ => most,
        };
        let target = Self {
            sentinel_user: config.sentinel_user.clone(),
            sentinel_password: config.sentinel_password.clone(),
            certificates,
            nodes,
            cluster,
            dial,
            connect_timeout,
            response_timeout: config.response_timeout,
            url,
        };
        if let Topology::Sentinel { service } = &target.url.topology {
            target.sentinel(service, 0).map_err(invalid("url"))?;
        }
        Ok(target)
    }

    /// Where it is, without login.
    pub(super) fn place(&self) -> String {
        self.url.place()
    }

    /// What stands there.
    pub(super) fn topology(&self) -> &Topology {
        &self.url.topology
    }

    /// The one server, or the first node.
    pub(super) fn first(&self) -> Option<&ConnectionInfo> {
        self.nodes.first()
    }

    /// Who opens connections, where that is not done by TCP.
    pub(super) fn dial(&self) -> Option<&Arc<dyn Dial>> {
        self.dial.as_ref()
    }

    /// Opens a connection by `dial`, and how to log in on it.
    pub(super) async fn dialled(&self, dial: &Arc<dyn Dial>) -> RedisResult<(Dialled, RedisConnectionInfo)> {
        let nowhere =
            || redis::RedisError::from((redis::ErrorKind::InvalidClientConfig, "no server is named"));
        let (host, port) = self.url.nodes.first().ok_or_else(nowhere)?;
        let login = self.first().ok_or_else(nowhere)?.redis_settings().clone();
        Ok((dial.dial(host, *port).await?, login))
    }

    /// The cluster, where it is one.
    pub(super) fn cluster(&self) -> Option<&ClusterClient> {
        self.cluster.as_ref()
    }

    /// Bounds of one connection.
    pub(super) fn connection_config(&self) -> AsyncConnectionConfig {
        AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.connect_timeout))
            .set_response_timeout(Some(self.response_timeout))
            .set_pipeline_buffer_size(MAX_IN_FLIGHT)
    }

    /// Asks the sentinels for the master of `service`, beginning with another one each `turn`: a dead one must not
    /// stand in front for ever. Nothing is remembered between turns, so that a failover is noticed.
    pub(super) fn sentinel(&self, service: &str, turn: usize) -> RedisResult<SentinelClient> {
        let mut addresses: Vec<_> =
            self.url.nodes.iter().map(|(host, port)| address(self.url.tls, host, *port)).collect();
        let count = addresses.len().max(1);
        addresses.rotate_left(turn % count);
        let mut builder = SentinelClientBuilder::new(addresses, service, SentinelServerType::Master)?
            .set_client_to_redis_db(self.url.db)
            .set_client_to_redis_tcp_settings(tcp())
            .set_client_to_sentinel_tcp_settings(tcp());
        if self.url.tls {
            builder = builder
                .set_client_to_redis_tls_mode(TlsMode::Secure)
                .set_client_to_sentinel_tls_mode(TlsMode::Secure);
        }
        if let Some(certificates) = &self.certificates {
            builder = builder
                .set_client_to_redis_certificates(certificates.clone())
                .set_client_to_sentinel_certificates(certificates.clone());
        }
        if let Some(user) = &self.url.user {
            builder = builder.set_client_to_redis_username(user);
        }
        if let Some(password) = &self.url.password {
            builder = builder.set_client_to_redis_password(password.expose());
        }
        if let Some(user) = &self.sentinel_user {
            builder = builder.set_client_to_sentinel_username(user);
        }
        if let Some(password) = &self.sentinel_password {
            builder = builder.set_client_to_sentinel_password(password.expose());
        }
        builder.build()
    }

    /// A connection for subscriptions: to the server, to the master, or to any one node of a cluster, since those pass
    /// on to each other what is published.
    pub(super) async fn subscriber(&self, turn: usize) -> RedisResult<PubSub> {
        if let Some(dial) = &self.dial {
            let (stream, login) = self.dialled(dial).await?;
            return PubSub::new(&login, stream).await;
        }
        let client = match &self.url.topology {
            Topology::Sentinel { service } => self.sentinel(service, turn)?.async_get_client().await?,
            _ => {
                let count = self.nodes.len().max(1);
                let node = self.nodes.get(turn % count).cloned();
                Client::open(node.ok_or((redis::ErrorKind::InvalidClientConfig, "no node is named"))?)?
            }
        };
        client.get_async_pubsub().await
    }
}

fn tcp() -> TcpSettings {
    // A call is one small message that others wait for.
    TcpSettings::default().set_nodelay(true)
}

fn address(tls: bool, host: &str, port: u16) -> ConnectionAddr {
    let host = host.to_owned();
    match tls {
        true => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
        false => ConnectionAddr::Tcp(host, port),
    }
}

fn node(
    url: &StoreUrl,
    host: &str,
    port: u16,
    certificates: Option<&TlsCertificates>,
) -> RedisResult<ConnectionInfo> {
    let mut login = RedisConnectionInfo::default().set_db(url.db);
    if let Some(user) = &url.user {
        login = login.set_username(user);
    }
    if let Some(password) = &url.password {
        login = login.set_password(password.expose());
    }
    let info = address(url.tls, host, port)
        .into_connection_info()?
        .set_redis_settings(login)
        .set_tcp_settings(tcp());
    match certificates {
        Some(certificates) => {
            Ok(Client::build_with_tls(info, certificates.clone())?.get_connection_info().clone())
        }
        None => Ok(info),
    }
}

fn cluster(
    config: &RedisConfig,
    url: &StoreUrl,
    nodes: &[ConnectionInfo],
    certificates: Option<TlsCertificates>,
) -> RedisResult<ClusterClient> {
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut builder = ClusterClientBuilder::new(nodes.iter().cloned())
        .connection_timeout(config.connect_timeout)
        .response_timeout(config.response_timeout)
        .overall_response_timeout(Some(config.call_timeout))
        // Redirections are retries as well; those of ours come on top, and `call_timeout` bounds them all.
        .retries(config.retries.clamp(1, 3))
        .min_retry_wait(ms(config.retry_base))
        .max_retry_wait(ms(config.retry_max))
        .tcp_settings(tcp());
    if url.tls {
        builder = builder.tls(TlsMode::Secure);
    }
    if let Some(certificates) = certificates {
        builder = builder.certs(certificates);
    }
    builder.build()
}

fn read_certificates(tls: &RedisTls) -> Result<Option<TlsCertificates>, RedisConfigError> {
    let RedisTls { ca_file, cert_file, key_file } = tls;
    let root_cert = ca_file.as_deref().map(|path| read(path, "tls.ca_file")).transpose()?;
    let client_tls = match (cert_file, key_file) {
        (Some(cert), Some(key)) => Some(ClientTlsConfig {
            client_cert: read(cert, "tls.cert_file")?,
            client_key: read(key, "tls.key_file")?,
        }),
        _ => None,
    };
    let any = root_cert.is_some() || client_tls.is_some();
    Ok(any.then_some(TlsCertificates { client_tls, root_cert }))
}

/// A PEM file, at most 1 MiB of it.
fn read(path: &Path, field: &'static str) -> Result<Vec<u8>, RedisConfigError> {
    let invalid = |problem: String| RedisConfigError { field, problem };
    let text = std::fs::read(path)
        .map_err(|error| invalid(format!("{} cannot be read: {error}", path.display())))?;
    let pem = text.len() <= 1 << 20 && text.windows(11).any(|window| window == b"-----BEGIN ");
    if pem { Ok(text) } else { Err(invalid(format!("{} is no PEM file", path.display()))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_used_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let config = |name: &str| {
            let mut config = RedisConfig::at("rediss://127.0.0.1:1");
            config.tls.ca_file = Some(folder.path().join(name));
            config
        };
        let missing = Target::new(&config("missing.pem"), None).err().unwrap();
        assert_eq!(missing.field, "tls.ca_file");
        assert!(missing.problem.contains("missing.pem cannot be read"), "{}", missing.problem);
        std::fs::write(folder.path().join("text.pem"), "no certificate").unwrap();
        assert!(Target::new(&config("text.pem"), None).err().unwrap().problem.contains("is no PEM file"));
    }
}
