//! `healthcheck`: asks a running service whether it takes work; the probe of containers that have no curl.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::blocking::Client;

use crate::tls;

/// Longest wait for an answer: less than container engines give a probe.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Why a service does not take work.
#[derive(Debug, thiserror::Error)]
pub(super) enum HealthcheckError {
    /// There is no answer.
    #[error("no answer from {0}")]
    NoAnswer(String),
    /// The answer is that it does not.
    #[error("{url} answers {status}: {body}")]
    NotReady {
        /// The URL.
        url: String,
        /// The status, 503 most of the time.
        status: StatusCode,
        /// The body of the answer.
        body: String,
    },
}

/// Asks a URL once.
pub(super) fn ask(url: &str) -> Result<(), HealthcheckError> {
    tls::install_provider();
    // The service is on this machine: no proxy is needed.
    let client = Client::builder().no_proxy().timeout(TIMEOUT).build();
    let answer = client.and_then(|client| client.get(url).send());
    let answer = answer.map_err(|_| HealthcheckError::NoAnswer(url.to_owned()))?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    Err(HealthcheckError::NotReady { url: url.to_owned(), status, body: answer.text().unwrap_or_default() })
}
