//! What the fuzzers under `fuzz/` call: the parts of handlers that read bodies. Built with `--cfg fuzzing` alone.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use http_body::{Body as HttpBody, Frame};

use super::compare_embeddings::CompareRequest;
use super::extract_embedding::{ExtractRequest, without_line_breaks};
use super::upload::read_file_part;

/// Reads a body as `POST /extract-embedding` and as `POST /compare-embeddings` do, up to the recording and the
/// similarity. Whether each takes it.
pub fn read_json(body: &[u8]) -> (bool, bool) {
    let without_breaks = without_line_breaks(Bytes::copy_from_slice(body));
    let extract = ExtractRequest::parse(&without_breaks).and_then(|request| request.decode_audio());
    let compare = CompareRequest::parse(body).and_then(CompareRequest::similarity);
    (extract.is_ok(), compare.is_ok_and(|similarity| (-1.0..=1.0).contains(&similarity)))
}

/// Reads a form with the boundary `X`, arriving in pieces, as `POST /extract-embedding/upload` does: its file.
pub async fn read_form(pieces: VecDeque<Bytes>, max_bytes: usize) -> Option<Bytes> {
    let request = Request::post("/extract-embedding/upload")
        .header(CONTENT_TYPE, "multipart/form-data; boundary=X")
        .body(Body::new(Pieces(pieces)))
        .expect("the header is valid");
    read_file_part(request, max_bytes).await.ok()
}

struct Pieces(VecDeque<Bytes>);

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
    }
}
