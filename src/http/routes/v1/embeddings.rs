//! `POST /v1/embeddings`: embeds many recordings, in the format of OpenAI's API.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::VoiceErrors;
use crate::embedder::{Embedded, EmbeddedVoice, Partial};
use crate::http::answer;
use crate::http::error::ApiError;
use crate::http::request::call::Call;
use crate::http::request::embeddings::{EmbeddingsForm, EmbeddingsOptions, EmbeddingsRequest, OnError};
use crate::http::request::model::resolve;
use crate::http::request::vector::Vector;
use crate::http::request::voice::VoiceRecording;
use crate::http::routes::extract_embedding::RawRecording;
use crate::http::state::AppState;
use crate::notation::milliseconds;
use crate::pipeline::PipelineError;
use crate::report::AudioReport;

/// Embeddings, in the order of the recordings.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct EmbeddingsAnswer {
    /// Always `list`.
    #[schema(example = "list")]
    object: &'static str,
    /// The fingerprint of weights and preprocessing.
    #[schema(example = "resemblyzer-0.1.4/39373b86")]
    model: String,
    data: Vec<EmbeddingAnswer>,
    /// Recordings that could not be embedded, if `on_error` is `report`, and segments without speech.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<EmbeddingFailure>,
    usage: Usage,
}

/// An embedding.
#[derive(Serialize, ToSchema)]
struct EmbeddingAnswer {
    /// Always `embedding`.
    #[schema(example = "embedding")]
    object: &'static str,
    /// The position of the recording or segment in the request.
    index: usize,
    /// The embedding with L2 norm 1, as numbers or base64 of little-endian `f32`.
    #[schema(value_type = Vec<f32>, example = json!([0.085, 0.0, 0.0694]))]
    embedding: Vector,
    /// The fingerprint of weights and preprocessing. Embeddings can be compared if their fingerprints are equal.
    model: String,
    /// The seconds of speech from which the embedding was computed.
    speech_seconds: f64,
    audio: AudioReport,
    /// The embeddings of single windows, if the request asks for them with `partials`.
    #[serde(skip_serializing_if = "Option::is_none")]
    partials: Option<Vec<PartialAnswer>>,
}

/// The embedding of a window.
#[derive(Serialize, ToSchema)]
struct PartialAnswer {
    /// The time of the window's first sample, in seconds of the recording.
    start: f64,
    /// The end of the window's last sample. The window may span pauses that were cut out.
    end: f64,
    #[schema(value_type = Vec<f32>, example = json!([0.085, 0.0, 0.0694]))]
    embedding: Vector,
}

/// A recording or segment that could not be embedded.
#[derive(Serialize, ToSchema)]
#[schema(as = EmbeddingError)]
struct EmbeddingFailure {
    index: usize,
    #[schema(example = "no_speech")]
    code: &'static str,
    detail: String,
}

/// The usage of a request.
#[derive(Serialize, ToSchema)]
struct Usage {
    /// Number of encoder windows.
    prompt_tokens: usize,
    /// Same as `prompt_tokens`.
    total_tokens: usize,
    /// Seconds of audio.
    audio_seconds: f64,
}

