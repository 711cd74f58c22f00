//! JSON bodies of the routes under /v1, by serde, with errors in the shape of FastAPI's.

use axum::body::Bytes;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::http::error::{ApiError, FieldError};

/// What C#'s StreamWriter puts in front of UTF-8.
pub(in crate::http) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads a body; an error names the place of the first thing that is wrong.
pub(in crate::http) fn from_json<T: DeserializeOwned>(body: Bytes) -> Result<T, ApiError> {
    let body = without_line_breaks(body);
    let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&body);
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(FieldError::missing(&["body"], Value::Null).into());
    }
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| field_error(&error))?;
    deserializer.end().map_err(|error| malformed(&error))?;
    Ok(value)
}

/// Reads options that came as text, in a query or a form.
pub(in crate::http) fn from_options<T: DeserializeOwned>(
    options: serde_json::Map<String, Value>,
) -> Result<T, ApiError> {
    serde_path_to_error::deserialize(Value::Object(options)).map_err(|error| field_error(&error).into())
}

/// Turns line breaks into blanks. Outside of strings they mean the same; within one they are not JSON, but a shell puts them
/// there with `"$(base64 FILE)"` where that command breaks its lines.
pub(in crate::http) fn without_line_breaks(body: Bytes) -> Vec<u8> {
    // No copy: nobody else holds these bytes.
    let mut body = Vec::from(body);
    for byte in &mut body {
        *byte = if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte };
    }
    body
}

fn malformed(error: &serde_json::Error) -> FieldError {
    FieldError::malformed("json_invalid", format!("JSON decode error: {error}"))
}

fn field_error(error: &serde_path_to_error::Error<serde_json::Error>) -> FieldError {
    use serde_path_to_error::Segment;

    let inner = error.inner();
    if inner.is_syntax() || inner.is_eof() {
        return malformed(inner);
    }
    let mut loc = vec![Value::from("body")];
    for segment in error.path() {
        match segment {
            Segment::Seq { index } => loc.push((*index).into()),
            Segment::Map { key } => loc.push(key.as_str().into()),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    // Of a body of text, serde_json adds where in it.
    let msg = inner.to_string();
    let msg = msg.split(" at line ").next().unwrap_or_default().to_owned();
    let quoted = || msg.split('`').nth(1).unwrap_or_default().to_owned();
    if msg.starts_with("missing field") {
        loc.push(quoted().into());
        return FieldError { kind: "missing", loc, msg: "Field required".into(), input: Value::Null };
    }
    let kind = if msg.starts_with("unknown field") { "extra_forbidden" } else { "value_error" };
    FieldError { kind, loc, msg, input: Value::Null }
}
