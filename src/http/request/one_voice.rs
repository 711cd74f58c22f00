//! Requests with one voice, or with voices to enrol. A voice is a field of JSON, a part of a form, or the recording itself.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use utoipa::IntoParams;

use super::json::{self, Options};
use super::parts::{Part, Received};
use super::raw_format;
use super::voice::{ChannelName, Segments, Voice, VoiceFields, VoiceRecording, VoiceSource, check_segments};
use crate::audio::Channel;
use crate::http::error::{ApiError, FieldError};
use crate::speakers::{embedding_digest, recording_digest};

/// Names of parts that contain voices.
pub(in crate::http) const VOICE_PARTS: &[&str] = &["file", "voice"];

/// Maximum number of part names that an error shows.
const MAX_NAMES: usize = 8;

/// Options of a form or query that describe its recordings.
#[derive(Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct RecordingFields {
    /// The channel: `mix` for the mean of all channels, or the number of one channel.
    #[param(value_type = Option<String>)]
    channel: Option<ChannelName>,
    /// The format of samples without a header, such as `pcm_s16le`.
    format: Option<String>,
    /// The sample rate of samples without a header, in Hz.
    sample_rate: Option<f64>,
    /// The number of interleaved channels of samples without a header.
    channels: Option<f64>,
    /// Segments of the recording: start and end in seconds, as a JSON list.
    #[param(value_type = Option<String>, example = "[[0.0, 1.0]]")]
    segments: Option<Segments>,
}

/// The names of these options.
const RECORDING_OPTIONS: [&str; 5] = ["channel", "format", "sample_rate", "channels", "segments"];

/// Returns the options of a request and its voice. `voice` takes the voice out of JSON.
pub(in crate::http) fn one_voice<T: DeserializeOwned>(
    received: Received,
    voice: impl FnOnce(&mut T) -> Option<VoiceFields>,
) -> Result<(T, Voice), ApiError> {
    match received {
        Received::Json(body) => {
            let mut request: T = json::from_json(body)?;
            let voice = voice(&mut request).ok_or_else(|| missing("voice"))?.check(&["voice"])?;
            Ok((request, voice))
        }
        Received::Parts { files, options } => {
            let absent = missing_part("voice", "a part named file or voice", options.names());
            let (request, recording) = options_of_parts(options, voice)?;
            let [part] = <[Part; 1]>::try_from(files).map_err(|files| match files.len() {
                0 => absent.into(),
                n => wrong(&["voice"], &format!("There should be one part named file or voice, not {n}")),
            })?;
            Ok((request, voice_of_part(part, &["voice"], &recording)?))
        }
    }
}

/// Returns the options of a request and its voices, if it has any. `voices` takes the voices out of JSON.
pub(in crate::http) fn voices<T: DeserializeOwned>(
    received: Received,
    voices: impl FnOnce(&mut T) -> Option<Vec<VoiceFields>>,
) -> Result<(T, Vec<Voice>), ApiError> {
    match received {
        Received::Json(body) => {
            let mut request: T = json::from_json(body)?;
            let check = |(i, voice): (usize, VoiceFields)| voice.check(&["voices", &i.to_string()]);
            let voices = voices(&mut request).unwrap_or_default();
            let voices = voices.into_iter().enumerate().map(check).collect::<Result<_, _>>()?;
            Ok((request, voices))
        }
        Received::Parts { files, options } => {
            let (request, recording) = options_of_parts(options, voices)?;
            let voice =
                |(i, part): (usize, Part)| voice_of_part(part, &["voices", &i.to_string()], &recording);
            let voices = files.into_iter().enumerate().map(voice).collect::<Result<_, _>>()?;
            Ok((request, voices))
        }
    }
}

/// Returns the options of the route and those of its recordings. In a form, voices are parts and cannot be an option.
fn options_of_parts<T: DeserializeOwned, V>(
    mut options: Options,
    voices: impl FnOnce(&mut T) -> Option<V>,
) -> Result<(T, RecordingFields), ApiError> {
    let of_recordings = options.take(&RECORDING_OPTIONS);
    let mut request: T = json::from_options(options)?;
    if voices(&mut request).is_some() {
        return Err(wrong(&["voices"], "Only JSON has this field; a form has parts named file or voice"));
    }
    Ok((request, json::from_options(of_recordings)?))
}

