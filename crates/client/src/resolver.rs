//! From a host's name to the addresses of its replicas.

use std::{fmt, future::Future, io, net::SocketAddr, pin::Pin};

/// What a [`Resolver`] finds: addresses in the order of preference, or why there are none.
pub type Resolving<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>>;

/// Where an endpoint's name leads: a service registry of one's own, or a test's script. Endpoints that are given as
/// addresses are not asked for.
pub trait Resolver: fmt::Debug + Send + Sync + 'static {
    /// All addresses of `host`, each with the port to connect to, which is `port` unless the resolver knows better. An error
    /// and no addresses at all are the same: what was known stays in use, and the name is asked for again. What takes longer
    /// than 5 s counts as an error. Dropping the future gives the question up.
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> Resolving<'a>;
}

/// The operating system's resolver: hosts file, DNS, whatever it is told to use.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> Resolving<'a> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    }
}
