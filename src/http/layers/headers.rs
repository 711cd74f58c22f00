//! Rejects requests because of their headers, and normalises paths.

use axum::extract::Request;
use axum::http::Uri;
use axum::http::header::CONTENT_ENCODING;
use axum::middleware::Next;
use axum::response::Response;

use crate::http::error::ApiError;

/// Maximum number of headers in a request.
pub(in crate::http) const MAX_HEADERS: usize = 100;

/// Rejects a request with too many headers.
pub(in crate::http) async fn bound_headers(request: Request, next: Next) -> Result<Response, ApiError> {
    if request.headers().len() > MAX_HEADERS {
        return Err(ApiError::TooManyHeaders { max: MAX_HEADERS });
    }
    Ok(next.run(request).await)
}

/// Rejects a body with a content encoding, because the service decodes none.
pub(in crate::http) async fn refuse_encoded(request: Request, next: Next) -> Result<Response, ApiError> {
    match request.headers().get(CONTENT_ENCODING) {
        Some(encoding) if !encoding.as_bytes().eq_ignore_ascii_case(b"identity") => {
            Err(ApiError::ContentEncoding {
                found: String::from_utf8_lossy(encoding.as_bytes()).into_owned(),
            })
        }
        _ => Ok(next.run(request).await),
    }
}

/// Decodes letters, digits, `-`, `.`, `_` and `~` that are percent-encoded in the path. By RFC 3986, section 2.3, the
/// result is the same path.
pub(in crate::http) fn with_plain_path(mut request: Request) -> Request {
    let Some(plain) = plain(request.uri().path()) else { return request };
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    if let Ok(uri) = Uri::try_from(plain + &query) {
        *request.uri_mut() = uri;
    }
    request
}

/// Returns the decoded path, if it differs.
fn plain(path: &str) -> Option<String> {
    let mut parts = path.split('%');
    let mut plain = parts.next()?.to_owned();
    let mut differs = false;
    for part in parts {
        let byte = part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte.filter(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(byte)) {
            Some(byte) => {
                plain.push(byte.into());
                plain.push_str(&part[2..]);
                differs = true;
            }
            None => plain.extend(["%", part]),
        }
    }
    differs.then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_need_not_be_encoded_is_decoded() {
        let cases = [
            ("/extract%2Dembedding", Some("/extract-embedding")),
            ("/extract%2dembedding%2Fup%6Coad", Some("/extract-embedding%2Fupload")),
            ("/health", None),
            ("/a%2Fb%20%C3%A9", None),
            ("/a%", None),
            ("/a%4", None),
            ("/a%+4", None),
        ];
        for (path, expected) in cases {
            assert_eq!(plain(path).as_deref(), expected, "{path}");
        }
    }
}
