//! The cryptography of TLS connections, since reqwest is built without a choice of its own, and of new keys.

/// Makes ring what rustls uses in this process.
pub(crate) fn install_provider() {
    // Whoever was first has chosen already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Bytes that cannot be guessed.
pub(crate) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let provider = rustls::crypto::ring::default_provider();
    provider.secure_random.fill(&mut bytes).expect("the system has random bytes");
    bytes
}
