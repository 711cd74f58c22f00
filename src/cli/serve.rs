//! `serve`: the HTTP API.

use crate::config::{Config, ServeArgs};
use crate::{http, logging};

pub(super) fn run(args: ServeArgs) -> anyhow::Result<()> {
    let config = Config::try_from(args)?;
    let _logging = logging::init(&config.log)?;
    Ok(http::serve(config)?)
}