/// Embed recordings.
///
/// The body is JSON in the format of OpenAI's API, a form with one or more `file` parts, or one recording with the
/// options as query parameters.
#[utoipa::path(post, path = "/v1/embeddings", tag = "Voices", security(("ApiKey" = []), ("Bearer" = [])),
    params(EmbeddingsRequest),
    request_body(content((EmbeddingsRequest = "application/json"), (EmbeddingsForm = "multipart/form-data"), (RawRecording = "application/octet-stream"))),
    responses(
        (status = 200, body = EmbeddingsAnswer, description = "The embeddings, in the order of the recordings",
            headers(("Server-Timing" = String, description = "The time of each stage: `queue`, `decode`, `preprocess`, `encode`."))),
        VoiceErrors,
    ),
)]
pub(in crate::http) async fn embeddings(
    State(state): State<AppState>,
    Call { caller, admission, request: (options, recordings) }: Call<(
        EmbeddingsOptions,
        Vec<VoiceRecording>,
    )>,
) -> Result<Response, ApiError> {
    let model = resolve(state.embedder_in_hand()?, options.model.as_deref().into_iter())?.clone();
    if options.dimensions.is_some_and(|dimensions| dimensions != model.spec().dimension) {
        return Err(ApiError::Dimensions { dimension: model.spec().dimension });
    }
    let batch = admission.embed(&caller, &model, &options.wanted, recordings)?;
    let (outcomes, errors) = match options.on_error {
        OnError::Fail => {
            let all = batch.all(|i| format!("input[{i}]")).await?;
            (all.into_iter().enumerate().collect(), Vec::new())
        }
        OnError::Report => split(batch.outcomes().await)?,
    };
    let fingerprint = model.id().fingerprint().to_owned();
    let (timings, seconds) =
        answer::totals(outcomes.iter().map(|(_, embedded): &(usize, Embedded)| embedded));
    let has_partials = options.wanted.partials.is_some();
    let body = admission.run_at_pace(has_partials, move |pace| {
        answer::to_json(&EmbeddingsAnswer::new(fingerprint, outcomes, errors, &options)?, pace)
    });
    let body = body.await??;
    Ok(answer::json_text(body, &timings, seconds))
}

/// Separates the embedded recordings, with their positions, from the errors of the others.
#[allow(clippy::type_complexity, reason = "it is taken apart where it is made")]
fn split(
    outcomes: Vec<Result<Embedded, ApiError>>,
) -> Result<(Vec<(usize, Embedded)>, Vec<EmbeddingFailure>), ApiError> {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for (index, outcome) in outcomes.into_iter().enumerate() {
        match outcome {
            Ok(embedded) => good.push((index, embedded)),
            Err(error) if is_of_the_request(&error) => return Err(error),
            Err(error) => bad.push(EmbeddingFailure { index, code: error.code(), detail: error.to_string() }),
        }
    }
    Ok((good, bad))
}

/// Returns whether an error concerns the whole request instead of one recording.
fn is_of_the_request(error: &ApiError) -> bool {
    error.is_internal() || matches!(error, ApiError::Pipeline(PipelineError::TooManyPartials))
}

impl EmbeddingsAnswer {
    fn new(
        model: String,
        embedded: Vec<(usize, Embedded)>,
        mut errors: Vec<EmbeddingFailure>,
        options: &EmbeddingsOptions,
    ) -> Result<Self, ApiError> {
        let mut usage = Usage { prompt_tokens: 0, total_tokens: 0, audio_seconds: 0.0 };
        let mut data = Vec::new();
        for (place, embedded) in embedded {
            for (segment, voice) in embedded.voices.into_iter().enumerate() {
                let index = if options.has_segments { segment } else { place };
                match voice {
                    Ok(voice) => {
                        usage.prompt_tokens += voice.audio.windows;
                        usage.audio_seconds += voice.audio.duration_seconds;
                        data.push(EmbeddingAnswer::new(index, &model, voice, options));
                    }
                    Err(error) => {
                        let error = ApiError::from(error);
                        errors.push(EmbeddingFailure {
                            index,
                            code: error.code(),
                            detail: error.to_string(),
                        });
                    }
                }
            }
        }
        if let Some(first) = errors.first()
            && data.is_empty()
        {
            return Err(ApiError::NothingEmbedded { n: errors.len(), first: first.detail.clone() });
        }
        usage.total_tokens = usage.prompt_tokens;
        Ok(Self { object: "list", model, data, errors, usage })
    }
}

impl EmbeddingAnswer {
    fn new(index: usize, model: &str, voice: EmbeddedVoice, options: &EmbeddingsOptions) -> Self {
        let format = options.format;
        let partial = |Partial { seconds, embedding }| PartialAnswer {
            start: milliseconds(seconds.start),
            end: milliseconds(seconds.end),
            embedding: Vector { components: embedding, format },
        };
        Self {
            object: "embedding",
            index,
            embedding: Vector::new(voice.embedding.components(), format),
            model: model.to_owned(),
            speech_seconds: voice.audio.speech_seconds,
            audio: voice.audio,
            partials: options
                .wanted
                .partials
                .as_ref()
                .map(|_| voice.partials.into_iter().map(partial).collect()),
        }
    }
}
