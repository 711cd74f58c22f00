//! Reads request bodies up to a limit.

use axum::body::{Body, Bytes};
use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{FromRequest, Multipart, Request};
use axum::http::StatusCode;
use http_body::Body as HttpBody;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::http::error::{ApiError, FieldError};

/// Reads a body, unless its actual or announced length is above the limit.
pub(in crate::http) async fn read(body: Body, max_bytes: usize) -> Result<Bytes, ApiError> {
    check_announced_length(&body, max_bytes)?;
    let announced = HttpBody::size_hint(&body).lower() as usize;
    // Each piece is freed after it has been copied. Collecting all pieces first would hold the body in memory twice.
    let mut bytes = Vec::new();
    let mut body = Limited::new(body, max_bytes);
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => {
                let data = frame.data_ref().map_or(&[][..], |data| data);
                reserve(&mut bytes, data.len(), announced)?;
                bytes.extend_from_slice(data);
            }
            Err(error) if error.is::<LengthLimitError>() => {
                return Err(ApiError::PayloadTooLarge { max_bytes });
            }
            Err(_) => {
                let reason = "The request body ended early".into();
                return Err(FieldError::malformed("body_incomplete", reason).into());
            }
        }
    }
    Ok(bytes.into())
}

/// Makes room for more bytes. Doubles the capacity up to the announced length, which takes no memory until the bytes arrive.
fn reserve(bytes: &mut Vec<u8>, more: usize, announced: usize) -> Result<(), ApiError> {
    let needed = bytes.len() + more;
    if needed <= bytes.capacity() {
        return Ok(());
    }
    let doubled = (2 * bytes.capacity()).max(MIN_RESERVED_BYTES);
    let wanted = if announced >= needed { doubled.min(announced) } else { doubled }.max(needed);
    bytes.try_reserve_exact(wanted - bytes.len()).map_err(|_| ApiError::Overloaded)
}

/// Rejects a body whose announced length is above the limit.
pub(in crate::http) fn check_announced_length(body: &Body, max_bytes: usize) -> Result<(), ApiError> {
    if HttpBody::size_hint(body).lower() > max_bytes as u64 {
        return Err(ApiError::PayloadTooLarge { max_bytes });
    }
    Ok(())
}

/// Returns the form in a body. Reading it fails beyond the limit.
pub(in crate::http) async fn form(request: Request, max_bytes: usize) -> Result<Multipart, ApiError> {
    check_announced_length(request.body(), max_bytes)?;
    let request = request.map(|body| Body::new(Limited::new(body, max_bytes)));
    Multipart::from_request(request, &()).await.map_err(|_| ApiError::MissingBoundary)
}

/// Bytes that are reserved for a body at first.
const MIN_RESERVED_BYTES: usize = 64 << 10;

/// Maximum size of an option in a form, in bytes.
pub(in crate::http) const MAX_OPTION_BYTES: usize = 64 << 10;

/// Maximum number of parts in a form. No route accepts as many voices.
pub(in crate::http) const MAX_PARTS: usize = 4_096;

/// Rejects a form with more than [`MAX_PARTS`].
pub(in crate::http) fn check_part_count(n_parts: usize) -> Result<(), ApiError> {
    if n_parts > MAX_PARTS {
        let msg = format!("The form has more than {MAX_PARTS} parts");
        return Err(FieldError::new(&["body"], "value_error", &msg).into());
    }
    Ok(())
}

/// Returns the text of an option, or `None` if it is longer than [`MAX_OPTION_BYTES`]. Keeps no more than that in memory.
pub(in crate::http) async fn option_text(part: &mut Field<'_>) -> Result<Option<String>, MultipartError> {
    let mut text = Vec::new();
    while let Some(piece) = part.chunk().await? {
        if text.len() + piece.len() > MAX_OPTION_BYTES {
            return Ok(None);
        }
        text.extend_from_slice(&piece);
    }
    Ok(Some(String::from_utf8_lossy(&text).into_owned()))
}

/// Returns the error for a form that cannot be read.
pub(in crate::http) fn form_error(error: &MultipartError, max_bytes: usize) -> ApiError {
    match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::PayloadTooLarge { max_bytes },
        _ => FieldError::malformed("multipart_invalid", error.body_text()).into(),
    }
}
