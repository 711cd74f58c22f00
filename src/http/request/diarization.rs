//! The request of `/v1/diarize`.

use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::bounded::Bounded;
use super::call::Parse;
use super::one_voice::{VOICE_PARTS, one_voice};
use super::parts::{Part, Received, Takes};
use super::voice::{Voice, VoiceFields, VoiceRecording, VoiceSource};
use crate::audio;
use crate::diarization::{MAX_SPEAKERS, SpeakerCount, TurnOptions};
use crate::http::error::ApiError;
use crate::http::pages::document::example_recording;
use crate::pipeline::{PipelineError, RecordingOptions};
use crate::speakers::Identifier;
use crate::transcript::{MAX_TRANSCRIPT_BYTES, Transcript, TranscriptError};

/// Parts of a form that are not options: files, and names that may occur several times.
const PARTS: &[&str] = &[
    VOICE_PARTS[0],
    VOICE_PARTS[1],
    "transcript",
    "known_speaker_names",
    "known_speaker_names[]",
    "known_speaker_references",
    "known_speaker_references[]",
];

/// Maximum number of known speakers in a request: as many as a recording may have.
const MAX_KNOWN: usize = MAX_SPEAKERS;

/// Maximum length of a known speaker's name, in characters.
const MAX_NAME_CHARS: usize = 200;

/// A recording of several speakers. If the body is the recording itself, the other fields are query parameters.
#[derive(Deserialize, IntoParams, ToSchema)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
#[schema(example = json!({"voice": {"audio_base64": example_recording()}, "max_speakers": 4}))]
pub(in crate::http) struct DiarizeRequest {
    /// A recording. Its `channel` may also be `split`: the service then analyses each channel separately.
    #[schema(value_type = VoiceFields)]
    #[param(ignore)]
    voice: Option<VoiceFields>,
    /// The number of speakers, if it is known.
    #[schema(minimum = 1, maximum = 30)]
    #[param(minimum = 1, maximum = 30)]
    num_speakers: Option<usize>,
    /// The minimum number of speakers; 1 by default.
    #[schema(minimum = 1, maximum = 30)]
    #[param(minimum = 1, maximum = 30)]
    min_speakers: Option<usize>,
    /// The maximum number of speakers; 10 by default.
    #[schema(minimum = 1, maximum = 30)]
    #[param(minimum = 1, maximum = 30)]
    max_speakers: Option<usize>,
    /// Whether turns of different speakers may overlap; true by default. If false, overlapping speech is assigned to the
    /// speaker who is heard most.
    overlap: Option<bool>,
    /// The collection whose enrolled speakers are named in the response.
    #[schema(value_type = Option<String>, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    #[param(value_type = Option<String>, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    collection: Option<Identifier>,
    #[schema(value_type = Option<serde_json::Value>)]
    /// The output of a speech recogniser: the JSON of Whisper, whisper.cpp, whisperX, Hugging Face, Vosk, Deepgram, AWS
    /// or AssemblyAI, a list of `{"start", "end", "text"}`, or the text of a VTT or SRT file. The response contains the
    /// transcript with speakers.
    #[param(value_type = Option<String>)]
    transcript: Option<TranscriptText>,
    /// The names of speakers to recognise in this recording only, without a collection.
    #[schema(value_type = Option<Vec<String>>)]
    #[param(ignore)]
    known_speaker_names: Option<Bounded<String, MAX_KNOWN>>,
    /// A recording of each known speaker, in base64 or as a data URL.
    #[schema(value_type = Option<Vec<String>>)]
    #[param(ignore)]
    known_speaker_references: Option<Bounded<String, MAX_KNOWN>>,
    /// The format of the response; `json` by default.
    response_format: Option<ResponseFormat>,
    /// The model, by id or fingerprint.
    model: Option<String>,
}

/// A transcript as it was sent, in JSON. Its length is checked before it is copied.
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
    /// A transcript of the recording, as a file or as text.
    #[schema(value_type = Option<String>)]
    transcript: Option<String>,
    /// Same as in the JSON request.
    #[schema(minimum = 1, maximum = 30)]
    num_speakers: Option<usize>,
    /// Same as in the JSON request. The part may be repeated.
    #[schema(rename = "known_speaker_names[]")]
    known_speaker_names: Option<Vec<String>>,
    /// Same as in the JSON request, or audio files. The part may be repeated.
    #[schema(rename = "known_speaker_references[]", value_type = Option<Vec<String>>)]
    known_speaker_references: Option<Vec<Vec<u8>>>,
    /// Same as in the JSON request.
    response_format: Option<ResponseFormat>,
}

