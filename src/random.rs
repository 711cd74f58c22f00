//! Random bytes from the cryptography library that TLS uses.

/// Returns bytes that cannot be guessed.
pub(crate) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let provider = rustls::crypto::ring::default_provider();
    provider.secure_random.fill(&mut bytes).expect("the system has random bytes");
    bytes
}
