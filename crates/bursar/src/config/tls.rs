//! The files of `listen.tls`, read and checked before anybody is told that they are served.

use std::path::Path;

use rustls::{
    RootCertStore,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::ParsedCertificate,
    sign::CertifiedKey,
};

use super::{origin::Problem, settings::ListenTls, tree::Node};

/// What the files hold, as they hold it.
#[derive(Debug)]
pub(crate) struct ServerPem {
    /// The certificate with its chain.
    pub(crate) cert: Vec<u8>,
    /// Its private key.
    pub(crate) key: Secret,
    /// The authority of clients.
    pub(crate) client_ca: Option<Vec<u8>>,
}

/// A key. It does not print itself.
pub(crate) struct Secret(pub(crate) Vec<u8>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Why the files cannot be served.
#[derive(Debug)]
pub(crate) enum PemError {
    /// One cannot be read. Where a configuration is only checked, it need not be there.
    Unread(Problem),
    /// One holds what is of no use.
    Unusable(Problem),
}

impl std::fmt::Display for PemError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unread(problem) | Self::Unusable(problem) => problem.fmt(f),
        }
    }
}

impl std::error::Error for PemError {}

impl ServerPem {
    /// Reads and checks all of them. `listen` is the section, which knows where each is named.
    pub(super) fn read(tls: &ListenTls, folder: &Path, listen: &Node) -> Result<Self, PemError> {
        let told = |key: &str, path: &Path, problem: String| {
            let origin = listen.locate(&format!("tls.{key}")).clone();
            Problem::new(
                origin,
                format!("listen.tls.{key}"),
                format!("{} {problem}", folder.join(path).display()),
            )
        };
        let unusable = |key: &str, path: &Path, problem| PemError::Unusable(told(key, path, problem));
        let bytes = |key: &str, path: &Path| {
            std::fs::read(folder.join(path))
                .map_err(|error| PemError::Unread(told(key, path, format!("cannot be read: {error}"))))
        };
        let cert = bytes("cert", &tls.cert)?;
        let chain = certificates(&cert).map_err(|problem| unusable("cert", &tls.cert, problem))?;
        let key = bytes("key", &tls.key)?;
        key_of(chain, &key).map_err(|problem| unusable("key", &tls.key, problem))?;
        let client_ca = match &tls.client_ca {
            Some(path) => {
                let pem = bytes("client_ca", path)?;
                authorities(&pem).map_err(|problem| unusable("client_ca", path, problem))?;
                Some(pem)
            }
            None => None,
        };
        Ok(Self { cert, key: Secret(key), client_ca })
    }
}

/// The certificates of a PEM file: one at least, the first of which can be read.
fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|_| "is no PEM that can be read".to_owned())?;
    let first = chain.first().ok_or("holds no certificate in PEM (-----BEGIN CERTIFICATE-----)")?;
    ParsedCertificate::try_from(first)
        .map_err(|error| format!("holds no certificate that can be read: {error}"))?;
    Ok(chain)
}

/// Whether it is a key, and the certificate's.
fn key_of(chain: Vec<CertificateDer<'static>>, pem: &[u8]) -> Result<(), String> {
    // What is wrong with it is not told: that could hold a piece of it.
    let key = PrivateKeyDer::from_pem_slice(pem)
        .map_err(|_| "holds no private key in PEM (-----BEGIN PRIVATE KEY-----)".to_owned())?;
    CertifiedKey::from_der(chain, key, &default_provider()).map(drop).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => "is not the key of listen.tls.cert".to_owned(),
        _ => "holds no private key that can be used".to_owned(),
    })
}

/// Whether they can be trusted: one at least.
fn authorities(pem: &[u8]) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots.add(certificate).map_err(|error| format!("holds no authority that can be used: {error}"))?;
    }
    Ok(())
}
