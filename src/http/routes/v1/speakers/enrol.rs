//! `POST /v1/speakers/{id}/enrolments`: enrols another recording of a speaker.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{EnrolErrors, address, location, rules};
use crate::config::Right;
use crate::decisions::Side;
use crate::embedder::EmbedderModel;
use crate::http::admission::{Caller, RequestAdmission};
use crate::http::answer::created;
use crate::http::error::ApiError;
use crate::http::layers::auth::KeyHolder;
use crate::http::pages::document::example_recording;
use crate::http::request::call::{Call, Parse};
use crate::http::request::one_voice::{self, RecordingFields, ToEnrol, VOICE_PARTS, one_voice};
use crate::http::request::parts::{Received, Takes};
use crate::http::request::voice::{Voice, VoiceFields};
use crate::http::routes::extract_embedding::RawRecording;
use crate::http::state::AppState;
use crate::http::store::{Change, follow_store, write};
use crate::http::voices::Voices;
use crate::speakers::{self, Candidate, Enrolment, Identifier, SearchOptions};

/// Maximum number of other speakers in a response.
const MAX_SIMILAR: usize = 5;

/// A voice to enrol. If the body is a recording itself, the other fields are query parameters.
#[derive(Deserialize, IntoParams, ToSchema)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
#[schema(example = json!({"voice": {"audio_base64": example_recording()}, "force": true}))]
pub(in crate::http) struct EnrolRequest {
    /// A recording or an embedding.
    #[schema(value_type = VoiceFields)]
    #[param(ignore)]
    voice: Option<VoiceFields>,
    /// The speaker's collection; `default` if missing.
    #[schema(value_type = Option<String>, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    #[param(value_type = Option<String>, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    collection: Option<Identifier>,
    /// The model, by id or fingerprint.
    model: Option<String>,
    /// Whether to enrol a voice even if it is too short, noisy, has several speakers or is unlike the profile.
    force: Option<bool>,
}

/// A voice to enrol, as a part of a form.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it describes a multipart form to OpenAPI")]
pub(in crate::http) struct EnrolForm {
    /// The audio file.
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
    /// Same as in the JSON request.
    #[schema(value_type = Option<String>, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", example = "default")]
    collection: Option<Identifier>,
    /// Same as in the JSON request.
    #[schema(example = true)]
    force: Option<bool>,
}

/// An enrolment.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct EnrolAnswer {
    #[serde(flatten)]
    enrolment: Enrolment,
    /// Other speakers of the collection whose similarity to the voice is above the threshold. The voice may belong to one
    /// of them. Keys without the right `identify` do not receive this list.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    similar_speakers: Vec<SimilarSpeaker>,
}

/// Another speaker with a similar voice.
#[derive(Serialize, ToSchema)]
struct SimilarSpeaker {
    #[schema(value_type = String, example = "anne")]
    speaker: Identifier,
    #[schema(example = "Anne")]
    name: String,
    /// Cosine similarity to the enrolled voice.
    #[schema(example = 0.83)]
    similarity: f64,
}

