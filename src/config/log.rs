//! How to log, and where traces go.

use clap::ValueEnum;

use super::error::ConfigError;

/// Readable logs or machine-readable ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Environment {
    /// JSON logs at level `info`.
    Production,
    /// Readable logs at level `debug`.
    Development,
}

/// How to log.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// Readable or JSON.
    pub environment: Environment,
    /// What to log, if it was configured.
    pub filter: Option<String>,
    /// Where traces go, if anywhere.
    pub traces: Option<TraceExport>,
}

/// Where traces go.
#[derive(Clone, Debug)]
pub struct TraceExport {
    /// Base URL of an OpenTelemetry collector (OTLP over HTTP).
    pub endpoint: String,
    /// Name of the service there.
    pub service_name: String,
}

pub(super) fn trace_export(
    endpoint: Option<String>,
    service_name: String,
) -> Result<Option<TraceExport>, ConfigError> {
    let Some(endpoint) = endpoint.filter(|endpoint| !endpoint.is_empty()) else { return Ok(None) };
    url::Url::parse(&endpoint).map_err(ConfigError::OtlpEndpoint)?;
    Ok(Some(TraceExport { endpoint, service_name }))
}
