//! The cryptography of TLS connections. reqwest is built without any.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_platform_verifier::ConfigVerifierExt;

/// How the certificate of a server is verified.
pub(crate) enum ServerVerification {
    /// No verification. The data is encrypted, but the receiver may be anyone.
    None,
    /// The system's root certificates and the server's name.
    System,
    /// The root certificates in a PEM file and the server's name.
    Roots(PathBuf),
}

/// Returns a client's settings, or the reason why a file of root certificates cannot be used.
pub(crate) fn client_config(verification: &ServerVerification) -> Result<ClientConfig, String> {
    install_provider();
    match verification {
        ServerVerification::None => {
            let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
            let anybody = Arc::new(Anybody(algorithms));
            let builder = ClientConfig::builder().dangerous().with_custom_certificate_verifier(anybody);
            Ok(builder.with_no_client_auth())
        }
        ServerVerification::System => {
            ClientConfig::with_platform_verifier().map_err(|error| error.to_string())
        }
        ServerVerification::Roots(path) => {
            let wrong = |reason: String| format!("{}: {reason}", path.display());
            let mut roots = RootCertStore::empty();
            let certificates =
                CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
                roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
            }
            let verifier = WebPkiServerVerifier::builder(Arc::new(roots)).build();
            let verifier = verifier.map_err(|error| wrong(error.to_string()))?;
            Ok(ClientConfig::builder().with_webpki_verifier(verifier).with_no_client_auth())
        }
    }
}

/// Accepts every certificate, and checks only that the server has its key.
#[derive(Debug)]
struct Anybody(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// Makes ring the process-wide cryptography provider of rustls.
pub(crate) fn install_provider() {
    // If a provider is already installed, it stays.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
