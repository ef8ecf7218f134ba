//! An authority with a server's and a client's certificate, made for one test.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use tempfile::TempDir;

use crate::redis::RedisTls;

/// What is wrong with a server's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// It was valid once.
    Expired,
    /// It will be valid.
    NotYet,
    /// It is for another host.
    OtherName,
}

/// Certificates as PEM files in a temporary folder: for 127.0.0.1 and localhost, and for a client.
pub struct Certificates {
    folder: TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
    /// The server's.
    key: KeyPair,
}

impl Default for Certificates {
    fn default() -> Self {
        Self::new()
    }
}

impl Certificates {
    /// Makes an authority of its own and what it signs.
    pub fn new() -> Self {
        let folder = TempDir::new().expect("a temporary folder can be made");
        let mut authority = CertificateParams::new(Vec::new()).expect("no names are valid names");
        // A subject of its own: a certificate whose issuer has its subject would count as signed by itself.
        authority.distinguished_name.push(DnType::CommonName, "an authority for tests");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, key()).expect("an authority signs itself");
        write(folder.path(), "ca.pem", &authority.pem());
        let (server, client) = (key(), key());
        write(folder.path(), "server.key", &server.serialize_pem());
        write(folder.path(), "client.key", &client.serialize_pem());
        let this = Self { folder, authority, key: server };
        this.sign("server.pem", params(&SERVER), &this.key);
        this.sign("client.pem", params(&["bursar"]), &client);
        this
    }

    fn sign(&self, name: &str, params: CertificateParams, key: &KeyPair) {
        let certificate = params.signed_by(key, &self.authority).expect("the authority signs");
        write(self.folder.path(), name, &certificate.pem());
    }

    /// Where another certificate of the server is, for the same key, that is flawed so.
    pub fn flawed(&self, flaw: Flaw) -> PathBuf {
        let mut params = params(match flaw {
            Flaw::OtherName => &["elsewhere.test"],
            _ => &SERVER,
        });
        match flaw {
            Flaw::Expired => params.not_after = date_time_ymd(2020, 1, 1),
            Flaw::NotYet => params.not_before = date_time_ymd(4000, 1, 1),
            Flaw::OtherName => {}
        }
        let name = format!("{flaw:?}.pem");
        self.sign(&name, params, &self.key);
        self.path(&name)
    }

    /// The authority's certificate, the server's certificate and key: `ca.pem`, `server.pem`, `server.key`, and the
    /// client's: `client.pem`, `client.key`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What a client needs that shows its certificate.
    pub fn client(&self) -> RedisTls {
        RedisTls {
            ca_file: Some(self.path("ca.pem")),
            cert_file: Some(self.path("client.pem")),
            key_file: Some(self.path("client.key")),
        }
    }
}

/// Whom the server's certificate is for.
const SERVER: [&str; 2] = ["127.0.0.1", "localhost"];

fn params(subjects: &[&str]) -> CertificateParams {
    let subjects: Vec<_> = subjects.iter().map(|subject| (*subject).to_owned()).collect();
    CertificateParams::new(subjects).expect("these are names")
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("folder", &self.folder.path()).finish_non_exhaustive()
    }
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key can be made")
}

fn write(folder: &Path, name: &str, text: &str) {
    fs::write(folder.join(name), text).expect("the temporary folder can be written");
}
