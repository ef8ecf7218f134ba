//! One provider of cryptography for the whole process.

/// Makes ring the provider that rustls uses wherever none is named. Call it at the start of a process; calling it
/// again, or after somebody else chose a provider, changes nothing.
pub fn install_crypto() {
    // The error says that one is installed already, which is all that is wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
