//! The kind of a body, by its content type.

use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;

use crate::http::error::ApiError;

/// The kind of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum BodyKind {
    /// JSON, or no content type.
    Json,
    /// A content type that curl and browsers send by default. The body may be JSON.
    Unnamed,
    /// The recording itself.
    Audio,
    /// A multipart form.
    Form,
    /// Something else.
    Other,
}

/// Returns the kind of a body.
pub(in crate::http) fn kind(headers: &HeaderMap) -> BodyKind {
    let content_type = text(headers);
    match content_type.split(';').next().unwrap_or_default().trim() {
        "" => BodyKind::Json,
        name if name.starts_with("audio/") || name.starts_with("video/") => BodyKind::Audio,
        "application/octet-stream" | "application/ogg" => BodyKind::Audio,
        "multipart/form-data" => BodyKind::Form,
        "text/plain" | "application/x-www-form-urlencoded" => BodyKind::Unnamed,
        name if name.contains("json") => BodyKind::Json,
        _ => BodyKind::Other,
    }
}

/// Returns the content type in lower case.
pub(in crate::http) fn text(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    String::from_utf8_lossy(value).to_ascii_lowercase()
}

/// Returns the error for a content type that a route does not accept.
pub(in crate::http) fn unsupported(headers: &HeaderMap, expected: &'static str) -> ApiError {
    ApiError::UnsupportedMediaType { found: text(headers), expected }
}

/// Checks that a body is JSON if its content type does not say so.
pub(in crate::http) fn check_unnamed(
    headers: &HeaderMap,
    body: &[u8],
    expected: &'static str,
) -> Result<(), ApiError> {
    let begins = body.trim_ascii_start().strip_prefix(super::json::BYTE_ORDER_MARK).unwrap_or(body);
    if kind(headers) == BodyKind::Unnamed && !begins.trim_ascii_start().starts_with(b"{") {
        return Err(unsupported(headers, expected));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_tell_what_a_body_is() {
        let cases = [
            ("", BodyKind::Json),
            ("application/json; charset=utf-8", BodyKind::Json),
            ("Application/Problem+JSON", BodyKind::Json),
            ("audio/wav", BodyKind::Audio),
            ("video/webm;codecs=opus", BodyKind::Audio),
            ("application/octet-stream", BodyKind::Audio),
            ("Multipart/Form-Data; boundary=x", BodyKind::Form),
            ("application/x-www-form-urlencoded", BodyKind::Unnamed),
            ("image/png", BodyKind::Other),
        ];
        for (text, expected) in cases {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, text.parse().unwrap())]);
            assert_eq!(kind(&headers), expected, "{text}");
        }
        assert_eq!(kind(&HeaderMap::new()), BodyKind::Json);
    }
}
