//! What a request to `/v1/diarize` asks for.

use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::call::Parse;
use super::one_voice::{VOICE_PARTS, one_voice};
use super::parts::{Part, Received, Takes};
use super::voice::{Source, Voice, VoiceFields, VoiceRecording};
use crate::audio;
use crate::diarization::{MAX_SPEAKERS, SpeakerCount, TurnOptions};
use crate::http::error::ApiError;
use crate::http::pages::document::example_recording;
use crate::pipeline::PipelineError;
use crate::speakers::Identifier;
use crate::transcript::{MAX_TRANSCRIPT_BYTES, Transcript, TranscriptError};

/// Parts of a form that are files.
const PARTS: &[&str] = &[VOICE_PARTS[0], VOICE_PARTS[1], "transcript"];

/// A recording of several speakers. Where the body is the recording, the others are parameters of the query.
#[derive(Deserialize, IntoParams, ToSchema)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
#[schema(example = json!({"voice": {"audio_base64": example_recording()}, "max_speakers": 4}))]
pub(in crate::http) struct DiarizeRequest {
    /// A recording; its `channel` may also be `split`: each channel by itself then.
    #[schema(value_type = VoiceFields)]
    #[param(ignore)]
    voice: Option<VoiceFields>,
    /// How many speakers there are, if that is known.
    #[schema(minimum = 1, maximum = 30)]
    #[param(minimum = 1, maximum = 30)]
    num_speakers: Option<usize>,
    /// How many there are at the least; 1 if missing.
    #[schema(minimum = 1, maximum = 30)]
    #[param(minimum = 1, maximum = 30)]
    min_speakers: Option<usize>,
    /// How many there are at the most; 10 if missing.
    #[schema(minimum = 1, maximum = 30)]
    #[param(minimum = 1, maximum = 30)]
    max_speakers: Option<usize>,
    /// Whether turns of different speakers may overlap; true if missing. If not, who is heard most speaks.
    overlap: Option<bool>,
    /// Name the speakers that are enrolled in this collection.
    #[schema(value_type = Option<String>, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    #[param(value_type = Option<String>, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    collection: Option<Identifier>,
    #[schema(value_type = Option<serde_json::Value>)]
    /// What was said: Whisper's `verbose_json`, a list of `{"start", "end", "text"}`, or the text of a VTT or SRT file. It comes back with speakers.
    #[param(value_type = Option<String>)]
    transcript: Option<TranscriptText>,
    /// How to answer; `json` if missing.
    response_format: Option<ResponseFormat>,
    /// The model, by id or fingerprint.
    model: Option<String>,
}

/// A transcript as it was sent, as JSON. Its length is checked before it is copied.
#[derive(Debug)]
struct TranscriptText(Box<str>);

impl<'de> Deserialize<'de> for TranscriptText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <&RawValue>::deserialize(deserializer)?.get();
        if text.len() > MAX_TRANSCRIPT_BYTES {
            let error = TranscriptError::TooLarge { max_bytes: MAX_TRANSCRIPT_BYTES };
            return Err(D::Error::custom(error));
        }
        Ok(Self(text.into()))
    }
}

/// A recording of several speakers, as a form.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it describes a multipart form to OpenAPI")]
pub(in crate::http) struct DiarizeForm {
    /// The audio file.
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
    /// A transcript of it, as a file or as text.
    #[schema(value_type = Option<String>)]
    transcript: Option<String>,
    /// As in JSON.
    #[schema(minimum = 1, maximum = 30)]
    num_speakers: Option<usize>,
    /// As in JSON.
    response_format: Option<ResponseFormat>,
}

/// How turns are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::http) enum ResponseFormat {
    Json,
    Rttm,
    Vtt,
    Srt,
}

/// What a request asks for.
pub(in crate::http) struct Asked {
    pub(in crate::http) recording: VoiceRecording,
    /// Whether each channel is analysed by itself.
    pub(in crate::http) is_split: bool,
    pub(in crate::http) options: TurnOptions,
    pub(in crate::http) collection: Option<Identifier>,
    pub(in crate::http) transcript: Option<Transcript>,
    pub(in crate::http) format: ResponseFormat,
    pub(in crate::http) model: Option<String>,
}

