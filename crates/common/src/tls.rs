//! The one TLS implementation of every Attune program: rustls on ring.

use std::sync::Once;

/// Makes ring the process-wide cryptography provider of rustls.
///
/// Called once at the start of every binary, so that no library picks another provider for itself
/// ([`rustls::crypto::CryptoProvider`] documents the choice as process-wide). Further calls do nothing.
pub fn install_provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // an error means that a provider is installed already, which is all that is wanted
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}
