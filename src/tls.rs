//! The cryptography of TLS connections: reqwest is built without a choice of its own.

/// Makes ring what rustls uses in this process.
pub(crate) fn install_provider() {
    // Whoever was first has chosen already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
