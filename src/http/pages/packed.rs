//! Compressed files of pages, which are decompressed for clients that do not accept gzip.

use std::io::{Read, Write};

use axum::extract::Request;
use axum::http::HeaderValue;
use axum::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, VARY};
use axum::middleware::Next;
use axum::response::Response;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use http_body_util::BodyExt;

use crate::http::error::ApiError;

/// Compresses a file.
pub(super) fn pack(file: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(file).and_then(|()| packed.finish()).expect("a vector takes all bytes")
}

/// Decompresses a file for a client that does not accept gzip, such as curl. Browsers receive the compressed file unchanged.
pub(super) async fn unpack_unless_accepted(request: Request, next: Next) -> Result<Response, ApiError> {
    let encodings = request.headers().get(ACCEPT_ENCODING);
    let accepts_gzip = encodings.is_some_and(|v| v.as_bytes().windows(4).any(|word| word == b"gzip"));
    let mut response = next.run(request).await;
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept-encoding"));
    if accepts_gzip || !response.headers().contains_key(CONTENT_ENCODING) {
        return Ok(response);
    }
    let (mut parts, body) = response.into_parts();
    parts.headers.remove(CONTENT_ENCODING);
    parts.headers.remove(CONTENT_LENGTH);
    let failed = |e: &dyn std::fmt::Display| ApiError::Internal(format!("a page cannot be unpacked: {e}"));
    let packed = body.collect().await.map_err(|e| failed(&e))?.to_bytes();
    let unpacked = tokio::task::spawn_blocking(move || unpack(&packed)).await.map_err(|e| failed(&e))?;
    Ok(Response::from_parts(parts, unpacked.map_err(|e| failed(&e))?.into()))
}

fn unpack(packed: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut unpacked = Vec::new();
    GzDecoder::new(packed).read_to_end(&mut unpacked)?;
    Ok(unpacked)
}
