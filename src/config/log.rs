//! Configuration of logs and traces.

use std::convert::Infallible;
use std::str::FromStr;
use std::time::Duration;

use super::error::ConfigError;

/// The format and the default level of logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Environment {
    /// JSON logs at level `info`.
    Production,
    /// Readable logs at level `debug`.
    Development,
}

/// Any value except `development` means production: `prod`, `staging` and so on.
impl FromStr for Environment {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(if text.eq_ignore_ascii_case("development") { Self::Development } else { Self::Production })
    }
}

/// The configuration of logs and traces.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// Selects readable or JSON logs.
    pub environment: Environment,
    /// The configured filter, if any.
    pub filter: Option<String>,
    /// Where traces are sent, if anywhere.
    pub traces: Option<TraceExport>,
}

/// The destination of traces.
#[derive(Clone, Debug)]
pub struct TraceExport {
    /// The URL at which an OpenTelemetry collector accepts traces (OTLP over HTTP).
    pub url: String,
    /// The name of the service in traces.
    pub service_name: String,
    /// Time to send the last traces when the service stops.
    pub last_timeout: Duration,
}

/// The longest time that shutting down waits for a collector.
const MAX_LAST_TIMEOUT: Duration = Duration::from_secs(2);

/// The path at which a collector accepts traces.
const TRACES_PATH: &str = "/v1/traces";

/// The levels in a filter.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Checks that a filter consists of levels and `target=level`. A bare word would count as a module name, and silence all
/// other modules.
pub(super) fn checked_filter(filter: &str) -> Result<String, String> {
    if filter.contains('[') {
        // Directives for spans may contain commas.
        return Ok(filter.to_owned());
    }
    let is_word = |directive: &&str| !directive.contains('=') && !directive.is_empty();
    let words = filter.split(',').map(str::trim).filter(is_word);
    let is_level = |word: &str| LEVELS.contains(&&*word.to_ascii_lowercase());
    match words.into_iter().find(|word| !is_level(word)) {
        Some(word) => {
            Err(format!("{word:?} is no level ({}); a module is written name=level", LEVELS.join(", ")))
        }
        None => Ok(filter.to_owned()),
    }
}

pub(super) fn trace_export(
    endpoint: Option<&str>,
    service_name: String,
    shutdown_grace: Duration,
) -> Result<Option<TraceExport>, ConfigError> {
    let Some(endpoint) = endpoint else { return Ok(None) };
    let url = url::Url::parse(endpoint).map_err(|reason| ConfigError::OtlpEndpoint(reason.to_string()))?;
    if !["http", "https"].contains(&url.scheme()) {
        return Err(ConfigError::OtlpEndpoint(format!("its scheme is {}, not http or https", url.scheme())));
    }
    // Some users name the collector, as the variable is meant, others the path in it.
    let mut url = url;
    let collector = url.path().trim_end_matches('/').trim_end_matches(TRACES_PATH).to_owned();
    url.set_path(&format!("{collector}{TRACES_PATH}"));
    Ok(Some(TraceExport {
        url: url.into(),
        service_name,
        last_timeout: shutdown_grace.min(MAX_LAST_TIMEOUT),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_go_to_the_collectors_path_once() {
        let grace = Duration::from_secs(25);
        for endpoint in
            ["http://c:4318", "http://c:4318/", "http://c:4318/v1/traces", "http://c:4318/v1/traces/"]
        {
            let export = trace_export(Some(endpoint), "voice".into(), grace).unwrap().unwrap();
            assert_eq!(export.url, "http://c:4318/v1/traces", "{endpoint}");
            assert_eq!(export.last_timeout, MAX_LAST_TIMEOUT);
        }
        let export = trace_export(Some("http://c:4318/otlp?key=1"), "voice".into(), grace).unwrap().unwrap();
        assert_eq!(export.url, "http://c:4318/otlp/v1/traces?key=1");
        assert!(
            trace_export(Some("c:"), "voice".into(), grace).is_err_and(|e| e.to_string().contains("OTLP"))
        );
    }

    #[test]
    fn a_filter_names_levels() {
        for filter in [
            "info",
            "WARN",
            "voice_embedding_service=debug,tower_http=info",
            "off, hyper=warn",
            "[request{a,b}]",
        ] {
            assert_eq!(checked_filter(filter).as_deref(), Ok(filter));
        }
        for filter in ["verbose", "info,hyper", "warning"] {
            assert!(checked_filter(filter).is_err(), "{filter}");
        }
    }
}
