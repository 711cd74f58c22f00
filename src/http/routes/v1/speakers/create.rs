//! `POST /v1/speakers`: creates a speaker, and enrols voices if there are any.

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use super::enrol::{mask_names, to_enrol, voices_of};
use super::{EnrolErrors, collection, location, rules, show};
use crate::http::answer::created;
use crate::http::error::ApiError;
use crate::http::pages::document::example_recording;
use crate::http::request::bounded::Bounded;
use crate::http::request::call::{Call, Parse};
use crate::http::request::one_voice::{VOICE_PARTS, voices};
use crate::http::request::parts::{Received, Takes};
use crate::http::request::voice::{Voice, VoiceFields};
use crate::http::state::AppState;
use crate::http::store::{Change, write};
use crate::speakers::{Address, Details, Identifier, Metadata, Speaker, SpeakerName};
use crate::store::NewSpeaker;

/// Maximum number of voices of a new speaker.
const MAX_VOICES: usize = 1_024;

/// A speaker to create.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"id": "anna", "name": "Anna", "voices": [{"audio_base64": example_recording()}], "force": true}))]
pub(in crate::http) struct CreateRequest {
    /// The speaker's id: up to 64 letters, digits, `.`, `_` and `-`. The service creates one if it is missing.
    #[schema(value_type = Option<String>, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    id: Option<Identifier>,
    /// The speaker's name, up to 200 characters.
    #[schema(value_type = Option<String>, max_length = 200)]
    name: Option<SpeakerName>,
    /// The speaker's collection; `default` if missing.
    #[schema(value_type = Option<String>, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    collection: Option<Identifier>,
    /// A JSON object of up to 4 KiB, stored unchanged.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Metadata>,
    /// Recordings and embeddings to enrol. If one of them is rejected, the speaker is not created.
    #[schema(value_type = Option<Vec<VoiceFields>>)]
    voices: Option<Bounded<VoiceFields, MAX_VOICES>>,
    /// The model, by id or fingerprint.
    model: Option<String>,
    /// Whether to enrol voices even if they are too short, noisy, have several speakers or are unlike each other.
    force: Option<bool>,
}

/// A speaker to create, as parts of a form.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it describes a multipart form to OpenAPI")]
pub(in crate::http) struct CreateForm {
    /// Audio files to enrol. The part may be repeated.
    #[schema(value_type = Vec<String>, format = Binary, required = false)]
    file: Vec<u8>,
    /// Same as in the JSON request.
    #[schema(value_type = Option<String>, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", example = "anna")]
    id: Option<Identifier>,
    /// Same as in the JSON request.
    #[schema(example = "Anna", max_length = 200)]
    name: Option<String>,
    /// Same as in the JSON request.
    #[schema(value_type = Option<String>, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", example = "default")]
    collection: Option<Identifier>,
    /// Same as in the JSON request.
    #[schema(example = true)]
    force: Option<bool>,
}

/// Create a speaker and enrol voices.
///
/// The service checks the voices in order, each against the profile so far. If anything fails, it changes nothing.
/// Repeating the same request changes nothing and returns the existing speaker.
#[utoipa::path(post, operation_id = "create_speaker", path = "/v1/speakers", tag = "Speakers", security(("ApiKey" = []), ("Bearer" = [])),
    request_body(content((CreateRequest = "application/json"), (CreateForm = "multipart/form-data"))),
    responses(
        (status = 201, body = Speaker, description = "The new speaker",
            headers(("Location" = String, description = "The speaker's location, relative to this address"))),
        (status = 200, body = Speaker, description = "The existing speaker, which the same request has created before"),
        EnrolErrors,
    ),
)]
pub(in crate::http) async fn create(
    State(state): State<AppState>,
    Call { caller, admission, request: (request, voices) }: Call<(CreateRequest, Vec<Voice>)>,
) -> Result<Response, ApiError> {
    let collection = collection(&caller.key, request.collection)?;
    let voices = to_enrol(&admission, voices, |i| vec!["voices".into(), i.to_string()]).await?;
    let (model, name) = ((request.model.as_deref(), &collection), |i| format!("voices[{i}]"));
    let (model, voices) = voices_of(&state, (&caller, &admission), model, voices, name).await?;
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
    .map_err(|error| mask_names(error, &caller.key))?;
    let speaker = created_now.speaker;
    let location = location(&format!("speakers/{}", speaker.id), &speaker.collection);
    Ok(created(created_now.is_new.then_some(location), show(speaker, &caller.key)))
}

impl Parse for (CreateRequest, Vec<Voice>) {
    const TAKES: Takes = Takes::voices(VOICE_PARTS);
    const NEEDS_STORE: bool = true;

    fn parse(received: Received) -> Result<Self, ApiError> {
        voices(received, |request: &mut CreateRequest| request.voices.take().map(|Bounded(voices)| voices))
    }
}
