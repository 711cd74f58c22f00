//! Asks a running service whether it takes work: the probe of containers that have no curl.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::blocking::Client;

use crate::tls;

/// Longest wait for an answer: less than container engines give a probe.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Why a service does not take work.
#[derive(Debug, thiserror::Error)]
pub enum HealthcheckError {
    /// Nobody answers.
    #[error("no answer from {0}")]
    NoAnswer(String),
    /// It answers that it does not.
    #[error("{url} answers {status}: {body}")]
    NotReady {
        /// What was asked.
        url: String,
        /// The status, 503 most of the time.
        status: StatusCode,
        /// What it said.
        body: String,
    },
}

/// Asks a URL once.
pub fn ask(url: &str) -> Result<(), HealthcheckError> {
    tls::install_provider();
    // The service is on this machine, where no proxy leads.
    let client = Client::builder().no_proxy().timeout(TIMEOUT).build();
    let answer = client.and_then(|client| client.get(url).send());
    let answer = answer.map_err(|_| HealthcheckError::NoAnswer(url.to_owned()))?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    Err(HealthcheckError::NotReady { url: url.to_owned(), status, body: answer.text().unwrap_or_default() })
}
