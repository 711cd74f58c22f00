//! Downloads a file with retries and resumption, and checks its hash before it is used.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use reqwest::StatusCode;
use reqwest::blocking::{Client, Response};
use reqwest::header::{CONTENT_RANGE, RANGE, RETRY_AFTER};
use reqwest::redirect::Policy;

use super::progress::FetchProgress;
use super::remote::Remote;
use crate::models::FileDigest;
use crate::tls;

/// A limit far above the size of any model of this kind.
const MAX_BYTES: u64 = 512 << 20;

/// A request that receives this many bytes before it breaks resets the count of attempts.
const GOOD_PART_BYTES: usize = 256 << 10;

/// The maximum number of redirects followed for one request.
const MAX_REDIRECTS: usize = 10;

/// The retries and time limits of a download.
#[derive(Clone, Copy, Debug)]
pub struct FetchPolicy {
    /// Requests made before giving up. A request that received a good part of the file resets the count.
    pub attempts: u32,
    /// Pause after the first failure. It doubles with each further failure up to `max_delay`, and varies by half.
    pub first_delay: Duration,
    /// Longest pause, including a server's `Retry-After`.
    pub max_delay: Duration,
    /// Time limit for connecting.
    pub connect_timeout: Duration,
    /// Time after which a download that cannot connect is given up.
    pub unreachable_for: Duration,
    /// Time without data after which a connection counts as broken.
    pub stall_timeout: Duration,
}

impl Default for FetchPolicy {
    /// Gives up after about a minute without a connection.
    fn default() -> Self {
        Self {
            attempts: 8,
            first_delay: Duration::from_millis(500),
            max_delay: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            unreachable_for: Duration::MAX,
            stall_timeout: Duration::from_secs(30),
        }
    }
}

impl FetchPolicy {
    /// Returns the policy for a person who waits: an unreachable network is reported after 2 seconds.
    pub fn for_command() -> Self {
        let at_most = Duration::from_secs(2);
        Self { connect_timeout: at_most, unreachable_for: at_most, ..Self::default() }
    }
}

/// The reason why a file was not downloaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The server does not have the file, or rejects the request.
    #[error("the server answered {0}")]
    Refused(StatusCode),
    /// The file is not the expected one.
    #[error("it has the SHA-256 {found}, expected {expected}")]
    WrongHash {
        /// Hash of the downloaded file.
        found: String,
        /// Expected hash.
        expected: String,
    },
    /// The file is larger than any model.
    #[error("it is larger than {MAX_BYTES} bytes")]
    TooLarge,
    /// A redirect is circular, or leads to an address that is not allowed.
    #[error("it is redirected to {0}, which is not followed")]
    Redirect(String),
    /// A local file cannot be read, or the HTTP client cannot be created.
    #[error("{0}")]
    Local(String),
    /// No connection was established within the policy's time.
    #[error("the connection failed: {0}")]
    Unreachable(String),
    /// All attempts failed, the last one for this reason.
    #[error("{attempts} attempts failed, the last: {reason}")]
    GaveUp {
        /// The number of attempts.
        attempts: u32,
        /// The reason of the last failure.
        reason: String,
    },
}

/// The outcome of a failed attempt.
enum FetchFailure {
    /// Another attempt would end the same way.
    Final(FetchError),
    /// Another attempt may succeed.
    Transient { reason: String, retry_after: Option<Duration>, is_unreachable: bool },
}

/// The bytes received so far, and a file that preserves them if the process dies.
struct Download {
    bytes: Vec<u8>,
    part: Option<File>,
    /// Whether some bytes are from an earlier request, and perhaps from another version of the file.
    resumed: bool,
}