/// The format of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::http) enum ResponseFormat {
    Json,
    /// OpenAI's format of a transcript with speakers.
    DiarizedJson,
    Rttm,
    Vtt,
    Srt,
}

/// A checked request.
pub(in crate::http) struct DiarizeCall {
    pub(in crate::http) recording: VoiceRecording,
    /// Whether each channel is analysed separately.
    pub(in crate::http) is_split: bool,
    pub(in crate::http) options: TurnOptions,
    pub(in crate::http) collection: Option<Identifier>,
    pub(in crate::http) known: KnownSpeakers,
    /// The recording's name in RTTM.
    pub(in crate::http) name: String,
    pub(in crate::http) transcript: Option<Transcript>,
    pub(in crate::http) format: ResponseFormat,
    pub(in crate::http) model: Option<String>,
}

/// Speakers that the request itself names, with a recording of each.
#[derive(Default)]
pub(in crate::http) struct KnownSpeakers {
    pub(in crate::http) names: Vec<String>,
    pub(in crate::http) references: Vec<Voice>,
}

impl KnownSpeakers {
    fn new(names: Vec<String>, references: Vec<VoiceSource>) -> Result<Self, ApiError> {
        let wrong = |msg: String| ApiError::field("known_speaker_names", &msg);
        if names.len() != references.len() || names.len() > MAX_KNOWN {
            return Err(wrong(format!(
                "There should be a name for each of known_speaker_references, up to {MAX_KNOWN}; there are {} names and {} references",
                names.len(),
                references.len()
            )));
        }
        for (i, name) in names.iter().enumerate() {
            if name.trim().is_empty() || name.chars().count() > MAX_NAME_CHARS {
                return Err(wrong(format!("A name should have 1 to {MAX_NAME_CHARS} characters")));
            }
            if names[..i].contains(name) {
                return Err(wrong("A name is there twice".to_owned()));
            }
        }
        let voice = |source| {
            Voice::Recording(VoiceRecording { source, options: RecordingOptions::default(), segments: None })
        };
        Ok(Self { names, references: references.into_iter().map(voice).collect() })
    }
}

/// The parts of a form that are neither the recording nor an option.
#[derive(Default)]
struct OtherParts {
    transcript: Option<Part>,
    names: Vec<String>,
    references: Vec<VoiceSource>,
}

impl OtherParts {
    /// Removes these parts from the files of a form.
    fn take(files: &mut Vec<Part>) -> Result<Self, ApiError> {
        let mut others = Self::default();
        for part in std::mem::take(files) {
            match part.name.trim_end_matches("[]") {
                "transcript" if others.transcript.is_some() => return Err(two_transcripts()),
                "transcript" => others.transcript = Some(part),
                "known_speaker_names" => others.names.push(String::from_utf8_lossy(&part.bytes).into_owned()),
                // Text is a data URL or base64, and a file is audio.
                "known_speaker_references" if part.is_json || part.bytes.starts_with(b"data:") => {
                    let text = String::from_utf8_lossy(&part.bytes).into_owned();
                    others.references.push(VoiceSource::Base64(text));
                }
                "known_speaker_references" => others.references.push(VoiceSource::File(part.bytes)),
                _ => files.push(part),
            }
        }
        Ok(others)
    }
}

fn two_transcripts() -> ApiError {
    ApiError::field("transcript", "There should be one transcript")
}

/// Returns the name of a recording: its file name without folders and extension.
fn recording_name(file_name: Option<&str>) -> String {
    let file = file_name.and_then(|name| name.rsplit(['/', '\\']).next()).unwrap_or_default();
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    let stem = if stem.is_empty() { file } else { stem };
    let name: String = stem.chars().take(MAX_NAME_CHARS).collect();
    if name.trim().is_empty() { "recording".to_owned() } else { name }
}

