//! Why the configuration cannot be used.

use std::path::PathBuf;

use crate::model_files::RemoteError;

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A key that no client could send, or that anyone could.
    #[error("{variable} {reason}")]
    ApiKey {
        /// Where it stands.
        variable: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
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
    /// No origin of web pages, as browsers send it.
    #[error("CORS_ORIGINS holds {origin:?}, which no browser sends; an origin is written like {expected}")]
    CorsOrigin {
        /// What was given.
        origin: String,
        /// How it would be written, or an example.
        expected: String,
    },
    /// No address of a collector.
    #[error("OTEL_EXPORTER_OTLP_ENDPOINT is no URL of a collector: {0}")]
    OtlpEndpoint(String),
    /// The well-known default key would be open to the network.
    #[error(
        "API_KEY is still {key}, which works on loopback only: set API_KEY, API_KEY_FILE, KEYS or KEYS_FILE to listen on HOST={host}"
    )]
    DefaultKeyExposed {
        /// The default key.
        key: &'static str,
        /// The host.
        host: String,
    },
    /// The volume for speakers cannot be written.
    #[error(
        "DATA_MOUNT: {reason}; give the volume to the user of the service, or set DATABASE_URL=none to keep no speakers"
    )]
    DataMount {
        /// What is wrong.
        reason: String,
    },
    /// No address and port for metrics.
    #[error("METRICS_ADDRESS={address} is neither `off` nor an address and port like 127.0.0.1:9100")]
    MetricsAddress {
        /// What was given.
        address: String,
    },
    /// Any web page could use the well-known default key.
    #[error("API_KEY is still {key}: set a key of your own to allow pages of all origins (CORS_ORIGINS=*)")]
    DefaultKeyForAllPages {
        /// The default key.
        key: &'static str,
    },
    /// There is no such model.
    #[error("there is no model {name:?}; there are {known}")]
    UnknownModel {
        /// What was given.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// A model is named twice.
    #[error("MODELS names {0} twice")]
    ModelTwice(&'static str),
    /// There is no such folder of models.
    #[error("MODELS_DIR={} is no folder", .0.display())]
    ModelsDir(PathBuf),
    /// `MODEL_URL` or `MODEL_SHA256` cannot be used, or another model's.
    #[error("{}", with_variables(variables, &error.to_string()))]
    Remote {
        /// What the variables begin with.
        variables: &'static str,
        /// Why.
        error: RemoteError,
    },
    /// A calibration cannot be used.
    #[error("CALIBRATION_PATH={}: {reason}", path.display())]
    Calibration {
        /// What was given.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A hash, and no file that it could be of.
    #[error("{0}_SHA256 is set, but neither {0}_URL nor {0}_PATH")]
    HashOfNothing(&'static str),
    /// Speakers cannot be kept where they should.
    #[error("DATABASE_URL={url}: {reason}")]
    DatabaseUrl {
        /// What was given.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// HOST is no address or name.
    #[error("HOST={host} cannot be resolved: {reason}")]
    Host {
        /// What was given.
        host: String,
        /// The system's reason.
        reason: std::io::Error,
    },
}

/// What is said of Resemblyzer's variables, of another model's.
fn with_variables(variables: &str, error: &str) -> String {
    ["MODEL_URL", "MODEL_SHA256"]
        .iter()
        .fold(error.to_owned(), |error, name| error.replace(name, &name.replacen("MODEL", variables, 1)))
}
