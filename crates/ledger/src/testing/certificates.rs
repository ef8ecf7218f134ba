//! An authority with a server's and a client's certificate, made for one test.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;

use crate::redis::RedisTls;

/// Certificates as PEM files in a temporary folder: for 127.0.0.1 and localhost, and for a client.
#[derive(Debug)]
pub struct Certificates {
    folder: TempDir,
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
        for (name, subjects) in [("server", &["127.0.0.1", "localhost"][..]), ("client", &["bursar"][..])] {
            let subjects: Vec<_> = subjects.iter().map(|subject| (*subject).to_owned()).collect();
            let own = key();
            let certificate = CertificateParams::new(subjects)
                .and_then(|params| params.signed_by(&own, &authority))
                .expect("the authority signs");
            write(folder.path(), &format!("{name}.pem"), &certificate.pem());
            write(folder.path(), &format!("{name}.key"), &own.serialize_pem());
        }
        Self { folder }
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

fn key() -> KeyPair {
    KeyPair::generate().expect("a key can be made")
}

fn write(folder: &Path, name: &str, text: &str) {
    fs::write(folder.join(name), text).expect("the temporary folder can be written");
}