impl Parse for DiarizeCall {
    const TAKES: Takes = Takes {
        texts: &["transcript", "known_speaker_names", "known_speaker_names[]"],
        ..Takes::voices(PARTS)
    };
    const IS_LONG: bool = true;

    fn parse(received: Received) -> Result<Self, ApiError> {
        let mut is_split = false;
        let mut others = OtherParts::default();
        let mut name = recording_name(None);
        let received = match received {
            Received::Parts { mut files, mut options } => {
                is_split = options.get("channel") == Some("split");
                if is_split {
                    options.remove("channel");
                }
                others = OtherParts::take(&mut files)?;
                if others.transcript.is_some() && options.get("transcript").is_some() {
                    return Err(two_transcripts());
                }
                name = recording_name(files.first().and_then(|file| file.file_name.as_deref()));
                Received::Parts { files, options }
            }
            json @ Received::Json(_) => json,
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
        let options = TurnOptions {
            count: speaker_count(request.num_speakers, request.min_speakers, request.max_speakers)?,
            overlap: request.overlap.unwrap_or(true),
        };
        let transcript = match &others.transcript {
            Some(part) => Some(Transcript::from_bytes(&part.bytes)),
            None => request.transcript.map(|TranscriptText(text)| Transcript::from_json(&text)),
        };
        let transcript = transcript.transpose().map_err(|error| bad_transcript(&error))?;
        let list =
            |list: Option<Bounded<String, MAX_KNOWN>>| list.map_or_else(Vec::new, |Bounded(list)| list);
        others.names.extend(list(request.known_speaker_names));
        others.references.extend(list(request.known_speaker_references).into_iter().map(VoiceSource::Base64));
        let known = KnownSpeakers::new(others.names, others.references)?;
        if !known.names.is_empty() && request.collection.is_some() {
            return Err(ApiError::field(
                "known_speaker_names",
                "Send known speakers or a collection, not both",
            ));
        }
        let format = request.response_format.unwrap_or(ResponseFormat::Json);
        if transcript.is_some() && format == ResponseFormat::Rttm {
            return Err(ApiError::field("response_format", "RTTM holds no transcript"));
        }
        if transcript.is_none() && format == ResponseFormat::DiarizedJson {
            return Err(ApiError::field(
                "response_format",
                "diarized_json is a transcript with speakers: send transcript, too",
            ));
        }
        let DiarizeRequest { collection, model, .. } = request;
        Ok(Self { recording, is_split, options, collection, known, name, transcript, format, model })
    }
}

/// Unpacks the recording's file once, instead of once for each channel. Also returns the number of channels if each is
/// analysed separately.
pub(in crate::http) fn unpacked(
    recording: VoiceRecording,
    is_split: bool,
) -> Result<(VoiceRecording, Option<u16>), ApiError> {
    let bytes = recording.source.unpack()?;
    let n_channels = is_split.then(|| audio::count_channels(&bytes, recording.options.raw));
    let n_channels = n_channels.transpose().map_err(PipelineError::from)?;
    Ok((VoiceRecording { source: VoiceSource::File(bytes), ..recording }, n_channels))
}

/// Returns the number of speakers, or its bounds, from the options `num_speakers`, `min_speakers` and `max_speakers`.
pub(in crate::http) fn speaker_count(
    exactly: Option<usize>,
    least: Option<usize>,
    most: Option<usize>,
) -> Result<SpeakerCount, ApiError> {
    for (name, value) in [("num_speakers", exactly), ("min_speakers", least), ("max_speakers", most)] {
        if value.is_some_and(|value| !(1..=MAX_SPEAKERS).contains(&value)) {
            return Err(ApiError::field(name, &format!("Input should be from 1 to {MAX_SPEAKERS}")));
        }
    }
    match (exactly, least, most) {
        (Some(n), None, None) => Ok(SpeakerCount::Exactly(n)),
        (Some(_), ..) => {
            Err(ApiError::field("num_speakers", "Send num_speakers, or min_speakers and max_speakers"))
        }
        (None, least, most) => SpeakerCount::from_bounds(least, most)
            .ok_or_else(|| ApiError::field("min_speakers", "Input should not be above max_speakers")),
    }
}

pub(in crate::http) fn bad_transcript(error: &TranscriptError) -> ApiError {
    ApiError::field("transcript", &error.to_string())
}
