//! What a failed TLS handshake says about certificates: the server's, or ours.

use std::{error::Error as _, io};

use redis::RedisError;
use rustls::{AlertDescription, CertificateError, Error};

/// How rustls begins what it says of a server's certificate. A cluster's connection passes on that text alone.
const INVALID: &str = "invalid peer certificate: ";
/// The same, of what the server thinks of ours.
const ALERT: &str = "received fatal alert: ";

/// What is wrong with a certificate, if that is what an error is about. Trying again does not help: someone has to put
/// another file there, or here.
pub(super) fn problem(error: &RedisError) -> Option<String> {
    let text = error.to_string();
    let told = match of_tls(error) {
        Some(Error::InvalidCertificate(wrong)) => of_server(wrong),
        Some(Error::AlertReceived(alert)) => of_ours(*alert)?,
        Some(_) => return None,
        None => read(&text)?,
    };
    Some(format!("{told}: {text}"))
}

/// Whether what the server sent is no TLS.
pub(super) fn is_no_handshake(error: &RedisError) -> bool {
    match of_tls(error) {
        Some(error) => matches!(error, Error::InvalidMessage(_)),
        None => error.to_string().contains("corrupt message"),
    }
}

fn of_tls(error: &RedisError) -> Option<&Error> {
    error.source()?.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref()
}

fn of_server(wrong: &CertificateError) -> &'static str {
    match wrong {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the store's certificate has expired"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the store's certificate is not valid yet"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "the store's certificate is for another name"
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "the store's certificate is of no authority that is trusted here"
        }
        _ => "the store's certificate is not valid",
    }
}

fn of_ours(alert: AlertDescription) -> Option<&'static str> {
    use AlertDescription as A;
    let about_ours = matches!(
        alert,
        A::NoCertificate
            | A::BadCertificate
            | A::UnsupportedCertificate
            | A::CertificateRevoked
            | A::CertificateExpired
            | A::CertificateUnknown
            | A::CertificateRequired
            | A::UnknownCA
            // It could not verify who signed ours.
            | A::DecryptError
    );
    about_ours.then_some("the store does not take our certificate")
}

/// From the text, where that is all there is.
fn read(text: &str) -> Option<&'static str> {
    if let Some((_, alert)) = text.split_once(ALERT) {
        let ours = ["Certificate", "UnknownCA", "DecryptError"].iter().any(|word| alert.contains(word));
        return ours.then_some("the store does not take our certificate");
    }
    let (_, wrong) = text.split_once(INVALID)?;
    let likely = [
        ("expired", CertificateError::Expired),
        ("notvalidyet", CertificateError::NotValidYet),
        ("notvalidforname", CertificateError::NotValidForName),
        ("unknownissuer", CertificateError::UnknownIssuer),
        ("badsignature", CertificateError::BadSignature),
    ];
    // With or without what was found instead, in words or as a name.
    let wrong = wrong.to_lowercase().replace(' ', "");
    let found = likely.into_iter().find(|(word, _)| wrong.contains(word));
    Some(of_server(&found.map_or(CertificateError::BadEncoding, |(_, wrong)| wrong)))
}

#[cfg(test)]
mod tests {
    use redis::ErrorKind;
    use rustls::pki_types::{ServerName, UnixTime};

    use super::*;

    /// As a single server's connection and as a cluster's tells it.
    fn both(error: Error) -> [Option<String>; 2] {
        let text = error.to_string();
        let typed = RedisError::from(io::Error::other(error));
        let flat = RedisError::from((ErrorKind::Io, "Failed to create initial connections", text));
        [typed, flat].map(|error| problem(&error))
    }

    #[test]
    fn types_and_texts_read_the_same() {
        let at = |secs| UnixTime::since_unix_epoch(std::time::Duration::from_secs(secs));
        let name = || ServerName::try_from("redis.test").unwrap();
        let table = [
            (CertificateError::Expired, "the store's certificate has expired"),
            (
                CertificateError::ExpiredContext { time: at(9), not_after: at(1) },
                "the store's certificate has expired",
            ),
            (
                CertificateError::NotValidYetContext { time: at(1), not_before: at(9) },
                "the store's certificate is not valid yet",
            ),
            (
                CertificateError::NotValidForNameContext { expected: name(), presented: Vec::new() },
                "the store's certificate is for another name",
            ),
            (
                CertificateError::UnknownIssuer,
                "the store's certificate is of no authority that is trusted here",
            ),
            (CertificateError::Revoked, "the store's certificate is not valid"),
        ];
        for (wrong, told) in table {
            for found in both(Error::InvalidCertificate(wrong.clone())) {
                let found = found.unwrap_or_default();
                assert!(found.starts_with(&format!("{told}: ")), "{wrong:?}: {found}");
            }
        }
        use AlertDescription as A;
        for alert in [A::CertificateRequired, A::UnknownCA, A::DecryptError] {
            for found in both(Error::AlertReceived(alert)) {
                let told = "the store does not take our certificate: ";
                assert!(found.unwrap_or_default().starts_with(told), "{alert:?}");
            }
        }
        for other in [Error::AlertReceived(AlertDescription::InternalError), Error::DecryptError] {
            assert_eq!(both(other.clone()), [None, None], "{other:?}");
        }
    }
}
