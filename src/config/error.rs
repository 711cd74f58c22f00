//! Why the configuration cannot be used.

use std::path::PathBuf;

use crate::model_files::RemoteError;

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A key is empty: it would match an empty header.
    #[error("{0} holds an empty key")]
    EmptyApiKey(&'static str),
    /// Two places to take keys from.
    #[error("{0} and {1} are both set")]
    TwoPlacesOfKeys(&'static str, &'static str),
    /// Keys that cannot be used.
    #[error("{variable}: {reason}")]
    Keys {
        /// Where they stand.
        variable: &'static str,
        /// What is wrong, with line and name.
        reason: String,
    },
    /// A file with keys cannot be read.
    #[error("{variable}={path} cannot be read: {reason}", path = path.display())]
    KeyFile {
        /// What named it.
        variable: &'static str,
        /// What was given.
        path: PathBuf,
        /// The system's reason.
        reason: std::io::Error,
    },
    /// No origin of web pages.
    #[error("CORS_ORIGINS holds {0:?}, which is no origin such as https://example.org")]
    CorsOrigin(String),
    /// No address of a collector.
    #[error("OTEL_EXPORTER_OTLP_ENDPOINT is no URL: {0}")]
    OtlpEndpoint(url::ParseError),
    /// The well-known default key would be open to the network.
    #[error("API_KEY is still {key}: set a key of your own to listen on HOST={host}")]
    DefaultKeyExposed {
        /// The default key.
        key: &'static str,
        /// The host.
        host: String,
    },
    /// `MODEL_URL` or `MODEL_SHA256` cannot be used.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// A hash, and no file that it could be of.
    #[error("MODEL_SHA256 is set, but neither MODEL_URL nor MODEL_PATH")]
    HashOfNothing,
    /// HOST is no address or name.
    #[error("HOST={host} cannot be resolved: {reason}")]
    Host {
        /// What was given.
        host: String,
        /// The system's reason.
        reason: std::io::Error,
    },
}
