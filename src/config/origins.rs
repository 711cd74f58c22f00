//! Which pages may call the service from a browser.

use super::error::ConfigError;

/// Pages of which origins may call the service from a browser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CorsOrigins {
    /// The service's own alone.
    None,
    /// Any.
    Any,
    /// These.
    List(Vec<String>),
}

/// Reads `*`, or origins separated by commas; none if there are none.
pub(super) fn cors_origins(text: &str) -> Result<CorsOrigins, ConfigError> {
    let origins: Vec<&str> = text.split(',').map(str::trim).filter(|origin| !origin.is_empty()).collect();
    if origins == ["*"] {
        return Ok(CorsOrigins::Any);
    }
    let checked = |origin: &&str| {
        let is_origin =
            url::Url::parse(origin).is_ok_and(|url| url.origin().ascii_serialization() == *origin);
        if is_origin { Ok((*origin).to_owned()) } else { Err(ConfigError::CorsOrigin((*origin).to_owned())) }
    };
    let list = origins.iter().map(checked).collect::<Result<Vec<_>, _>>()?;
    Ok(if list.is_empty() { CorsOrigins::None } else { CorsOrigins::List(list) })
}
