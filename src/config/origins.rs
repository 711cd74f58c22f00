//! The origins of web pages that may call the service from a browser.

use super::error::ConfigError;

/// The origins of web pages that may call the service from a browser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CorsOrigins {
    /// Only the service's own origin.
    None,
    /// Any origin.
    Any,
    /// The listed origins.
    List(Vec<String>),
}

/// Parses `*`, or origins separated by commas. An empty text means none.
pub(super) fn cors_origins(text: &str) -> Result<CorsOrigins, ConfigError> {
    let origins: Vec<&str> = text.split(',').map(str::trim).filter(|origin| !origin.is_empty()).collect();
    if origins == ["*"] {
        return Ok(CorsOrigins::Any);
    }
    let checked = |origin: &&str| {
        let reason = |expected| ConfigError::CorsOrigin { origin: (*origin).to_owned(), expected };
        let expected = serialised(origin).ok_or_else(|| reason("https://example.org".into()))?;
        if *origin == expected { Ok(expected) } else { Err(reason(expected)) }
    };
    let list = origins.iter().map(checked).collect::<Result<Vec<_>, _>>()?;
    Ok(if list.is_empty() { CorsOrigins::None } else { CorsOrigins::List(list) })
}

/// Returns the origin of a URL as browsers send it: scheme, host, and the port unless it is the scheme's default. Apps
/// use their own schemes (`tauri://localhost`). Patterns are rejected, because no origin would match them.
fn serialised(text: &str) -> Option<String> {
    let url = url::Url::parse(text).ok()?;
    let host = url.host_str().filter(|host| !host.is_empty() && !host.contains('*'))?;
    let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
    Some(format!("{}://{}{port}", url.scheme(), host.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_those_that_browsers_send() {
        let good = [
            "https://example.org",
            "http://localhost:3000",
            "http://[::1]:8080",
            "tauri://localhost",
            "capacitor://localhost",
            "chrome-extension://gmgoamodcdcjnbaobigkjelfplakmdhh",
        ];
        let expected = CorsOrigins::List(good.map(str::to_owned).to_vec());
        assert_eq!(cors_origins(&good.join(" , ")).unwrap(), expected);
        assert_eq!(cors_origins("*").unwrap(), CorsOrigins::Any);
        assert_eq!(cors_origins(" , ").unwrap(), CorsOrigins::None);
        let bad = [
            ("https://example.org/", "https://example.org"),
            ("https://Example.org", "https://example.org"),
            ("https://example.org:443", "https://example.org"),
            ("https://*.example.org", "https://example.org"),
            ("tauri://LOCALHOST", "tauri://localhost"),
            ("example.org", "https://example.org"),
            ("*, https://a.org", "https://example.org"),
            ("localhost:3000", "https://example.org"),
        ];
        for (text, expected) in bad {
            let error = cors_origins(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