/// Downloads the file. If `part` is given, that file holds the bytes received so far until the download ends, and a
/// later download resumes from it.
pub(super) fn fetch(
    remote: &Remote,
    part: Option<&Path>,
    policy: &FetchPolicy,
) -> Result<Vec<u8>, FetchError> {
    if remote.url.scheme() == "file" {
        return read_local(remote);
    }
    let client = client(remote, policy).map_err(|e| FetchError::Local(full_reason(&e)))?;
    let mut download = Download::resume(part);
    if FileDigest::compute(&download.bytes).sha256 == remote.sha256 {
        return Ok(download.bytes);
    }
    let begun = Instant::now();
    let mut attempt = 1;
    loop {
        let had = download.bytes.len();
        let outcome = download.attempt(&client, remote).and_then(|()| download.check(remote));
        match outcome {
            Ok(()) => return Ok(download.bytes),
            Err(FetchFailure::Final(error)) => return Err(error),
            Err(FetchFailure::Transient { reason, .. }) if attempt >= policy.attempts => {
                return Err(FetchError::GaveUp { attempts: attempt, reason });
            }
            Err(FetchFailure::Transient { reason, retry_after, is_unreachable }) => {
                let delay = retry_after.unwrap_or_else(|| backoff(policy, attempt)).min(policy.max_delay);
                if is_unreachable && begun.elapsed() + delay > policy.unreachable_for {
                    return Err(FetchError::Unreachable(reason));
                }
                tracing::warn!(
                    attempt,
                    reason,
                    delay_ms = delay.as_millis() as u64,
                    "fetching the model failed, trying again"
                );
                std::thread::sleep(delay);
            }
        }
        attempt = if download.bytes.len() >= had + GOOD_PART_BYTES { 1 } else { attempt + 1 };
    }
}

fn read_local(remote: &Remote) -> Result<Vec<u8>, FetchError> {
    let path =
        remote.url.to_file_path().map_err(|()| FetchError::Local("it is no path of this machine".into()))?;
    let bytes = std::fs::read(path).map_err(|e| FetchError::Local(e.to_string()))?;
    match FileDigest::compute(&bytes).sha256 {
        found if found == remote.sha256 => Ok(bytes),
        found => Err(FetchError::WrongHash { found, expected: remote.sha256.clone() }),
    }
}

