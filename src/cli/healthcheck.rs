//! `healthcheck`: asks a running service whether it is ready. Containers without curl use it as their probe.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::blocking::Client;

use crate::tls;

/// Longest wait for a response. Container engines allow a probe more time.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The reason why a service is not ready.
#[derive(Debug, thiserror::Error)]
pub(super) enum HealthcheckError {
    /// The service does not respond.
    #[error("no answer from {0}")]
    NoAnswer(String),
    /// The service responds that it is not ready.
    #[error("{url} answers {status}: {body}")]
    NotReady {
        /// The URL.
        url: String,
        /// The status, usually 503.
        status: StatusCode,
        /// The body of the response.
        body: String,
    },
}

/// Asks each URL once, until one of them responds.
pub(super) fn ask(urls: &[String]) -> Result<(), HealthcheckError> {
    tls::install_provider();
    // The service runs on this machine, so no proxy is needed.
    let client = Client::builder().no_proxy().timeout(TIMEOUT).build();
    let no_answer = || HealthcheckError::NoAnswer(urls.join(" or "));
    let client = client.map_err(|_| no_answer())?;
    let mut answers = urls.iter().map(|url| (url, client.get(url).send()));
    let answered = answers.find_map(|(url, answer)| Some((url, answer.ok()?)));
    let (url, answer) = answered.ok_or_else(no_answer)?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    Err(HealthcheckError::NotReady { url: url.clone(), status, body: answer.text().unwrap_or_default() })
}
