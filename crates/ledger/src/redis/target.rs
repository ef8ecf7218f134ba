//! The store as redis-rs wants it described: addresses, logins, certificates, timeouts.

use std::{path::Path, sync::Arc, time::Duration};

use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _,
    RedisConnectionInfo, RedisResult, TlsCertificates, TlsMode,
    aio::PubSub,
    cluster::{ClusterClient, ClusterClientBuilder},
    io::tcp::TcpSettings,
};

use super::{
    config::{RedisConfig, RedisConfigError, RedisTls},
    dial::{Dial, Dialled},
    secret::Secret,
    sentinels::{self, Address, Sentinels},
    url::{StoreUrl, Topology},
};

/// The most calls that one driver has under way at once; also the connection's write queue.
pub(super) const MAX_IN_FLIGHT: usize = 256;

/// A store that can be connected to.
pub(super) struct Target {
    url: StoreUrl,
    certificates: Option<TlsCertificates>,
    /// One a node of the address, with login and certificates. None of them is a sentinel.
    nodes: Vec<ConnectionInfo>,
    sentinels: Option<Sentinels>,
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
        let is_sentinel = matches!(url.topology, Topology::Sentinel { .. });
        let (user, password) = match is_sentinel {
            true => (config.sentinel_user.as_deref(), config.sentinel_password.as_ref()),
            false => (url.user.as_deref(), url.password.as_ref()),
        };
        let of_nodes = login(user, password).set_db(if is_sentinel { 0 } else { url.db });
        let mut nodes = url
            .nodes
            .iter()
            .map(|at| node(url.tls, at, of_nodes.clone(), certificates.as_ref()))
            .collect::<RedisResult<Vec<_>>>()
            .map_err(invalid("tls"))?;
        let sentinels = match &url.topology {
            Topology::Sentinel { service } => {
                let clients = nodes.drain(..).map(Client::open).collect::<RedisResult<Vec<_>>>();
                Some(Sentinels::new(service, clients.map_err(invalid("url"))?))
            }
            _ => None,
        };
        let cluster = match url.topology {
            Topology::Cluster => {
                Some(cluster(config, &url, &nodes, certificates.clone()).map_err(invalid("url"))?)
            }
            _ => None,
        };
        let asking = if is_sentinel { sentinels::ASKING } else { Duration::ZERO };
        Ok(Self {
            certificates,
            nodes,
            sentinels,
            cluster,
            dial,
            connect_timeout: config.connect_timeout + asking,
            response_timeout: config.response_timeout,
            url,
        })
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

    /// Whether it is connected to with TLS.
    pub(super) fn has_tls(&self) -> bool {
        self.url.tls
    }

    /// Those who know the master, where there are any.
    pub(super) fn sentinels(&self) -> Option<&Sentinels> {
        self.sentinels.as_ref()
    }

    /// A server that a sentinel has named.
    pub(super) fn server(&self, at: &Address) -> RedisResult<Client> {
        let login = login(self.url.user.as_deref(), self.url.password.as_ref()).set_db(self.url.db);
        Client::open(node(self.url.tls, at, login, self.certificates.as_ref())?)
    }

    /// A connection for subscriptions: to the server, to the master, or to any one node of a cluster, since those pass
    /// on to each other what is published.
    /// Of a master that sentinels named, its address as well.
    pub(super) async fn subscriber(&self, turn: usize) -> RedisResult<(PubSub, Option<Address>)> {
        if let Some(dial) = &self.dial {
            let (stream, login) = self.dialled(dial).await?;
            return Ok((PubSub::new(&login, stream).await?, None));
        }
        if let Some(sentinels) = &self.sentinels {
            let (address, _) = sentinels::master(self, sentinels).await?;
            return Ok((self.server(&address)?.get_async_pubsub().await?, Some(address)));
        }
        let count = self.nodes.len().max(1);
        let node = self.nodes.get(turn % count).cloned();
        let client = Client::open(node.ok_or((redis::ErrorKind::InvalidClientConfig, "no node is named"))?)?;
        Ok((client.get_async_pubsub().await?, None))
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

fn login(user: Option<&str>, password: Option<&Secret>) -> RedisConnectionInfo {
    let mut login = RedisConnectionInfo::default();
    if let Some(user) = user {
        login = login.set_username(user);
    }
    if let Some(password) = password {
        login = login.set_password(password.expose());
    }
    login
}

fn node(
    tls: bool,
    (host, port): &Address,
    login: RedisConnectionInfo,
    certificates: Option<&TlsCertificates>,
) -> RedisResult<ConnectionInfo> {
    let info =
        address(tls, host, *port).into_connection_info()?.set_redis_settings(login).set_tcp_settings(tcp());
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