/// Creates a client that uses the environment's proxies and the system's certificates.
fn client(remote: &Remote, policy: &FetchPolicy) -> reqwest::Result<Client> {
    tls::install_provider();
    let is_loopback = remote.is_loopback();
    let remote = remote.clone();
    let redirect = Policy::custom(move |attempt| {
        let from = attempt.previous().last().expect("a redirect comes from somewhere");
        if attempt.previous().len() > MAX_REDIRECTS || !remote.may_redirect(from, attempt.url()) {
            return attempt.error("not followed");
        }
        attempt.follow()
    });
    let builder =
        Client::builder().user_agent(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")));
    let builder = if is_loopback { builder.no_proxy() } else { builder };
    builder
        .redirect(redirect)
        .connect_timeout(policy.connect_timeout)
        // For the blocking client, this limits a single read, not the whole response.
        .timeout(policy.stall_timeout)
        .build()
}

impl Download {
    /// Opens the file of an earlier download, or starts a new one. If the file cannot be written, the bytes are kept in
    /// memory only.
    fn resume(part: Option<&Path>) -> Self {
        let mut bytes = Vec::new();
        let open = |path| -> io::Result<(File, Vec<u8>)> {
            let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok((file, bytes))
        };
        let part = part.and_then(|path| open(path).ok()).map(|(file, found)| {
            bytes = found;
            file
        });
        Self { resumed: !bytes.is_empty(), bytes, part }
    }

    /// Requests the missing bytes, and reads the response.
    fn attempt(&mut self, client: &Client, remote: &Remote) -> Result<(), FetchFailure> {
        let mut request = client.get(remote.url.clone());
        if !self.bytes.is_empty() {
            request = request.header(RANGE, format!("bytes={}-", self.bytes.len()));
        }
        let response = request.send().map_err(|error| failure_of(&error))?;
        match response.status() {
            StatusCode::OK => self.restart(),
            StatusCode::PARTIAL_CONTENT if range_start(&response) == Some(self.bytes.len() as u64) => {
                self.resumed = true;
            }
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
                self.restart();
                return Err(transient("the server has another range of the file"));
            }
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                let retry_after = retry_after(&response);
                return Err(FetchFailure::Transient {
                    reason: format!("the server answered {status}"),
                    retry_after,
                    is_unreachable: false,
                });
            }
            status => return Err(FetchFailure::Final(FetchError::Refused(status))),
        }
        self.read(response)
    }

    fn read(&mut self, mut response: Response) -> Result<(), FetchFailure> {
        let total = response.content_length().map(|length| length + self.bytes.len() as u64);
        let mut progress = FetchProgress::begin(self.bytes.len() as u64, total);
        let mut block = vec![0; 64 << 10];
        loop {
            match response.read(&mut block) {
                Ok(0) => break,
                Ok(n) => self.append(&block[..n]),
                Err(error) => return Err(transient(&format!("the connection broke: {error}"))),
            }
            if self.bytes.len() as u64 > MAX_BYTES {
                self.restart();
                return Err(FetchFailure::Final(FetchError::TooLarge));
            }
            progress.reached(self.bytes.len() as u64);
        }
        progress.end();
        match total {
            Some(total) if (self.bytes.len() as u64) < total => Err(transient("the connection ended early")),
            _ => Ok(()),
        }
    }

    /// Compares the hash. If the bytes come from several requests, they may be of different versions, so they are
    /// downloaded again.
    fn check(&mut self, remote: &Remote) -> Result<(), FetchFailure> {
        let found = FileDigest::compute(&self.bytes).sha256;
        if found == remote.sha256 {
            return Ok(());
        }
        let was_resumed = self.resumed;
        self.restart();
        if was_resumed {
            return Err(transient("the pieces do not make the file"));
        }
        Err(FetchFailure::Final(FetchError::WrongHash { found, expected: remote.sha256.clone() }))
    }

    fn append(&mut self, block: &[u8]) {
        self.bytes.extend_from_slice(block);
        // A full disk prevents resumption, but not the download.
        if self.part.as_mut().is_some_and(|part| part.write_all(block).is_err()) {
            self.part = None;
        }
    }

    fn restart(&mut self) {
        self.bytes.clear();
        self.resumed = false;
        if self.part.as_ref().is_some_and(|part| part.set_len(0).is_err()) {
            self.part = None;
        }
    }
}

fn transient(reason: &str) -> FetchFailure {
    FetchFailure::Transient { reason: reason.to_owned(), retry_after: None, is_unreachable: false }
}

fn failure_of(error: &reqwest::Error) -> FetchFailure {
    if error.is_redirect() {
        let to = error.url().map_or_else(String::new, |url| {
            format!("{}://{}", url.scheme(), url.host_str().unwrap_or_default())
        });
        return FetchFailure::Final(FetchError::Redirect(to));
    }
    FetchFailure::Transient {
        reason: full_reason(error),
        retry_after: None,
        is_unreachable: error.is_connect(),
    }
}

/// Formats an error and its causes on one line, without the URL.
fn full_reason(error: &reqwest::Error) -> String {
    let mut reasons = Vec::new();
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(error) = cause {
        reasons.push(error.to_string());
        cause = error.source();
    }
    if reasons.is_empty() { "the connection failed".to_owned() } else { reasons.join(": ") }
}

/// Returns the offset at which a partial response begins (`Content-Range: bytes 100-199/200`).
fn range_start(response: &Response) -> Option<u64> {
    let range = response.headers().get(CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")?;
    range.split('-').next()?.parse().ok()
}

/// Returns the pause that a server requests, given as seconds or as a date.
fn retry_after(response: &Response) -> Option<Duration> {
    let value = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    match value.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => httpdate::parse_http_date(value).ok()?.duration_since(SystemTime::now()).ok(),
    }
}

/// Returns an exponential delay, randomised between half and all of it, so that many processes do not retry at once.
fn backoff(policy: &FetchPolicy, attempt: u32) -> Duration {
    let delay = policy.first_delay.saturating_mul(1 << (attempt - 1).min(16)).min(policy.max_delay);
    delay.mul_f64(0.5 + 0.5 * fastrand::f64())
}
