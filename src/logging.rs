//! Logs, on stderr.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::config::{Environment, LogConfig};

/// Starts logging for the process: JSON in production, readable lines in development.
pub fn init(config: &LogConfig) -> Result<(), ParseError> {
    let default_filter = match config.environment {
        Environment::Production => "info",
        Environment::Development => "info,voice_embedding_service=debug",
    };
    let filter = EnvFilter::builder().parse(config.filter.as_deref().unwrap_or(default_filter))?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match config.environment {
        Environment::Production => subscriber.json().flatten_event(true).with_span_list(false).init(),
        Environment::Development => subscriber.init(),
    }
    Ok(())
}
