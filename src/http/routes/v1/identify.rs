//! `POST /v1/identify`: identifies a speaker.

use std::time::Instant;

use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::VoiceErrors;
use crate::calibration::Criterion;
use crate::decisions::{self, DEFAULT_MARGIN, Identification, IdentifyCriteria, Side};
use crate::embedding::UnitEmbedding;
use crate::http::answer;
use crate::http::error::ApiError;
use crate::http::pages::document::example_recording;
use crate::http::request::call::{Call, Parse};
use crate::http::request::criterion::{criterion, not_met};
use crate::http::request::one_voice::{RecordingFields, VOICE_PARTS, one_voice};
use crate::http::request::parts::{Received, Takes};
use crate::http::request::voice::{Voice, VoiceFields};
use crate::http::routes::extract_embedding::RawRecording;
use crate::http::state::AppState;
use crate::http::store;
use crate::http::voices::{EmbeddedVoices, Voices};
use crate::pace::Pace;
use crate::speakers::Identifier;

/// Default number of candidates in a response.
const DEFAULT_TOP: usize = 5;

/// The name of the option for the error rate.
const RATE: &str = "max_false_identification_rate";

/// Maximum number of candidates in a response.
const MAX_TOP: usize = 100;

/// A voice to search for among enrolled speakers. If the body is a recording itself, the other fields are query
/// parameters.
#[derive(Deserialize, IntoParams, ToSchema)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
#[schema(example = json!({"voice": {"audio_base64": example_recording()}, "top": 3}))]
pub(in crate::http) struct IdentifyRequest {
    /// A recording, an embedding or an enrolled speaker. An enrolled speaker is excluded from the candidates.
    #[schema(value_type = VoiceFields)]
    #[param(ignore)]
    voice: Option<VoiceFields>,
    /// The collection to search; `default` if missing.
    #[schema(value_type = Option<String>, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    #[param(value_type = Option<String>, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    collection: Option<Identifier>,
    /// The number of candidates; 5 by default.
    #[schema(minimum = 1, maximum = 100)]
    #[param(minimum = 1, maximum = 100)]
    top: Option<usize>,
    /// How much more similar the best candidate must be than the second best; 0.05 by default.
    #[schema(minimum = 0, maximum = 2)]
    #[param(minimum = 0, maximum = 2)]
    margin: Option<f64>,
    /// The similarity that the best candidate must exceed.
    #[schema(minimum = -1, maximum = 1)]
    #[param(minimum = -1, maximum = 1)]
    threshold: Option<f64>,
    /// Instead of a threshold: the rate at which a search for a person who is not enrolled may name a speaker; 0.05 by
    /// default. The service derives a threshold from this rate, the number of searched speakers and the seconds of
    /// speech. It uses that threshold or the model's default threshold, whichever is higher.
    #[schema(minimum = 0, maximum = 1)]
    #[param(minimum = 0, maximum = 1)]
    max_false_identification_rate: Option<f64>,
    /// The model, by id or fingerprint.
    model: Option<String>,
}

/// A voice to search for, as a part of a form.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it describes a multipart form to OpenAPI")]
pub(in crate::http) struct IdentifyForm {
    /// The audio file.
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
    /// Same as in the JSON request.
    #[schema(value_type = Option<String>, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", example = "default")]
    collection: Option<Identifier>,
    /// Same as in the JSON request.
    #[schema(example = 3)]
    top: Option<usize>,
    /// Same as in the JSON request.
    #[schema(minimum = 0, maximum = 1)]
    max_false_identification_rate: Option<f64>,
}

