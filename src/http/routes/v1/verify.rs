//! `POST /v1/verify`: are two voices the same speaker?

use axum::Extension;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::VoiceErrors;
use crate::audio::Channel;
use crate::claims::{Comparison, Criterion};
use crate::compare::{cosine, is_same_speaker};
use crate::http::answer;
use crate::http::batch::{Caller, on_worker};
use crate::http::error::{ApiError, FieldError};
use crate::http::layers::auth::KeyHolder;
use crate::http::layers::time_limit::TimeLimit;
use crate::http::pages::document::example_recording;
use crate::http::request::criterion::{criterion, not_met};
use crate::http::request::json;
use crate::http::request::parts::{Part, Received};
use crate::http::request::sides::{Side, Sides};
use crate::http::request::voice::{ChannelName, Voice, VoiceFields};
use crate::http::routes::audio_report::AudioReport;
use crate::http::state::AppState;
use crate::pipeline;
use crate::speakers::Identifier;

/// Level above which recordings are not raised to one level, in dBFS.
const LEVELLED_BELOW_DBFS: f64 = crate::speech::level::TARGET_LEVEL_DBFS;

/// The name of the option.
const RATE: &str = "max_false_accept_rate";

/// Difference of levels from which on scores suffer, in dB.
const LEVEL_MISMATCH_DB: f64 = 6.0;

/// Two voices to compare.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"a": {"audio_base64": example_recording()}, "b": {"audio_base64": example_recording()}}))]
pub(in crate::http) struct VerifyRequest {
    #[schema(value_type = VoiceFields)]
    a: Option<VoiceFields>,
    #[schema(value_type = VoiceFields)]
    b: Option<VoiceFields>,
    /// The model of recordings, by id or fingerprint.
    model: Option<String>,
    /// Similarity above which they are the same speaker; the model's own if missing.
    #[schema(minimum = -1, maximum = 1)]
    threshold: Option<f64>,
    /// Instead of a threshold: how often different speakers with as much speech may be taken for one. The threshold follows from the
    /// seconds of speech; it holds where a rate is claimed in the answer.
    #[schema(minimum = 0, maximum = 1)]
    max_false_accept_rate: Option<f64>,
    /// In a form: the channel of recordings.
    #[schema(ignore)]
    channel: Option<ChannelName>,
}

/// Two voices to compare, as parts of a form.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it describes a multipart form to OpenAPI")]
pub(in crate::http) struct VerifyForm {
    /// An audio file, or a voice as JSON.
    #[schema(value_type = String, format = Binary)]
    a: Vec<u8>,
    /// Another.
    #[schema(value_type = String, format = Binary)]
    b: Vec<u8>,
    /// As in JSON.
    #[schema(example = "resemblyzer")]
    model: Option<String>,
    /// As in JSON.
    #[schema(example = 0.75)]
    threshold: Option<f64>,
    /// As in JSON, instead of a threshold.
    #[schema(minimum = 0, maximum = 1)]
    max_false_accept_rate: Option<f64>,
}

/// How alike two voices are.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct VerifyAnswer<'a> {
    /// Cosine similarity, from -1 to 1.
    #[schema(example = 0.87)]
    similarity: f64,
    /// The threshold that was used.
    #[schema(example = 0.75)]
    threshold: f64,
    /// Whether the similarity is above the threshold.
    is_same_speaker: bool,
    /// The natural logarithm of how much more likely the similarity is if one speaker is heard than if two are. It is limited by what the
    /// calibration can show; null as the rate is.
    #[schema(example = 4.2)]
    log_likelihood_ratio: Option<f64>,
    /// The share of pairs of different speakers of the same sex, with as much speech, that score at least this on the calibration's
    /// recordings. Null where that cannot be told; `calibration_note` says why.
    #[schema(example = 0.002)]
    false_accept_rate: Option<f64>,
    /// Whether the rate is only known to be no more than this.
    #[schema(example = false)]
    false_accept_rate_is_bound: bool,
    /// What the claims are computed with; null if there is nothing for this model.
    #[schema(example = "librispeech-2026")]
    calibration: Option<&'a str>,
    /// What was measured and what was not, or why nothing is claimed.
    #[schema(
        example = "On clean read English, 130 speakers: with as much speech, about 1 in 500 comparisons of ..."
    )]
    calibration_note: String,
    /// Names weights and preprocessing.
    #[schema(example = "resemblyzer-0.1.4/39373b86")]
    model: String,
    a: SideAnswer<'a>,
    b: SideAnswer<'a>,
    /// Reasons to trust the decision less: those of both sides, and `level_mismatch`.
    warnings: Vec<String>,
}

/// What is known of a side.
#[derive(Serialize, ToSchema)]
struct SideAnswer<'a> {
    /// Of a recording.
    #[schema(value_type = Option<AudioReport>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    audio: Option<&'a pipeline::AudioReport>,
    /// Of an enrolled speaker: the id.
    #[schema(value_type = Option<String>, example = "anna")]
    #[serde(skip_serializing_if = "Option::is_none")]
    speaker: Option<&'a Identifier>,
}

