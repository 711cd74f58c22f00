//! `POST /v1/verify`: decides whether two voices belong to the same speaker.

use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::VoiceErrors;
use crate::audio::Channel;
use crate::calibration::Criterion;
use crate::decisions::{self, Verification};
use crate::http::answer;
use crate::http::error::{ApiError, FieldError};
use crate::http::pages::document::{example_recording, other_example_recording};
use crate::http::request::call::{Call, Parse};
use crate::http::request::criterion::{criterion, not_met};
use crate::http::request::json;
use crate::http::request::one_voice::missing_part;
use crate::http::request::parts::{Part, Received, Takes};
use crate::http::request::voice::{ChannelName, Voice, VoiceFields};
use crate::http::state::AppState;
use crate::http::voices::Voices;

/// The name of the option for the error rate.
const RATE: &str = "max_false_accept_rate";

/// Two voices to compare.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"a": {"audio_base64": example_recording()}, "b": {"audio_base64": other_example_recording()}}))]
pub(in crate::http) struct VerifyRequest {
    #[schema(value_type = VoiceFields)]
    a: Option<VoiceFields>,
    #[schema(value_type = VoiceFields)]
    b: Option<VoiceFields>,
    /// The model for recordings, by id or fingerprint.
    model: Option<String>,
    /// Similarity above which both voices count as the same speaker. If missing, this is the similarity above which one
    /// speaker is more likely than two. If that is unknown, it is the model's default threshold.
    #[schema(minimum = -1, maximum = 1)]
    threshold: Option<f64>,
    /// Instead of a threshold: the maximum rate at which different speakers may be accepted as the same. The service
    /// derives the threshold from this rate and the seconds of speech. The rate holds only if the response has a
    /// `false_accept_rate`.
    #[schema(minimum = 0, maximum = 1)]
    max_false_accept_rate: Option<f64>,
    /// The channel of all recordings in a form.
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
    /// The other voice, as an audio file or as JSON.
    #[schema(value_type = String, format = Binary)]
    b: Vec<u8>,
    /// Same as in the JSON request.
    #[schema(example = "resemblyzer")]
    model: Option<String>,
    /// Same as in the JSON request.
    #[schema(example = 0.75)]
    threshold: Option<f64>,
    /// Same as in the JSON request, instead of a threshold.
    #[schema(minimum = 0, maximum = 1)]
    max_false_accept_rate: Option<f64>,
}

/// Verify whether two voices belong to the same speaker.
///
/// A voice is a recording, an embedding or an enrolled speaker. The reported error rates hold for recordings like those
/// that `calibration_note` describes. To compare an enrolled speaker, the key also needs the right `identify`. To compare
/// an enrolled speaker with an embedding, it also needs `read`.
#[utoipa::path(post, path = "/v1/verify", tag = "Voices", security(("ApiKey" = []), ("Bearer" = [])),
    request_body(content((VerifyRequest = "application/json"), (VerifyForm = "multipart/form-data"))),
    responses(
        (status = 200, body = Verification, description = "The similarity and the decision",
            headers(("Server-Timing" = String, description = "The time of each stage: `queue`, `decode`, `preprocess`, `encode`."))),
        VoiceErrors,
    ),
)]
pub(in crate::http) async fn verify(
    State(state): State<AppState>,
    Call { caller, admission, request: (request, voices) }: Call<(VerifyRequest, Vec<Voice>)>,
) -> Result<Response, ApiError> {
    let voices =
        Voices::resolve(&state, (request.model.as_deref(), None), voices, |i| ["a", "b"][i].to_owned());
    let voices = voices.await?;
    voices.require_rights(&caller.key)?;
    let mut embedded = voices.embed(&state, &caller, &admission).await?;
    let sides = embedded.take_all()?.try_into();
    let sides = sides.map_err(|_| ApiError::Internal("there are not two sides".into()))?;
    let answer =
        decisions::verify(embedded.model.judge(), request.criterion()?, sides).map_err(not_met(RATE))?;
    answer::json(&answer, &embedded.timings, embedded.audio_seconds)
}

impl Parse for (VerifyRequest, Vec<Voice>) {
    const TAKES: Takes = Takes::voices(&["a", "b"]);

    fn parse(received: Received) -> Result<Self, ApiError> {
        VerifyRequest::read(received)
    }
}

impl VerifyRequest {
    fn read(received: Received) -> Result<(Self, Vec<Voice>), ApiError> {
        let is_form = matches!(received, Received::Parts { .. });
        let (request, sides) = match received {
            Received::Json(body) => Self::from_json(body)?,
            Received::Parts { files, options } => Self::from_parts(files, options)?,
        };
        let (found, missing): (Vec<&str>, Vec<&str>) =
            ["a", "b"].into_iter().partition(|name| sides[usize::from(*name == "b")].is_some());
        match missing.first() {
            Some(name) if is_form => {
                return Err(missing_part(name, "two parts named a and b", found.into_iter()).into());
            }
            Some(name) => return Err(FieldError::missing(&["body", name], Value::Null).into()),
            None => {}
        }
        let voices: Vec<Voice> = sides.into_iter().flatten().collect();
        if let Some(i) = voices.iter().position(Voice::has_segments) {
            let msg = "A side is one voice; it cannot have segments";
            return Err(FieldError::new(&["body", ["a", "b"][i], "segments"], "value_error", msg).into());
        }
        request.criterion()?;
        Ok((request, voices))
    }

    fn criterion(&self) -> Result<Criterion, ApiError> {
        criterion(self.threshold, self.max_false_accept_rate, RATE)
    }

    fn from_parts(files: Vec<Part>, options: json::Options) -> Result<(Self, [Option<Voice>; 2]), ApiError> {
        let request: Self = json::from_options(options)?;
        let channel = request.channel.as_ref().map_or(Channel::Mix, |ChannelName(channel)| *channel);
        let mut sides = [None, None];
        for part in files {
            let side = usize::from(part.name == "b");
            let name = ["a", "b"][side];
            if sides[side].replace(Voice::from_part(part, &[name], channel)?).is_some() {
                let msg = "The part is there twice";
                return Err(FieldError::new(&["body", name], "value_error", msg).into());
            }
        }
        Ok((request, sides))
    }

    fn from_json(body: Bytes) -> Result<(Self, [Option<Voice>; 2]), ApiError> {
        let mut request: Self = json::from_json(body)?;
        if request.channel.is_some() {
            let msg = "A voice has its own channel";
            return Err(FieldError::new(&["body", "channel"], "extra_forbidden", msg).into());
        }
        let check = |voice: Option<VoiceFields>, name| voice.map(|voice| voice.check(&[name])).transpose();
        let voices = [check(request.a.take(), "a")?, check(request.b.take(), "b")?];
        Ok((request, voices))
    }
}
