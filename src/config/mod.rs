//! Validated flags and environment variables.

mod calibration;
mod encoder;
mod engine;
mod error;
mod keys;
mod listen;
mod log;
mod model;
mod origins;
mod places;
mod serve;
mod store;
mod thresholds;
mod values;
mod variables;

pub use calibration::CalibrationArgs;
pub use engine::EngineArgs;
pub use error::ConfigError;
pub use keys::{API_KEY_NAME, DEFAULT_API_KEY, Key, KeyArgs, KeySource, MIN_KEY_BYTES, Right, toml_lines};
pub use listen::{HealthcheckArgs, MetricsPlace};
pub use log::{Environment, LogConfig, TraceExport};
pub use model::{ConfiguredModel, ModelArgs};
pub use origins::CorsOrigins;
pub use serve::{Config, HttpConfig, ServeArgs};
pub use store::{StoreArgs, StorePlaceArgs};
pub use thresholds::ThresholdArgs;
pub use values::{cosine, not_negative, positive, rate};
pub use variables::with_tidy_variables;
