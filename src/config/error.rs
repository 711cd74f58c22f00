//! Errors of the configuration.

use std::path::PathBuf;

use crate::model_files::RemoteError;

/// An error of the configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The key cannot be sent by any client, or it can be guessed by anyone.
    #[error("{variable} {reason}")]
    ApiKey {
        /// The variable that contains the key.
        variable: &'static str,
        /// The problem with the key.
        reason: &'static str,
    },
    /// Keys come from two conflicting places.
    #[error("{0} and {1} are both set")]
    TwoPlacesOfKeys(&'static str, &'static str),
    /// The keys are invalid.
    #[error("{variable}: {reason}")]
    Keys {
        /// The variable that contains the keys.
        variable: &'static str,
        /// The problem, with line and name.
        reason: String,
    },
    /// A file of keys cannot be read.
    #[error("{variable}={path} cannot be read: {reason}", path = path.display())]
    KeyFile {
        /// The variable that names the file.
        variable: &'static str,
        /// The given path.
        path: PathBuf,
        /// The system's reason.
        reason: std::io::Error,
    },
    /// The value is not an origin as browsers send it.
    #[error("CORS_ORIGINS holds {origin:?}, which no browser sends; an origin is written like {expected}")]
    CorsOrigin {
        /// The given value.
        origin: String,
        /// The correct form of the value, or an example.
        expected: String,
    },
    /// The value is not the URL of a collector.
    #[error("OTEL_EXPORTER_OTLP_ENDPOINT is not the URL of a collector: {0}")]
    OtlpEndpoint(String),
    /// The default key would be open to the network.
    #[error(
        "API_KEY is still {key}, which works on loopback only: set API_KEY, API_KEY_FILE, KEYS or KEYS_FILE to listen on HOST={host}"
    )]
    DefaultKeyExposed {
        /// The default key.
        key: &'static str,
        /// The host.
        host: String,
    },
    /// The volume for speakers is not writable.
    #[error(
        "DATA_MOUNT: {reason}; give the volume to the user of the service, or set DATABASE_URL=none to keep no speakers"
    )]
    DataMount {
        /// The problem with the volume.
        reason: String,
    },
    /// The value is not an address and port for metrics.
    #[error("METRICS_ADDRESS={address} is neither `off` nor an address and port like 127.0.0.1:9100")]
    MetricsAddress {
        /// The given value.
        address: String,
    },
    /// Any web page could use the default key.
    #[error("API_KEY is still {key}: set a key of your own to allow pages of all origins (CORS_ORIGINS=*)")]
    DefaultKeyForAllPages {
        /// The default key.
        key: &'static str,
    },
    /// The model does not exist.
    #[error("there is no model {name:?}; there are {known}")]
    UnknownModel {
        /// The given name.
        name: String,
        /// The names of the existing models.
        known: String,
    },
    /// A model is named twice.
    #[error("MODELS names {0} twice")]
    ModelTwice(&'static str),
    /// The folder of models does not exist.
    #[error("MODELS_DIR={} is not a folder", .0.display())]
    ModelsDir(PathBuf),
    /// `MODEL_URL` or `MODEL_SHA256`, or that of another model, is invalid.
    #[error("{}", with_variables(variables, &error.to_string()))]
    Remote {
        /// The prefix of the variables.
        variables: &'static str,
        /// The reason.
        error: RemoteError,
    },
    /// A calibration cannot be used.
    #[error("CALIBRATION_PATH={}: {reason}", path.display())]
    Calibration {
        /// The given path.
        path: PathBuf,
        /// The problem with the file.
        reason: String,
    },
    /// A hash is set, but no file to which it applies.
    #[error("{0}_SHA256 is set, but neither {0}_URL nor {0}_PATH")]
    HashOfNothing(&'static str),
    /// The database for speakers cannot be used.
    #[error("DATABASE_URL={url}: {reason}")]
    DatabaseUrl {
        /// The given URL, masked.
        url: String,
        /// The problem with the URL.
        reason: String,
    },
    /// HOST is not a valid address or name.
    #[error("HOST={host} cannot be resolved: {reason}")]
    Host {
        /// The given value.
        host: String,
        /// The system's reason.
        reason: std::io::Error,
    },
}

/// Replaces the names of Resemblyzer's variables in an error with those of another model.
fn with_variables(variables: &str, error: &str) -> String {
    ["MODEL_URL", "MODEL_SHA256"]
        .iter()
        .fold(error.to_owned(), |error, name| error.replace(name, &name.replacen("MODEL", variables, 1)))
}
