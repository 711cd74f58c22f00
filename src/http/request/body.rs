//! Request bodies, read up to a limit.

use axum::body::{Body, Bytes};
use axum::extract::multipart::MultipartError;
use axum::extract::{FromRequest, Multipart, Request};
use axum::http::StatusCode;
use http_body::Body as HttpBody;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::http::error::{ApiError, FieldError};

/// Reads a body, unless it or its announced length is larger than the limit.
pub(in crate::http) async fn read(body: Body, max_bytes: usize) -> Result<Bytes, ApiError> {
    check_announced_length(&body, max_bytes)?;
    // Each piece is freed once it is here: collected first, the body would be in memory twice.
    let mut bytes = Vec::with_capacity(HttpBody::size_hint(&body).lower() as usize);
    let mut body = Limited::new(body, max_bytes);
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => bytes.extend_from_slice(frame.data_ref().map_or(&[], |data| data)),
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

/// Refuses a body whose announced length is over the limit.
pub(in crate::http) fn check_announced_length(body: &Body, max_bytes: usize) -> Result<(), ApiError> {
    if HttpBody::size_hint(body).lower() > max_bytes as u64 {
        return Err(ApiError::PayloadTooLarge { max_bytes });
    }
    Ok(())
}

/// The form in a body; reading it ends with an error at the limit.
pub(in crate::http) async fn form(request: Request, max_bytes: usize) -> Result<Multipart, ApiError> {
    check_announced_length(request.body(), max_bytes)?;
    let request = request.map(|body| Body::new(Limited::new(body, max_bytes)));
    Multipart::from_request(request, &()).await.map_err(|_| ApiError::MissingBoundary)
}

/// Why a form cannot be read.
pub(in crate::http) fn form_error(error: &MultipartError, max_bytes: usize) -> ApiError {
    match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::PayloadTooLarge { max_bytes },
        _ => FieldError::malformed("multipart_invalid", error.body_text()).into(),
    }
}
