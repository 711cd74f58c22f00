//! Validates download locations of models before any download.

use std::net::IpAddr;

use url::{Host, Url};

use crate::models::ModelFiles;

/// A file to download, and its required hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    pub(super) url: Url,
    pub(super) sha256: String,
    pub(super) format: FileFormat,
    pub(super) allow_http: bool,
    onnx_sha256: String,
}

/// The format of the file, derived from its extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileFormat {
    /// The model's checkpoint, which must be converted.
    Checkpoint,
    /// A model that can be used directly.
    Onnx,
}

/// The reason why a model is not downloaded from a URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoteError {
    /// The value is not a URL.
    #[error("MODEL_URL is not a URL: {0}")]
    NotAUrl(#[from] url::ParseError),
    /// The scheme is not https, http or file.
    #[error("MODEL_URL has the scheme {0}; known are https, http and file")]
    Scheme(String),
    /// The file could be replaced in transit. The hash would reveal this, but the service would not start.
    #[error("MODEL_URL is http to another machine; use https, or set MODEL_ALLOW_HTTP=true")]
    Insecure,
    /// The URL names neither an ONNX file nor a checkpoint.
    #[error("MODEL_URL must end in .onnx, .pt or .bin")]
    UnknownFormat,
    /// There is no hash to verify the file.
    #[error("MODEL_URL needs MODEL_SHA256, the hash of the file it names")]
    NoHash,
    /// The value is not a hash.
    #[error("MODEL_SHA256 must be 64 hexadecimal digits")]
    BadHash,
    /// Only the model's own checkpoint can be converted.
    #[error("MODEL_URL names a checkpoint whose MODEL_SHA256 is not that of the model's own, {expected}")]
    OtherCheckpoint {
        /// The hash of the model's checkpoint.
        expected: String,
    },
}

impl Remote {
    /// Returns the location at which the authors publish the model's own checkpoint.
    pub fn upstream(files: &ModelFiles) -> Self {
        Self {
            url: Url::parse(&files.checkpoint_url).expect("the manifest is checked by the tests"),
            sha256: files.checkpoint.sha256.clone(),
            format: FileFormat::Checkpoint,
            allow_http: false,
            onnx_sha256: files.onnx.sha256.clone(),
        }
    }

    /// Validates a URL and the hash of its file.
    pub fn new(
        files: &ModelFiles,
        url: &str,
        sha256: Option<&str>,
        allow_http: bool,
    ) -> Result<Self, RemoteError> {
        let url = Url::parse(url)?;
        if !["https", "http", "file"].contains(&url.scheme()) {
            return Err(RemoteError::Scheme(url.scheme().to_owned()));
        }
        if !is_secure(&url) && !allow_http {
            return Err(RemoteError::Insecure);
        }
        let format = match url.path().rsplit_once('.') {
            Some((_, "onnx")) => FileFormat::Onnx,
            Some((_, "pt" | "bin")) => FileFormat::Checkpoint,
            _ => return Err(RemoteError::UnknownFormat),
        };
        let sha256 = checked_hash(sha256.ok_or(RemoteError::NoHash)?)?;
        let expected = &files.checkpoint.sha256;
        let onnx_sha256 = match format {
            FileFormat::Onnx => sha256.clone(),
            FileFormat::Checkpoint if sha256 == *expected => files.onnx.sha256.clone(),
            FileFormat::Checkpoint => {
                return Err(RemoteError::OtherCheckpoint { expected: expected.clone() });
            }
        };
        Ok(Self { url, sha256, format, allow_http, onnx_sha256 })
    }

    /// Returns whether a redirect may be followed. The same targets are allowed as for URLs, but never http after https.
    pub(super) fn may_redirect(&self, from: &Url, to: &Url) -> bool {
        let is_downgrade = from.scheme() == "https" && to.scheme() != "https";
        let is_web = ["https", "http"].contains(&to.scheme());
        is_web && !is_downgrade && (is_secure(to) || self.allow_http)
    }

    /// Returns the hash of the resulting ONNX file.
    pub(super) fn onnx_sha256(&self) -> &str {
        &self.onnx_sha256
    }

    /// Returns whether the file is on this machine, in which case no proxy is used.
    pub(super) fn is_loopback(&self) -> bool {
        is_loopback(&self.url)
    }