/// Compare two voices: recordings, embeddings or enrolled speakers.
///
/// The error rates that are claimed hold for recordings like those of the calibration, which `calibration_note` describes. With an enrolled
/// speaker, the key needs the right `identify`, too, and with a speaker and an embedding also `read`.
#[utoipa::path(post, path = "/v1/verify", tag = "Voices", security(("ApiKey" = []), ("Bearer" = [])),
    request_body(content((VerifyRequest = "application/json"), (VerifyForm = "multipart/form-data"))),
    responses(
        (status = 200, body = VerifyAnswer, description = "The similarity and the decision",
            headers(("Server-Timing" = String, description = "The time of each stage: `queue`, `decode`, `preprocess`, `encode`."))),
        VoiceErrors,
    ),
)]
pub(in crate::http) async fn verify(
    State(state): State<AppState>,
    key: Extension<KeyHolder>,
    time_limit: Extension<TimeLimit>,
    request: Request,
) -> Result<Response, ApiError> {
    let caller = Caller::new(key, time_limit);
    let received = Received::new(&state, request, &["a", "b"]).await?;
    let (request, voices) = on_worker(&state, move || VerifyRequest::read(received)).await??;
    let sides = Sides::resolve(&state, request.model.as_deref(), voices, |i| ["a", "b"][i].to_owned())?;
    sides.require_rights(&caller.key)?;
    let (model, sides) = sides.embed(&state, &caller).await?;
    let (timings, seconds) = sides.totals();
    let [a, b] = &sides.sides[..] else { unreachable!("there are two") };
    let similarity = similarity(a, b)?;
    let (judge, evidence) = (model.judge(), [&a.evidence, &b.evidence]);
    let threshold =
        judge.threshold(request.criterion()?, Comparison::Pair, evidence).map_err(not_met(RATE))?;
    let claim = judge.claim(similarity, Comparison::Pair, evidence);
    let answer = VerifyAnswer {
        similarity,
        threshold,
        is_same_speaker: is_same_speaker(similarity, threshold),
        log_likelihood_ratio: claim.log_likelihood_ratio,
        false_accept_rate: claim.error_rate.map(|rate| rate.value),
        false_accept_rate_is_bound: claim.error_rate.is_some_and(|rate| rate.is_bound),
        calibration: judge.calibration.map(|calibration| &*calibration.name),
        calibration_note: claim.note,
        model: model.id().fingerprint().to_owned(),
        warnings: warnings(a, b),
        a: SideAnswer::new(a),
        b: SideAnswer::new(b),
    };
    let body = serde_json::to_vec(&answer).map_err(|error| ApiError::Internal(error.to_string()))?;
    Ok(answer::json(body, &timings, seconds))
}

impl<'a> SideAnswer<'a> {
    fn new(side: &'a Side) -> Self {
        Self { audio: side.audio.as_ref(), speaker: side.speaker.as_ref() }
    }
}

impl VerifyRequest {
    fn read(received: Received) -> Result<(Self, Vec<Voice>), ApiError> {
        let (request, [a, b]) = match received {
            Received::Json(body) => Self::of_json(body)?,
            Received::Parts { files, options } => Self::of_parts(files, options)?,
        };
        let missing = |name| ApiError::from(FieldError::missing(&["body", name], Value::Null));
        let voices = vec![a.ok_or_else(|| missing("a"))?, b.ok_or_else(|| missing("b"))?];
        if let Some(i) = voices.iter().position(Voice::has_segments) {
            let msg = "A side is one voice; it cannot have segments";
            return Err(FieldError::at(&["body", ["a", "b"][i], "segments"], "value_error", msg).into());
        }
        request.criterion()?;
        Ok((request, voices))
    }

    fn criterion(&self) -> Result<Criterion, ApiError> {
        criterion(self.threshold, self.max_false_accept_rate, RATE)
    }

    fn of_parts(files: Vec<Part>, options: json::Options) -> Result<(Self, [Option<Voice>; 2]), ApiError> {
        let request: Self = json::from_options(options)?;
        let channel = request.channel.as_ref().map_or(Channel::Mix, |ChannelName(channel)| *channel);
        let mut sides = [None, None];
        for part in files {
            let side = usize::from(part.name == "b");
            let name = ["a", "b"][side];
            if sides[side].replace(Voice::of_part(part, &[name], channel)?).is_some() {
                let msg = "The part is there twice";
                return Err(FieldError::at(&["body", name], "value_error", msg).into());
            }
        }
        Ok((request, sides))
    }

    fn of_json(body: Bytes) -> Result<(Self, [Option<Voice>; 2]), ApiError> {
        let mut request: Self = json::from_json(body)?;
        if request.channel.is_some() {
            let msg = "A voice has its own channel";
            return Err(FieldError::at(&["body", "channel"], "extra_forbidden", msg).into());
        }
        let check = |voice: Option<VoiceFields>, name| voice.map(|voice| voice.check(&[name])).transpose();
        let voices = [check(request.a.take(), "a")?, check(request.b.take(), "b")?];
        Ok((request, voices))
    }
}

fn similarity(a: &Side, b: &Side) -> Result<f64, ApiError> {
    cosine(&a.embedding, &b.embedding).map_err(|error| ApiError::Internal(error.to_string()))
}

/// The warnings of both sides, each once, and whether their levels differ too much.
fn warnings(a: &Side, b: &Side) -> Vec<String> {
    let mut warnings: Vec<String> = Vec::new();
    for warning in a.warnings.iter().chain(&b.warnings) {
        if !warnings.contains(warning) {
            warnings.push(warning.clone());
        }
    }
    let levels = [a, b].map(|side| side.audio.as_ref().map(|audio| audio.level_dbfs));
    if let [Some(a), Some(b)] = levels
        && a.min(b) > LEVELLED_BELOW_DBFS
        && (a - b).abs() > LEVEL_MISMATCH_DB
    {
        warnings.push("level_mismatch".into());
    }
    warnings
}
