//! `POST /v1/similarities`: compares every voice with every other.

use std::fmt::Write;

use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use ndarray::Array2;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::VoiceErrors;
use crate::audio::Channel;
use crate::compare::{clusters, similarity_matrix};
use crate::decisions::Side;
use crate::http::answer;
use crate::http::error::{ApiError, FieldError};
use crate::http::pages::document::example_recording;
use crate::http::request::bounded::Bounded;
use crate::http::request::call::{Call, Parse};
use crate::http::request::json;
use crate::http::request::one_voice::VOICE_PARTS;
use crate::http::request::parts::{Received, Takes};
use crate::http::request::threshold::check_threshold;
use crate::http::request::vector::EncodingFormat;
use crate::http::request::voice::{ChannelName, Voice, VoiceFields};
use crate::http::state::AppState;
use crate::http::voices::Voices;
use crate::notation::base64_of;
use crate::pace::{Cancelled, Pace};
use crate::report::AudioReport;

/// Maximum number of voices in a request.
const MAX_VOICES: usize = 2_000;

/// Voices to compare.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"voices": [{"audio_base64": example_recording()}, {"audio_base64": example_recording()}], "clusters": true}))]
pub(in crate::http) struct SimilaritiesRequest {
    /// Up to 64 recordings or 2,000 embeddings.
    #[schema(value_type = Vec<VoiceFields>, min_items = 1, max_items = 2000)]
    voices: Option<Bounded<VoiceFields, MAX_VOICES>>,
    /// Names of the voices; their positions if missing.
    #[schema(value_type = Option<Vec<String>>)]
    labels: Option<Bounded<String, MAX_VOICES>>,
    /// Whether to group voices whose similarity is above the threshold.
    clusters: Option<bool>,
    /// The format of the matrix.
    encoding_format: Option<EncodingFormat>,
    /// The model for recordings, by id or fingerprint.
    model: Option<String>,
    /// Mean similarity above which groups are merged; the model's default threshold if missing.
    #[schema(minimum = -1, maximum = 1)]
    threshold: Option<f64>,
    /// The channel of all recordings in a form.
    #[schema(ignore)]
    channel: Option<ChannelName>,
}

/// Voices to compare, as parts of a form.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it describes a multipart form to OpenAPI")]
pub(in crate::http) struct SimilaritiesForm {
    /// The audio files. The part may be repeated.
    #[schema(value_type = Vec<String>, format = Binary, min_items = 1)]
    file: Vec<u8>,
    /// Same as in the JSON request.
    #[schema(example = true)]
    clusters: Option<bool>,
}

/// The similarities of voices.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it is written by hand, to write the matrix once")]
pub(in crate::http) struct SimilaritiesAnswer {
    labels: Vec<String>,
    /// The symmetric matrix of cosine similarities with six decimals, or base64 of little-endian `f32`, row by row.
    #[schema(value_type = Vec<Vec<f32>>, example = json!([[1.0, 0.87], [0.87, 1.0]]))]
    matrix: Vec<Vec<f32>>,
    /// Groups of voices, by their positions.
    clusters: Option<Vec<Vec<usize>>>,
    /// The threshold for groups.
    #[schema(example = 0.75)]
    threshold: f64,
    /// The fingerprint of weights and preprocessing.
    #[schema(example = "resemblyzer-0.1.4/39373b86")]
    model: String,
    /// The properties of each recording; null for voices that are not recordings.
    audio: Vec<Option<AudioReport>>,
}

/// Number of voices that one token of a key's rate limit pays for.
const VOICES_OF_A_TOKEN: usize = 100;

/// Compare voices with each other.
#[utoipa::path(post, path = "/v1/similarities", tag = "Voices", security(("ApiKey" = []), ("Bearer" = [])),
    request_body(content((SimilaritiesRequest = "application/json"), (SimilaritiesForm = "multipart/form-data"))),
    responses(
        (status = 200, body = SimilaritiesAnswer, description = "The matrix of similarities",
            headers(("Server-Timing" = String, description = "The time of each stage: `queue`, `decode`, `preprocess`, `encode`."))),
        VoiceErrors,
    ),
)]
pub(in crate::http) async fn similarities(
    State(state): State<AppState>,
    Call { caller, admission, request: (request, voices) }: Call<(SimilaritiesRequest, Vec<Voice>)>,
) -> Result<Response, ApiError> {
    let n_voices = voices.len();
    let voices =
        Voices::resolve(&state, (request.model.as_deref(), None), voices, |i| format!("voices[{i}]"));
    let voices = voices.await?;
    voices.require_rights(&caller.key)?;
    // The size of a matrix grows with the square of its number of voices, so a large matrix counts as several requests.
    caller.key.take_more_tokens(n_voices / VOICES_OF_A_TOKEN)?;
    let mut embedded = voices.embed(&state, &caller, &admission).await?;
    let (sides, model) = (embedded.take_all()?, embedded.model);
    let answer = Answer {
        labels: request
            .labels
            .map_or_else(|| (0..sides.len()).map(|i| i.to_string()).collect(), |Bounded(labels)| labels),
        threshold: request.threshold.unwrap_or(model.spec().threshold.similarity),
        model: model.id().fingerprint().to_owned(),
        wants_clusters: request.clusters == Some(true),
        format: request.encoding_format.unwrap_or_default(),
    };
    let is_large = n_voices > VOICES_OF_A_TOKEN;
    let body = admission.run_at_pace(is_large, move |pace| answer.write(&sides, pace)).await??;
    Ok(answer::json_text(body.into_bytes(), &embedded.timings, embedded.audio_seconds))
}

