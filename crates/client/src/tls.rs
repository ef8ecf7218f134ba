//! TLS towards Bursar: whom to trust, and who we are.

use std::fmt;

use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use crate::config::ConfigError;

/// How an `https` endpoint is checked, and what the client shows of itself.
#[derive(Clone)]
pub struct TlsConfig {
    ca: Vec<u8>,
    identity: Option<(Vec<u8>, Vec<u8>)>,
    domain: Option<String>,
}

impl TlsConfig {
    /// Trusts the authorities in `ca`, one or more certificates in PEM. No others are trusted: for a certificate of a
    /// public authority give the system's bundle.
    pub fn new(ca: impl Into<Vec<u8>>) -> Self {
        Self { ca: ca.into(), identity: None, domain: None }
    }

    /// Shows a certificate (with its chain) and proves it by its key, both in PEM.
    #[must_use]
    pub fn identity(mut self, certificate: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.identity = Some((certificate.into(), key.into()));
        self
    }

    /// Expects the server's certificate to be for this name and not for the endpoint's host.
    #[must_use]
    pub fn domain(mut self, domain: impl Into<String>) -> Self {
        self.domain = Some(domain.into());
        self
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        pem("tls.ca", &self.ca, "CERTIFICATE-----")?;
        if let Some((certificate, key)) = &self.identity {
            pem("tls.identity.certificate", certificate, "CERTIFICATE-----")?;
            pem("tls.identity.key", key, "PRIVATE KEY-----")?;
        }
        match &self.domain {
            Some(domain) if domain.is_empty() => Err(ConfigError::new("tls.domain", "a host name is needed")),
            _ => Ok(()),
        }
    }

    /// For an endpoint's own host, or for a connection to an address that stands for `host`.
    pub(crate) fn to_tonic(&self, host: Option<&str>) -> ClientTlsConfig {
        let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&self.ca));
        if let Some((certificate, key)) = &self.identity {
            tls = tls.identity(Identity::from_pem(certificate, key));
        }
        match self.domain.as_deref().or(host) {
            Some(domain) => tls.domain_name(domain),
            None => tls,
        }
    }
}

/// Whether there is a PEM section of this kind at all; the TLS library reads what is in it.
fn pem(field: &str, text: &[u8], kind: &str) -> Result<(), ConfigError> {
    let found = text.windows(kind.len()).any(|window| window == kind.as_bytes());
    if found { Ok(()) } else { Err(ConfigError::new(field, format_args!("no PEM section \"{kind}\""))) }
}

impl fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConfig")
            .field("ca", &format_args!("{} bytes", self.ca.len()))
            .field("identity", &self.identity.as_ref().map(|_| ".."))
            .field("domain", &self.domain)
            .finish()
    }
}