impl Parse for Asked {
    const TAKES: Takes = Takes { texts: &["transcript"], ..Takes::voices(PARTS) };
    const IS_LONG: bool = true;

    fn parse(received: Received) -> Result<Self, ApiError> {
        let mut is_split = false;
        let (mut transcript_part, received) = match received {
            Received::Parts { files, mut options } => {
                is_split = options.get("channel") == Some("split");
                if is_split {
                    options.remove("channel");
                }
                let (mut transcripts, files): (Vec<Part>, Vec<Part>) =
                    files.into_iter().partition(|part| part.name == "transcript");
                if transcripts.len() > 1 || !transcripts.is_empty() && options.get("transcript").is_some() {
                    return Err(ApiError::field("transcript", "There should be one transcript"));
                }
                (transcripts.pop(), Received::Parts { files, options })
            }
            json @ Received::Json(_) => (None, json),
        };
        let (request, voice) = one_voice(received, |request: &mut DiarizeRequest| {
            let mut voice = request.voice.take()?;
            is_split |= voice.take_split();
            Some(voice)
        })?;
        let Voice::Recording(recording) = voice else {
            return Err(ApiError::field("voice", "Only a recording has turns"));
        };
        if recording.segments.is_some() {
            return Err(ApiError::field("segments", "A recording is taken as a whole here"));
        }
        let options = TurnOptions { count: request.count()?, overlap: request.overlap.unwrap_or(true) };
        let transcript = match transcript_part.take() {
            Some(part) if part.bytes.len() > MAX_TRANSCRIPT_BYTES => {
                Some(Err(TranscriptError::TooLarge { max_bytes: MAX_TRANSCRIPT_BYTES }))
            }
            Some(part) => Some(Transcript::of_text(&String::from_utf8_lossy(&part.bytes))),
            None => request.transcript.map(|TranscriptText(text)| Transcript::of_json(&text)),
        };
        let transcript = transcript.transpose().map_err(|error| bad_transcript(&error))?;
        let format = request.response_format.unwrap_or(ResponseFormat::Json);
        if transcript.is_some() && format == ResponseFormat::Rttm {
            return Err(ApiError::field("response_format", "RTTM holds no transcript"));
        }
        let DiarizeRequest { collection, model, .. } = request;
        Ok(Self { recording, is_split, options, collection, transcript, format, model })
    }
}

/// The recording with its file, unpacked once and not for each channel, and the number of channels if each is analysed by itself.
pub(in crate::http) fn unpacked(
    recording: VoiceRecording,
    is_split: bool,
) -> Result<(VoiceRecording, Option<u16>), ApiError> {
    let bytes = recording.source.unpack()?;
    let n_channels = is_split.then(|| audio::count_channels(&bytes, recording.options.raw));
    let n_channels = n_channels.transpose().map_err(PipelineError::from)?;
    Ok((VoiceRecording { source: Source::File(bytes), ..recording }, n_channels))
}

impl DiarizeRequest {
    fn count(&self) -> Result<SpeakerCount, ApiError> {
        let fields = [
            ("num_speakers", self.num_speakers),
            ("min_speakers", self.min_speakers),
            ("max_speakers", self.max_speakers),
        ];
        for (name, value) in fields {
            if value.is_some_and(|value| !(1..=MAX_SPEAKERS).contains(&value)) {
                return Err(ApiError::field(name, &format!("Input should be from 1 to {MAX_SPEAKERS}")));
            }
        }
        match (self.num_speakers, self.min_speakers, self.max_speakers) {
            (Some(n), None, None) => Ok(SpeakerCount::Exactly(n)),
            (Some(_), ..) => {
                Err(ApiError::field("num_speakers", "Send num_speakers, or min_speakers and max_speakers"))
            }
            (None, least, most) => SpeakerCount::within(least, most)
                .ok_or_else(|| ApiError::field("min_speakers", "Input should not be above max_speakers")),
        }
    }
}

pub(in crate::http) fn bad_transcript(error: &TranscriptError) -> ApiError {
    ApiError::field("transcript", &error.to_string())
}