    /// Returns the URL without credentials and query, which may be secret.
    pub(super) fn display(&self) -> String {
        let port = self.url.port().map_or_else(String::new, |port| format!(":{port}"));
        let host = self.url.host_str().unwrap_or_default();
        format!("{}://{host}{port}{}", self.url.scheme(), self.url.path())
    }
}

/// Validates a SHA-256 in hexadecimal digits, and returns it in lower case.
pub fn checked_hash(sha256: &str) -> Result<String, RemoteError> {
    let is_hash = sha256.len() == 64 && sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hash.then(|| sha256.to_ascii_lowercase()).ok_or(RemoteError::BadHash)
}

/// Returns whether the file is protected from being read or changed in transit.
fn is_secure(url: &Url) -> bool {
    url.scheme() != "http" || is_loopback(url)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::resemblyzer::spec;

    const HASH: &str = "39373B86598FA3DA9FCDDEE6142382EFE09777E8D37DC9C0561F41F0070F134E";

    #[test]
    fn urls_are_checked_before_anything_is_fetched() {
        let files = spec().files;
        let other_checkpoint = RemoteError::OtherCheckpoint { expected: files.checkpoint.sha256.clone() };
        let cases = [
            ("https://example.org/a/pretrained.pt", Some(HASH), false, Ok(())),
            ("https://example.org/model.onnx?signature=x", Some(HASH), false, Ok(())),
            ("file:///models/model.onnx", Some(HASH), false, Ok(())),
            ("http://localhost:8/model.onnx", Some(HASH), false, Ok(())),
            ("http://127.9.9.9/model.onnx", Some(HASH), false, Ok(())),
            ("http://[::1]/model.onnx", Some(HASH), false, Ok(())),
            ("http://example.org/model.onnx", Some(HASH), true, Ok(())),
            ("http://example.org/model.onnx", Some(HASH), false, Err(RemoteError::Insecure)),
            ("http://localhost.example.org/model.onnx", Some(HASH), false, Err(RemoteError::Insecure)),
            ("ftp://example.org/model.onnx", Some(HASH), false, Err(RemoteError::Scheme("ftp".into()))),
            ("https://example.org/model", Some(HASH), false, Err(RemoteError::UnknownFormat)),
            ("https://example.org/model.onnx", None, false, Err(RemoteError::NoHash)),
            ("https://example.org/model.onnx", Some("39373b86"), false, Err(RemoteError::BadHash)),
            ("https://example.org/x.pt", Some(&"0".repeat(64)), false, Err(other_checkpoint)),
        ];
        for (url, sha256, allow_http, expected) in cases {
            assert_eq!(Remote::new(&files, url, sha256, allow_http).map(|_| ()), expected, "{url}");
        }
        assert!(matches!(Remote::new(&files, "model.onnx", Some(HASH), false), Err(RemoteError::NotAUrl(_))));
    }

    #[test]
    fn redirects_never_lead_to_less_security() {
        let cases = [
            ("https://a.org/", "https://b.org/", true),
            ("https://a.org/", "http://b.org/", false),
            ("https://a.org/", "http://localhost/", false),
            ("http://localhost/", "http://127.0.0.1/", true),
            ("http://localhost/", "http://a.org/", false),
            ("http://localhost/", "https://a.org/", true),
            ("http://localhost/", "file:///etc/passwd", false),
        ];
        let remote = Remote::upstream(&spec().files);
        for (from, to, expected) in cases {
            let (from, to) = (Url::parse(from).unwrap(), Url::parse(to).unwrap());
            assert_eq!(remote.may_redirect(&from, &to), expected, "{from} -> {to}");
        }
        let permissive = Remote { allow_http: true, ..Remote::upstream(&spec().files) };
        let [https, http] = ["https://a.org/", "http://b.org/"].map(|url| Url::parse(url).unwrap());
        assert!(permissive.may_redirect(&http, &http) && !permissive.may_redirect(&https, &http));
    }

    #[test]
    fn credentials_and_query_are_not_shown() {
        let remote = Remote::new(
            &spec().files,
            "https://user:pass@example.org:8443/a.onnx?token=x",
            Some(HASH),
            false,
        )
        .unwrap();
        assert_eq!(remote.display(), "https://example.org:8443/a.onnx");
    }
}