impl Parse for (SimilaritiesRequest, Vec<Voice>) {
    const TAKES: Takes = Takes::voices(VOICE_PARTS);

    fn parse(received: Received) -> Result<Self, ApiError> {
        SimilaritiesRequest::read(received)
    }
}

impl SimilaritiesRequest {
    fn read(received: Received) -> Result<(Self, Vec<Voice>), ApiError> {
        let (request, voices) = match received {
            Received::Json(body) => Self::from_json(body)?,
            Received::Parts { files, options } => {
                let request: Self = json::from_options(options)?;
                let channel = request.channel.as_ref().map_or(Channel::Mix, |ChannelName(channel)| *channel);
                let voice = |(i, part)| Voice::from_part(part, &["voices", &format!("{i}")], channel);
                let voices = files.into_iter().enumerate().map(voice).collect::<Result<Vec<_>, _>>()?;
                (request, voices)
            }
        };
        request.check(&voices)?;
        Ok((request, voices))
    }

    fn from_json(body: Bytes) -> Result<(Self, Vec<Voice>), ApiError> {
        let mut request: Self = json::from_json(body)?;
        if request.channel.is_some() {
            let msg = "A voice has its own channel";
            return Err(FieldError::new(&["body", "channel"], "extra_forbidden", msg).into());
        }
        let Some(Bounded(voices)) = request.voices.take() else {
            return Err(FieldError::missing(&["body", "voices"], Value::Null).into());
        };
        let check = |(i, voice): (usize, VoiceFields)| voice.check(&["voices", &i.to_string()]);
        Ok((request, voices.into_iter().enumerate().map(check).collect::<Result<Vec<_>, _>>()?))
    }

    fn check(&self, voices: &[Voice]) -> Result<(), ApiError> {
        if self.voices.is_some() {
            return Err(ApiError::field(
                "voices",
                "Only JSON has this field; a form has parts named file or voice",
            ));
        }
        let n = voices.iter().map(Voice::count).sum();
        if !(1..=MAX_VOICES).contains(&n) {
            return Err(ApiError::field(
                "voices",
                &format!("There should be 1 to {MAX_VOICES} voices, each segment counted"),
            ));
        }
        check_threshold(self.threshold)?;
        match &self.labels {
            Some(Bounded(labels)) if labels.len() != n => {
                Err(ApiError::field("labels", &format!("There are {} labels for {n} voices", labels.len())))
            }
            _ => Ok(()),
        }
    }
}

struct Answer {
    labels: Vec<String>,
    threshold: f64,
    model: String,
    wants_clusters: bool,
    format: EncodingFormat,
}

impl Answer {
    /// Computes the matrix and writes the response.
    fn write(&self, sides: &[Side], pace: Pace<'_>) -> Result<String, ApiError> {
        let internal = |error: &dyn std::fmt::Display| ApiError::Internal(error.to_string());
        let embeddings: Vec<_> = sides.iter().map(|side| side.embedding.clone()).collect();
        let matrix = similarity_matrix(&embeddings).map_err(|error| internal(&error))?;
        let to_json = |value: Result<String, serde_json::Error>| value.map_err(|error| internal(&error));
        let audio: Vec<Option<&AudioReport>> = sides.iter().map(|side| side.about.audio.as_ref()).collect();
        let mut body = format!("{{\"labels\":{},\"matrix\":", to_json(serde_json::to_string(&self.labels))?);
        match self.format {
            EncodingFormat::Float => {
                write_matrix(&mut body, &matrix, pace).map_err(|error| internal(&error))?;
            }
            EncodingFormat::Base64 => {
                let values = matrix.as_slice().unwrap_or_default();
                body.push('"');
                body.push_str(&base64_of(values));
                body.push('"');
            }
        }
        if self.wants_clusters {
            let groups = clusters(&matrix, self.threshold);
            body.push_str(",\"clusters\":");
            body.push_str(&to_json(serde_json::to_string(&groups))?);
        }
        let rest = serde_json::json!({"threshold": self.threshold, "model": self.model});
        let rest = to_json(serde_json::to_string(&rest))?;
        body.push(',');
        body.push_str(&rest[1..rest.len() - 1]);
        body.push_str(",\"audio\":");
        body.push_str(&to_json(serde_json::to_string(&audio))?);
        body.push('}');
        Ok(body)
    }
}

/// Writes rows of numbers with six decimals.
fn write_matrix(body: &mut String, matrix: &Array2<f32>, pace: Pace<'_>) -> Result<(), Cancelled> {
    body.reserve(matrix.len() * 9);
    body.push('[');
    for (i, row) in matrix.rows().into_iter().enumerate() {
        body.push_str(if i == 0 { "[" } else { ",[" });
        for (j, cosine) in row.iter().enumerate() {
            let comma = if j == 0 { "" } else { "," };
            write!(body, "{comma}{cosine:.6}").expect("writing to a string cannot fail");
        }
        body.push(']');
        pace.pause()?;
    }
    body.push(']');
    Ok(())
}
