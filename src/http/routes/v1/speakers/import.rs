//! `POST /v1/import`: merges an export with the existing speakers.

use std::fs::File;
use std::io::Write;

use axum::extract::{Request, State};
use axum::{Extension, Json};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Deserialize;
use utoipa::IntoParams;

use super::StoreErrors;
use crate::embedding::ModelId;
use crate::http::error::{ApiError, FieldError};
use crate::http::layers::auth::KeyHolder;
use crate::http::layers::body_memory::MaxBodyBytes;
use crate::http::layers::time_limit::TimeLimit;
use crate::http::request::body::check_announced_length;
use crate::http::request::parts::options_of_query;
use crate::http::state::AppState;
use crate::http::store::{Change, blocking, write};
use crate::store::{CheckedImport, Conflict, ImportRules, Imported, StoreError};

/// Number of bytes that are written to the file at once.
const PIECE_BYTES: usize = 1 << 20;

/// The treatment of conflicts and of unknown models.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct ImportQuery {
    /// What to do with speakers that already exist. `fail` (the default) imports nothing, `skip` leaves them unchanged,
    /// and `replace` replaces them with the imported speakers.
    #[param(value_type = Option<String>, pattern = "^(fail|skip|replace)$", example = "fail", nullable = false)]
    conflict: Option<Conflict>,
    /// What to do with enrolments of models that are not loaded. `refuse` (the default) rejects the import, and `keep`
    /// stores them, but searches do not use them.
    #[param(value_type = Option<String>, pattern = "^(refuse|keep)$", example = "refuse", nullable = false)]
    unknown_models: Option<UnknownModelsOption>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum UnknownModelsOption {
    Refuse,
    Keep,
}

/// Import speakers from an export.
///
/// The service imports everything or nothing, and an error names the line that caused it. Searches continue during the
/// import. Other changes wait while the service merges the speakers.
#[utoipa::path(post, operation_id = "import_speakers", path = "/v1/import", tag = "Speakers", security(("ApiKey" = []), ("Bearer" = [])),
    params(ImportQuery),
    request_body(content = String, content_type = "application/x-ndjson", description = "Lines of JSON, as `/v1/export` returns them"),
    responses((status = 200, body = inline(Imported), description = "A summary of the import"), StoreErrors),
)]
pub(in crate::http) async fn import(
    State(state): State<AppState>,
    Extension(key): Extension<KeyHolder>,
    Extension(time_limit): Extension<TimeLimit>,
    request: Request,
) -> Result<Json<Imported>, ApiError> {
    let options: ImportQuery = options_of_query(request.uri())?;
    let conflict = options.conflict.unwrap_or_default();
    let keeps_unknown = matches!(options.unknown_models, Some(UnknownModelsOption::Keep));
    let loaded: Vec<ModelId> =
        state.embedder_in_hand()?.models().iter().map(|model| model.id().clone()).collect();
    let max_speakers = state.store()?.max_speakers();
    let permit = state.transfers.clone().try_acquire_owned().map_err(|_| ApiError::Overloaded)?;
    let file = receive(&state, &time_limit, request).await?;
    let holder = key.clone();
    let checked = blocking(move || {
        let is_loaded = |model: &str| loaded.iter().any(|loaded| loaded.fingerprint() == model);
        let rules = ImportRules {
            takes_model: &|model| keeps_unknown || is_loaded(model),
            may_use: &|collection| holder.require_collection(collection).is_ok(),
            max_speakers,
        };
        CheckedImport::from_file(file, &rules)
    });
    let mut checked = checked.await??;
    let imported = write(
        &state,
        &key,
        move |transaction| {
            // The file takes disk space until the import ends, even if the client has disconnected.
            let _permit = permit;
            transaction.import(&mut checked, conflict)
        },
        |imported| {
            let enrolled = imported.enrolments;
            Some(Change { enrolled, ..Change::for_many("import", None, imported.speakers) })
        },
    );
    Ok(Json(imported.await?))
}

/// Stores a body in a file as it arrives. Each piece extends the time limit.
async fn receive(state: &AppState, time_limit: &TimeLimit, request: Request) -> Result<File, ApiError> {
    let max_bytes = MaxBodyBytes::for_request(&request)?;
    check_announced_length(request.body(), max_bytes)?;
    let store = state.store()?;
    let unavailable = |error: std::io::Error| {
        ApiError::from(StoreError::Unavailable {
            reason: format!("an import cannot be kept in a file: {error}"),
        })
    };
    let mut file = blocking(move || store.temporary_file()).await?.map_err(unavailable)?;
    let mut body = Limited::new(request.into_body(), max_bytes);
    let mut piece: Vec<u8> = Vec::with_capacity(PIECE_BYTES);
    let mut n_bytes = 0;
    loop {
        let frame = match body.frame().await {
            Some(Ok(frame)) => Some(frame),
            None => None,
            Some(Err(error)) if error.is::<LengthLimitError>() => {
                return Err(ApiError::PayloadTooLarge { max_bytes });
            }
            Some(Err(_)) => {
                let reason = "The request body ended early".into();
                return Err(FieldError::malformed("body_incomplete", reason).into());
            }
        };
        piece.extend_from_slice(frame.as_ref().and_then(|frame| frame.data_ref()).map_or(&[], |data| data));
        if piece.len() >= PIECE_BYTES || frame.is_none() {
            n_bytes += piece.len();
            time_limit.extend_for_bytes(piece.len());
            let full = std::mem::replace(&mut piece, Vec::with_capacity(PIECE_BYTES));
            file = blocking(move || file.write_all(&full).map(|()| file)).await?.map_err(unavailable)?;
        }
        if frame.is_none() {
            // Checking and merging the file takes less time than the limit allows for receiving it.
            time_limit.extend_for_bytes(n_bytes);
            return Ok(file);
        }
    }
}