/// Enrol a voice for a speaker.
///
/// The voice should have at least 3 seconds of speech by one person without noise, and should be similar to the earlier
/// enrolments. `force` overrides these rules. Enrolling the same voice again changes nothing and returns the existing
/// enrolment.
#[utoipa::path(post, operation_id = "enrol", path = "/v1/speakers/{id}/enrolments", tag = "Speakers", security(("ApiKey" = []), ("Bearer" = [])),
    params(("id" = String, Path, description = "The speaker", example = "anna"), EnrolRequest, RecordingFields),
    request_body(content((EnrolRequest = "application/json"), (EnrolForm = "multipart/form-data"), (RawRecording = "application/octet-stream"))),
    responses(
        (status = 201, body = EnrolAnswer, description = "The new enrolment",
            headers(("Location" = String, description = "The enrolment's location, relative to this address"))),
        (status = 200, body = EnrolAnswer, description = "The existing enrolment of the same voice"),
        EnrolErrors,
    ),
)]
pub(in crate::http) async fn enrol(
    State(state): State<AppState>,
    Path(id): Path<String>,
    Call { caller, admission, request: (request, voice) }: Call<(EnrolRequest, Voice)>,
) -> Result<Response, ApiError> {
    let address = address(&caller.key, &id, request.collection)?;
    // With embeddings of its choice, a client could find out a profile from the similarities.
    let may_probe = caller.key.may(Right::Read) || !matches!(voice, Voice::Embedding(_));
    let voices = to_enrol(&admission, vec![voice], |_| vec!["voice".into()]).await?;
    let model = (request.model.as_deref(), &address.collection);
    let (model, voices) = voices_of(&state, (&caller, &admission), model, voices, |_| "voice".into()).await?;
    let [voice] = <[_; 1]>::try_from(voices).map_err(|_| ApiError::Internal("a voice is lost".into()))?;
    let (rules, probe, logged) =
        (rules(&state, &model, request.force), voice.embedding.clone(), Change::new("enrol", &address));
    let collection = address.collection.clone();
    let enrolled = write(
        &state,
        &caller.key,
        move |transaction| transaction.enrol(&address, &voice, &rules),
        move |enrolled| {
            let enrolment = Some(enrolled.enrolment.id.clone());
            enrolled.is_new.then_some(Change { enrolment, enrolled: 1, ..logged })
        },
    )
    .await
    .map_err(|error| mask_names(if may_probe { error } else { error.without_similarities() }, &caller.key))?;
    let mut enrolment = enrolled.enrolment;
    if !may_probe {
        enrolment.similarity_to_profile = None;
    }
    let mut similar_speakers = Vec::new();
    if caller.key.may(Right::Identify) {
        let wanted =
            SearchOptions { collection: collection.clone(), top: MAX_SIMILAR, except: Some(enrolled.key) };
        // The voice is enrolled, even if the search fails.
        let found = match follow_store(&state).await {
            Ok(store) => admission.run(move || store.search_known(&[probe], &wanted)).await,
            Err(error) => Err(error),
        };
        let is_above = |candidate: &Candidate| candidate.similarity > rules.threshold;
        let candidates = found.into_iter().flatten().flat_map(|found| found.candidates).filter(is_above);
        similar_speakers.extend(
            candidates.map(|Candidate { speaker, name, similarity, .. }| SimilarSpeaker {
                speaker,
                name,
                similarity,
            }),
        );
    }
    let location = enrolled.is_new.then(|| location(&format!("enrolments/{}", enrolment.id), &collection));
    Ok(created(location, Json(EnrolAnswer { enrolment, similar_speakers })))
}

impl Parse for (EnrolRequest, Voice) {
    const TAKES: Takes = Takes::voices(VOICE_PARTS);
    const NEEDS_STORE: bool = true;

    fn parse(received: Received) -> Result<Self, ApiError> {
        one_voice(received, |request: &mut EnrolRequest| request.voice.take())
    }
}

/// Adds digests to voices to enrol. A repeated voice is recognised by its digest. `name` returns the location of each
/// voice in the request.
pub(super) async fn to_enrol(
    admission: &RequestAdmission,
    voices: Vec<Voice>,
    name: impl Fn(usize) -> Vec<String> + Send + 'static,
) -> Result<Vec<ToEnrol>, ApiError> {
    admission.run(move || one_voice::to_enrol(voices, name)).await?
}

/// Embeds voices to enrol. Also returns the model that embeds them.
pub(super) async fn voices_of(
    state: &AppState,
    (caller, admission): (&Caller, &RequestAdmission),
    (model, collection): (Option<&str>, &Identifier),
    voices: Vec<ToEnrol>,
    name: impl Fn(usize) -> String,
) -> Result<(Arc<EmbedderModel>, Vec<speakers::NewVoice>), ApiError> {
    let (voices, digests): (Vec<_>, Vec<_>) = voices.into_iter().map(|one| (one.voice, one.digest)).unzip();
    let voices = Voices::resolve(state, (model, Some(collection)), voices, name).await?;
    let mut embedded = voices.embed(state, caller, admission).await?;
    let voice = |(digest, side): (_, Side)| speakers::NewVoice {
        digest,
        embedding: side.embedding,
        speech_seconds: side.evidence.speech_seconds(),
        warnings: side.warnings,
    };
    let voices = digests.into_iter().zip(embedded.take_all()?).map(voice).collect();
    Ok((embedded.model, voices))
}

/// Removes the name of another speaker from the error, unless the key may know it.
pub(super) fn mask_names(error: ApiError, key: &KeyHolder) -> ApiError {
    if key.may(Right::Read) || key.may(Right::Identify) { error } else { error.without_names() }
}