/// The results for the segments of a recording.
#[derive(Serialize)]
struct SegmentsAnswer {
    results: Vec<SegmentOutcome>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum SegmentOutcome {
    Searched(Box<Identification>),
    Failed { index: usize, code: &'static str, detail: String },
}

/// Identify a speaker.
///
/// The service compares the voice with every speaker of the collection. It names the best candidate if that candidate is
/// above the threshold and ahead of the second best by the margin. The more speakers a collection has, the more often a
/// person who is not enrolled is misidentified as one of them.
#[utoipa::path(post, path = "/v1/identify", tag = "Speakers", security(("ApiKey" = []), ("Bearer" = [])),
    params(IdentifyRequest, RecordingFields),
    request_body(content((IdentifyRequest = "application/json"), (IdentifyForm = "multipart/form-data"), (RawRecording = "application/octet-stream"))),
    responses(
        (status = 200, body = Identification, description = "The decision and the candidates. For a recording with segments, the response has only a list `results`, with a decision and candidates for each segment",
            headers(("Server-Timing" = String, description = "The time of each stage: `queue`, `decode`, `preprocess`, `encode`."))),
        VoiceErrors,
    ),
)]
pub(in crate::http) async fn identify(
    State(state): State<AppState>,
    Call { caller, admission, request: (request, voice) }: Call<(IdentifyRequest, Voice)>,
) -> Result<Response, ApiError> {
    let collection = request.collection.clone().unwrap_or_else(Identifier::default_collection);
    caller.key.require_collection(&collection)?;
    let criteria = IdentifyCriteria {
        criterion: request.criterion()?,
        margin: request.margin.unwrap_or(DEFAULT_MARGIN),
        top: request.top.unwrap_or(DEFAULT_TOP),
    };
    let has_segments = voice.has_segments();
    let model = (request.model.as_deref(), Some(&collection));
    let voices = Voices::resolve(&state, model, vec![voice], |_| "voice".into()).await?;
    let embedded = voices.embed(&state, &caller, &admission).await.map_err(ApiError::without_param)?;
    let wanted = criteria.search(collection, embedded.speakers.first().copied());
    let (store, metrics) = (store::follow_store(&state).await?, state.metrics.clone());
    let (timings, audio_seconds) = (embedded.timings, embedded.audio_seconds);
    let body = admission.run(move || {
        let EmbeddedVoices { model, sides, .. } = embedded;
        let embeddings: Vec<UnitEmbedding> =
            sides.iter().filter_map(|(_, side)| Some(side.as_ref().ok()?.embedding.clone())).collect();
        let begun = Instant::now();
        let mut found = store.search_known(&embeddings, &wanted).into_iter();
        metrics.speakers.search_seconds.observe(begun.elapsed().as_secs_f64());
        let mut results = Vec::with_capacity(sides.len());
        for (index, (_, side)) in sides.into_iter().enumerate() {
            match side {
                Ok(Side { evidence, about, .. }) => {
                    let found = found.next().ok_or_else(|| ApiError::Internal("a search is lost".into()))?;
                    let identified = decisions::identify(
                        model.judge(),
                        &criteria,
                        model.id(),
                        &wanted.collection,
                        found,
                        &evidence,
                    );
                    let identified = identified.map_err(not_met(RATE))?;
                    metrics.speakers.identified.with_label_values(&[identified.reason.name()]).inc();
                    let index = has_segments.then_some(index);
                    results.push(SegmentOutcome::Searched(Box::new(Identification {
                        index,
                        audio: about.audio,
                        ..identified
                    })));
                }
                Err(error) if has_segments => {
                    let error = ApiError::from(error);
                    let (code, detail) = (error.code(), error.to_string());
                    results.push(SegmentOutcome::Failed { index, code, detail });
                }
                Err(error) => return Err(error.into()),
            }
        }
        match &results[..] {
            [SegmentOutcome::Searched(answer)] if !has_segments => answer::to_json(answer, Pace::UNBROKEN),
            _ => answer::to_json(&SegmentsAnswer { results }, Pace::UNBROKEN),
        }
    });
    Ok(answer::json_text(body.await??, &timings, audio_seconds))
}

impl Parse for (IdentifyRequest, Voice) {
    const TAKES: Takes = Takes::voices(VOICE_PARTS);
    const NEEDS_STORE: bool = true;

    fn parse(received: Received) -> Result<Self, ApiError> {
        IdentifyRequest::read(received)
    }
}

impl IdentifyRequest {
    fn read(received: Received) -> Result<(Self, Voice), ApiError> {
        let (request, voice) = one_voice(received, |request: &mut Self| request.voice.take())?;
        if request.top.is_some_and(|top| !(1..=MAX_TOP).contains(&top)) {
            return Err(ApiError::field("top", &format!("Input should be from 1 to {MAX_TOP}")));
        }
        if request.margin.is_some_and(|margin| !(0.0..=2.0).contains(&margin)) {
            return Err(ApiError::field("margin", "Input should be from 0 to 2"));
        }
        request.criterion()?;
        Ok((request, voice))
    }

    fn criterion(&self) -> Result<Criterion, ApiError> {
        criterion(self.threshold, self.max_false_identification_rate, RATE)
    }
}
