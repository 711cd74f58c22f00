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

/// Asks each URL once, until one answers.
pub(super) fn ask(urls: &[String]) -> Result<(), HealthcheckError> {
    tls::install_provider();
    // The service is on this machine: no proxy is needed.
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
