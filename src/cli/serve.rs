//! `serve`: the HTTP API.

use std::process::ExitCode;

use crate::config::{Config, ServeArgs};
use crate::{http, logging};

/// Serves the API. Once logging has started, errors go to the log.
pub(super) fn run(args: ServeArgs) -> anyhow::Result<ExitCode> {
    let config = Config::try_from(args)?;
    let _logging = logging::init(&config.log)?;
    Ok(match http::serve(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    })
}
