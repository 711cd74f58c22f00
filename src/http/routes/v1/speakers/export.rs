//! `GET /v1/export`: exports all speakers with their embeddings.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::http::{Method, Uri};
use axum::response::{IntoResponse, Response};
use futures_util::stream::poll_fn;
use serde::Deserialize;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Sender, channel};
use tracing::Span;
use utoipa::IntoParams;

use super::StoreErrors;
use crate::http::error::ApiError;
use crate::http::layers::auth::KeyHolder;
use crate::http::request::parts::options_of_query;
use crate::http::state::AppState;
use crate::http::store::{Change, follow_store};
use crate::speakers::Identifier;

/// The media type of exports and imports.
pub(in crate::http) const NDJSON: &str = "application/x-ndjson";

/// Number of bytes that are sent at once.
const PIECE_BYTES: usize = 64 << 10;

/// Maximum number of pieces that wait to be sent.
const PIECES: usize = 8;

/// Maximum time that a client may take to accept a piece.
const PATIENCE: Duration = Duration::from_secs(30);

/// Interval between checks whether the client accepts more.
const PAUSE: Duration = Duration::from_millis(5);

/// The speakers to export.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct ExportQuery {
    /// The collection; all collections that the key may use if missing.
    #[param(value_type = Option<String>, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", example = "default", nullable = false)]
    collection: Option<Identifier>,
}

/// Export speakers with all enrolments and their embeddings.
///
/// The response is lines of JSON. The first line contains the format and the models. Each of the following lines contains
/// a speaker. The last line is `{"end":true,"speakers":N}`, and an export without it is incomplete. The export is a
/// snapshot of one moment. Other requests may change speakers while it is sent.
#[utoipa::path(get, operation_id = "export_speakers", path = "/v1/export", tag = "Speakers", security(("ApiKey" = []), ("Bearer" = [])),
    params(ExportQuery),
    responses((status = 200, body = String, content_type = "application/x-ndjson", description = "Lines of JSON"), StoreErrors),
)]
pub(in crate::http) async fn export(
    State(state): State<AppState>,
    Extension(key): Extension<KeyHolder>,
    method: Method,
    uri: Uri,
) -> Result<Response, ApiError> {
    let ExportQuery { collection } = options_of_query(&uri)?;
    let store = state.store()?;
    if let Some(collection) = &collection {
        key.require_collection(collection)?;
    }
    // If the store cannot be read at all, the status reports this.
    follow_store(&state).await?;
    let headers = [(CONTENT_TYPE, NDJSON), (CONTENT_DISPOSITION, "attachment; filename=\"speakers.ndjson\"")];
    if method == Method::HEAD {
        return Ok(headers.into_response());
    }
    let permit = state.transfers.clone().try_acquire_owned().map_err(|_| ApiError::Overloaded)?;
    let (sender, mut pieces) = channel(PIECES);
    let span = Span::current();
    tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let mut out = ExportPieces { sender, piece: Vec::with_capacity(PIECE_BYTES) };
        let may_use = |collection: &Identifier| key.require_collection(collection).is_ok();
        let exported = store.export(collection.as_ref(), &may_use, &mut out);
        span.in_scope(|| match exported {
            Ok(speakers) => Change::for_many("export", collection, speakers).log(&key.holder.key.name),
            Err(error) => {
                tracing::warn!(%error, "an export has ended early");
                // The error shows the client that the response is cut off.
                let _ = out.send(Err(io::Error::other("the export has ended early")));
            }
        });
    });
    let body = Body::from_stream(poll_fn(move |context| pieces.poll_recv(context)));
    Ok((headers, body).into_response())
}

/// Writes to a client, and waits for it up to [`PATIENCE`].
struct ExportPieces {
    sender: Sender<io::Result<Bytes>>,
    piece: Vec<u8>,
}

impl ExportPieces {
    fn send(&self, piece: io::Result<Bytes>) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let mut waiting = piece;
        loop {
            waiting = match self.sender.try_send(waiting) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Full(piece)) if Instant::now() < deadline => piece,
                Err(TrySendError::Full(_)) => return Err(io::ErrorKind::TimedOut.into()),
                Err(TrySendError::Closed(_)) => return Err(io::ErrorKind::BrokenPipe.into()),
            };
            std::thread::sleep(PAUSE);
        }
    }
}

impl Write for ExportPieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = bytes.len().min(PIECE_BYTES - self.piece.len());
        self.piece.extend_from_slice(&bytes[..n]);
        if self.piece.len() == PIECE_BYTES {
            self.flush()?;
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE_BYTES));
        self.send(Ok(piece.into()))
    }
}