fn voice_of_part(part: Part, loc: &[&str], fields: &RecordingFields) -> Result<Voice, ApiError> {
    let channel = fields.channel.as_ref().map_or(Channel::Mix, |ChannelName(channel)| *channel);
    let mut voice = Voice::from_part(part, loc, channel)?;
    let raw = raw_format::from_fields(fields.format.as_deref(), fields.sample_rate, fields.channels)?;
    let segments = fields.segments.as_ref().map(|segments| check_segments(&[], &segments.0)).transpose()?;
    match &mut voice {
        Voice::Recording(recording) => {
            recording.options.raw = recording.options.raw.or(raw);
            recording.segments = segments;
        }
        Voice::Embedding(_) | Voice::Speaker(_) if segments.is_some() => {
            return Err(wrong(&["segments"], "Only a recording has segments"));
        }
        Voice::Embedding(_) | Voice::Speaker(_) => {}
    }
    Ok(voice)
}

/// A voice to enrol, and the SHA-256 of the data that was sent. A repeated voice is recognised by this digest.
pub(in crate::http) struct ToEnrol {
    pub(in crate::http) voice: Voice,
    pub(in crate::http) digest: [u8; 32],
}

/// Adds digests to voices to enrol. `name` returns the location of each voice in the request. The time grows with the
/// recordings, so this belongs on a worker.
pub(in crate::http) fn to_enrol(
    voices: Vec<Voice>,
    name: impl Fn(usize) -> Vec<String>,
) -> Result<Vec<ToEnrol>, ApiError> {
    let identified = |(i, voice)| {
        let loc = name(i);
        let loc: Vec<&str> = loc.iter().map(String::as_str).collect();
        with_digest(voice, &loc)
    };
    voices.into_iter().enumerate().map(identified).collect()
}

fn with_digest(voice: Voice, loc: &[&str]) -> Result<ToEnrol, ApiError> {
    if voice.has_segments() {
        return Err(wrong(loc, "An enrolment is one voice; it cannot have segments"));
    }
    match voice {
        Voice::Recording(VoiceRecording { source, options, segments }) => {
            let param = match loc {
                [name, place] => format!("{name}[{place}]"),
                loc => loc.concat(),
            };
            let bytes = source.unpack().map_err(|error| error.with_param(param))?;
            let digest = recording_digest(&bytes, &options);
            let source = VoiceSource::File(bytes);
            let voice = Voice::Recording(VoiceRecording { source, options, segments });
            Ok(ToEnrol { voice, digest })
        }
        Voice::Embedding(embedding) => {
            let digest = embedding_digest(&embedding.components);
            Ok(ToEnrol { voice: Voice::Embedding(embedding), digest })
        }
        Voice::Speaker(_) => Err(wrong(
            loc,
            "An enrolment is a recording or an embedding; POST /v1/speakers/{id}/merge brings speakers together",
        )),
    }
}

/// Returns the error for a missing part of a form. `found` are the names of the existing parts.
pub(in crate::http) fn missing_part<'a>(
    name: &str,
    wanted: &str,
    found: impl Iterator<Item = &'a str>,
) -> FieldError {
    let found: Vec<&str> = found.take(MAX_NAMES).collect();
    let found = if found.is_empty() { "nothing else".into() } else { found.join(", ") };
    let error = FieldError::missing(&["body", name], Value::Null);
    FieldError { msg: format!("{}: {wanted}; the form has {found}", error.msg), ..error }
}

fn missing(name: &str) -> ApiError {
    FieldError::missing(&["body", name], Value::Null).into()
}

fn wrong(loc: &[&str], msg: &str) -> ApiError {
    let loc: Vec<&str> = ["body"].iter().chain(loc).copied().collect();
    FieldError::new(&loc, "value_error", msg).into()
}
