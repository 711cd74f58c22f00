//! Entry points for fuzzers and benchmarks: the parts of handlers that read and write bodies. They need the feature
//! `internals`.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use http_body::{Body as HttpBody, Frame};

use super::layers::body_memory::MaxBodyBytes;
use super::request::parts::Received;
use super::request::recording::IN_FORM;
use super::request::voice::VoiceRecording;
use super::routes::compare_embeddings::CompareRequest;
use super::routes::extract_answer::ExtractResponse;
use crate::embedder::{EmbeddedVoice, Timings};
use crate::embedding::{Embedding, ModelId};
use crate::models::resemblyzer;
use crate::report::AudioReport;

/// Reads a body as `POST /extract-embedding` and as `POST /compare-embeddings` do, up to the recording and the
/// similarity. Returns whether each route accepts the body.
pub fn read_json(body: &[u8]) -> (bool, bool) {
    let recording = read_recording(Bytes::copy_from_slice(body));
    let spec = resemblyzer::spec();
    let model = ModelId::new(spec.id, spec.release, spec.dimension);
    let compare = CompareRequest::parse(body).and_then(|request| request.similarity(&model));
    (recording.is_some(), compare.is_ok_and(|similarity| (-1.0..=1.0).contains(&similarity)))
}

/// Reads a form with the boundary `X` that arrives in pieces, as `POST /extract-embedding/upload` does. Returns its file.
pub async fn read_upload(pieces: VecDeque<Bytes>, max_bytes: usize) -> Option<Bytes> {
    let request = Request::post("/extract-embedding/upload")
        .header(CONTENT_TYPE, "multipart/form-data; boundary=X")
        .extension(MaxBodyBytes::new(max_bytes))
        .body(Body::new(TestPieces(pieces)))
        .expect("the header is valid");
    file_of(Received::new(request, &IN_FORM).await.ok()?)
}

/// Returns the recording in a body, as `POST /extract-embedding` finds it, or `None` if there is none.
pub fn read_recording(body: Bytes) -> Option<Bytes> {
    file_of(Received::Json(body))
}

fn file_of(received: Received) -> Option<Bytes> {
    VoiceRecording::lenient(received).ok()?.source.unpack().ok()
}

/// Returns the response to a recording.
pub fn write_answer(embedding: Embedding, audio: AudioReport) -> Response {
    let voice = EmbeddedVoice { embedding, audio, partials: Vec::new() };
    ExtractResponse::answer(&voice, &Timings::default())
}

struct TestPieces(VecDeque<Bytes>);

impl HttpBody for TestPieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
    }
}
