//! `POST /v1/speakers`: a new speaker, enrolled at once if there are voices.

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use super::enrol::{masked, voices_of};
use super::{EnrolErrors, SpeakerAnswer, collection, location, rules, shown};
use crate::http::answer::created;
use crate::http::batch::{Caller, on_worker};
use crate::http::error::ApiError;
use crate::http::layers::auth::KeyHolder;
use crate::http::layers::time_limit::TimeLimit;
use crate::http::pages::document::example_recording;
use crate::http::request::bounded::Bounded;
use crate::http::request::one_voice::{ToEnrol, VOICE_PARTS, to_enrol, voices};
use crate::http::request::parts::Received;
use crate::http::request::voice::VoiceFields;
use crate::http::state::AppState;
use crate::http::store::{Change, write};
use crate::speakers::{Address, Details, Identifier, Metadata, SpeakerName};
use crate::store::NewSpeaker;

/// Voices of a new speaker at the most.
const MAX_VOICES: usize = 1_024;

/// A speaker to create.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"id": "anna", "name": "Anna", "voices": [{"audio_base64": example_recording()}], "force": true}))]
pub(in crate::http) struct CreateRequest {
    /// Up to 64 letters, digits, `.`, `_` and `-`; one is made if it is missing.
    #[schema(value_type = Option<String>, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    id: Option<Identifier>,
    /// What people call them: up to 200 characters.
    #[schema(value_type = Option<String>, max_length = 200)]
    name: Option<SpeakerName>,
    /// `default` if missing.
    #[schema(value_type = Option<String>, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    collection: Option<Identifier>,
    /// A JSON object of up to 4 KiB, kept as it is.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Metadata>,
    /// Recordings and embeddings to enrol: all of them, or there is no speaker.
    #[schema(value_type = Option<Vec<VoiceFields>>)]
    voices: Option<Bounded<VoiceFields, MAX_VOICES>>,
    /// The model, by id or fingerprint.
    model: Option<String>,
    /// Whether to enrol voices that are too short, unfit or unlike each other.
    force: Option<bool>,
}

/// A speaker to create, as parts of a form.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it describes a multipart form to OpenAPI")]
pub(in crate::http) struct CreateForm {
    /// Audio files to enrol, as many parts as wanted.
    #[schema(value_type = Vec<String>, format = Binary, required = false)]
    file: Vec<u8>,
    /// As in JSON.
    #[schema(value_type = Option<String>, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", example = "anna")]
    id: Option<Identifier>,
    /// As in JSON.
    #[schema(example = "Anna", max_length = 200)]
    name: Option<String>,
    /// As in JSON.
    #[schema(value_type = Option<String>, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", example = "default")]
    collection: Option<Identifier>,
    /// As in JSON.
    #[schema(example = true)]
    force: Option<bool>,
}

/// Create a speaker, and enrol voices.
///
/// Voices are checked in order against the profile so far. All is done, or nothing. The same request again changes nothing and is
/// answered with the speaker that is there.
#[utoipa::path(post, operation_id = "create_speaker", path = "/v1/speakers", tag = "Speakers", security(("ApiKey" = []), ("Bearer" = [])),
    request_body(content((CreateRequest = "application/json"), (CreateForm = "multipart/form-data"))),
    responses(
        (status = 201, body = SpeakerAnswer, description = "The new speaker",
            headers(("Location" = String, description = "Where it is, relative to this address"))),
        (status = 200, body = SpeakerAnswer, description = "The speaker that the same request has made before"),
        EnrolErrors,
    ),
)]
pub(in crate::http) async fn create(
    State(state): State<AppState>,
    key: Extension<KeyHolder>,
    time_limit: Extension<TimeLimit>,
    request: Request,
) -> Result<Response, ApiError> {
    state.store()?;
    let caller = Caller::new(key, time_limit);
    let received = Received::new(&state, request, VOICE_PARTS).await?;
    let (request, voices) = on_worker(&state, move || CreateRequest::read(received)).await??;
    let collection = collection(&caller.key, request.collection)?;
    let (model, voices) =
        voices_of(&state, &caller, request.model.as_deref(), voices, |i| format!("voices[{i}]")).await?;
    let rules = rules(&state, &model, request.force);
    let details =
        Details { name: request.name.unwrap_or_default(), metadata: request.metadata.unwrap_or_default() };
    let new = NewSpeaker { collection, id: request.id, details, voices };
    let created_now = write(
        &state,
        &caller.key,
        move |transaction| transaction.create(&new, &rules),
        |created| {
            let speaker = &created.speaker;
            let address = Address { collection: speaker.collection.clone(), id: speaker.id.clone() };
            created.is_new.then(|| Change { enrolled: speaker.enrolments, ..Change::new("create", &address) })
        },
    )
    .await
    .map_err(|error| masked(error, &caller.key))?;
    let speaker = created_now.speaker;
    let location = location(&format!("speakers/{}", speaker.id), &speaker.collection);
    Ok(created(created_now.is_new.then_some(location), shown(speaker, &caller.key)))
}

impl CreateRequest {
    fn read(received: Received) -> Result<(Self, Vec<ToEnrol>), ApiError> {
        let (request, voices) =
            voices(received, |request: &mut Self| request.voices.take().map(|Bounded(voices)| voices))?;
        Ok((request, to_enrol(voices, |i| vec!["voices".into(), i.to_string()])?))
    }
}
