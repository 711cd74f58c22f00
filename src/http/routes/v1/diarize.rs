//! `POST /v1/diarize`: who spoke when, and who said what.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::VoiceErrors;
use crate::audio::{self, Channel};
use crate::calibration::Criterion;
use crate::config::Right;
use crate::decisions::{
    DEFAULT_MARGIN, DiarizeAnswer, Diarized, DiarizedChannel, NAMING_TOP, Names, name_voices, voices_of,
};
use crate::diarization::{Diarization, MAX_SPEAKERS, SpeakerCount, diarize};
use crate::embedder::{EmbeddedVoice, EmbedderModel, Timings};
use crate::http::admission::{Admission, Caller};
use crate::http::answer;
use crate::http::error::{ApiError, FieldError};
use crate::http::pages::document::example_recording;
use crate::http::request::call::{Call, Parse};
use crate::http::request::model::resolve;
use crate::http::request::one_voice::{VOICE_PARTS, one_voice};
use crate::http::request::parts::{Part, Received, Takes};
use crate::http::request::voice::{Source, Voice, VoiceFields, VoiceRecording};
use crate::http::routes::extract_embedding::RawRecording;
use crate::http::state::AppState;
use crate::http::store::followed;
use crate::pipeline::{PipelineError, Wanted, WantedTurns};
use crate::speakers::{self, Identifier};
use crate::transcript::{CueFormat, MAX_TRANSCRIPT_BYTES, Transcript, TranscriptError};

/// Parts of a form that are files.
const PARTS: &[&str] = &[VOICE_PARTS[0], VOICE_PARTS[1], "transcript"];

/// A recording of several speakers.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"voice": {"audio_base64": example_recording()}, "max_speakers": 4}))]
pub(in crate::http) struct DiarizeRequest {
    /// A recording; its `channel` may also be `split`: each channel by itself then.
    #[schema(value_type = VoiceFields)]
    voice: Option<VoiceFields>,
    /// How many speakers there are, if that is known.
    #[schema(minimum = 1, maximum = 30)]
    num_speakers: Option<usize>,
    /// How many there are at the least; 1 if missing.
    #[schema(minimum = 1, maximum = 30)]
    min_speakers: Option<usize>,
    /// How many there are at the most; 10 if missing.
    #[schema(minimum = 1, maximum = 30)]
    max_speakers: Option<usize>,
    /// Name the speakers that are enrolled in this collection.
    #[schema(value_type = Option<String>, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    collection: Option<Identifier>,
    #[schema(value_type = Option<serde_json::Value>)]
    /// What was said: Whisper's `verbose_json`, a list of `{"start", "end", "text"}`, or the text of a VTT or SRT file. It comes back with speakers.
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

/// Say who spoke when and, with a transcript, who said what.
///
/// Speakers get labels, S1 and so on, in the order in which they are heard; the number of speakers is found, unless it is given. Of
/// several voices at once one is told. Resemblyzer merges voices that are alike; turns of less than a second, and speakers of a few seconds, may be missed,
/// also where the number is given: try one more.
#[utoipa::path(post, path = "/v1/diarize", tag = "Voices", security(("ApiKey" = []), ("Bearer" = [])),
    request_body(content((DiarizeRequest = "application/json"), (DiarizeForm = "multipart/form-data"), (RawRecording = "application/octet-stream"))),
    responses(
        (status = 200, description = "The turns; with `response_format` `rttm`, `vtt` or `srt` a text",
            content((DiarizeAnswer = "application/json"), (String = "text/plain"), (String = "text/vtt")),
            headers(("Server-Timing" = String, description = "The time of each stage: `queue`, `decode`, `preprocess`, `encode`."))),
        VoiceErrors,
    ),
)]
pub(in crate::http) async fn diarize_recording(
    State(state): State<AppState>,
    Call { caller, admission, request: asked }: Call<Asked>,
) -> Result<Response, ApiError> {
    match &asked.collection {
        Some(collection) => {
            caller.key.require(Right::Identify)?;
            caller.key.require_collection(collection)?;
            state.store()?;
        }
        None => caller.key.require(Right::Embed)?,
    }
    let model = Arc::clone(resolve(state.embedder_in_hand()?, asked.model.as_deref().into_iter())?);
    let mut asked = admission.run(move || asked.unpacked()).await??;
    let (channels, timings) = asked.hear(&caller, &admission, &model).await?;
    let audio_seconds = channels[0].voice.audio.duration_seconds;
    if let Some(transcript) = &asked.transcript {
        transcript.check_length(audio_seconds).map_err(|error| bad_transcript(&error))?;
    }
    let mut found = Vec::with_capacity(channels.len());
    for channel in channels {
        found.push(asked.find(&state, &admission, &model, channel).await?);
    }
    let format = asked.format;
    let with_embeddings = caller.key.may(Right::Embed);
    let text = admission.run(move || {
        let diarized = Diarized::new(found, model.id().clone());
        let transcript = asked.transcript.as_ref();
        Ok::<_, ApiError>(match asked.format {
            ResponseFormat::Rttm => diarized.rttm("recording").into_bytes(),
            ResponseFormat::Vtt => diarized.cues(CueFormat::Vtt, transcript).into_bytes(),
            ResponseFormat::Srt => diarized.cues(CueFormat::Srt, transcript).into_bytes(),
            ResponseFormat::Json => answer::to_json(&diarized.answer(transcript, with_embeddings))?,
        })
    });
    let text = text.await??;
    let content_type = match format {
        ResponseFormat::Json => return Ok(answer::json_text(text, &timings, audio_seconds)),
        ResponseFormat::Vtt => "text/vtt; charset=utf-8",
        ResponseFormat::Rttm | ResponseFormat::Srt => "text/plain; charset=utf-8",
    };
    let (timing_name, timing) = answer::server_timing(&timings);
    Ok(([(CONTENT_TYPE, content_type.to_owned()), (timing_name, timing)], text).into_response())
}

/// What a request asks for.
pub(in crate::http) struct Asked {
    /// Until it is heard.
    recording: Option<VoiceRecording>,
    /// Whether each channel is analysed by itself.
    is_split: bool,
    /// The number of channels then, once it is known.
    n_split_channels: Option<u16>,
    count: SpeakerCount,
    collection: Option<Identifier>,
    transcript: Option<Transcript>,
    format: ResponseFormat,
    model: Option<String>,
}

/// A channel of a recording, or the recording, as it was heard.
struct HeardChannel {
    /// Its number, where they were split.
    number: Option<u16>,
    voice: EmbeddedVoice,
}

impl Parse for Asked {
    const TAKES: Takes = Takes { texts: &["transcript"], ..Takes::voices(PARTS) };
    const IS_LONG: bool = true;

    fn parse(received: Received) -> Result<Self, ApiError> {
        Self::read(received)
    }
}

impl Asked {
    fn read(received: Received) -> Result<Self, ApiError> {
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
                    return Err(wrong("transcript", "There should be one transcript"));
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
            return Err(wrong("voice", "Only a recording has turns"));
        };
        if recording.segments.is_some() {
            return Err(wrong("segments", "A recording is taken as a whole here"));
        }
        let count = request.count()?;
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
            return Err(wrong("response_format", "RTTM holds no transcript"));
        }
        let DiarizeRequest { collection, model, .. } = request;
        let recording = Some(recording);
        Ok(Self { recording, is_split, n_split_channels: None, count, collection, transcript, format, model })
    }

    /// The same with the file, unpacked once and not for each channel, and their number.
    fn unpacked(mut self) -> Result<Self, ApiError> {
        if let Some(recording) = &mut self.recording {
            let bytes = std::mem::replace(&mut recording.source, Source::File(Bytes::new())).unpack()?;
            if self.is_split {
                let n_channels = audio::count_channels(&bytes, recording.options.raw);
                self.n_split_channels = Some(n_channels.map_err(PipelineError::from)?);
            }
            recording.source = Source::File(bytes);
        }
        Ok(self)
    }

    /// The windows of the recording, or of each of its channels that has speech.
    async fn hear(
        &mut self,
        caller: &Caller,
        admission: &Admission,
        model: &Arc<EmbedderModel>,
    ) -> Result<(Vec<HeardChannel>, Timings), ApiError> {
        let mut timings = Timings::default();
        let recording = self.recording.take().ok_or_else(|| ApiError::Internal("heard twice".into()))?;
        let Some(n_channels) = self.n_split_channels else {
            let voice = hear_channel(caller, admission, model, (recording, None), &mut timings).await?;
            return Ok((vec![HeardChannel { number: None, voice }], timings));
        };
        // Each further channel is a further recording; all of them are paid for before the first is heard.
        caller.key.take_more_tokens(usize::from(n_channels).saturating_sub(1))?;
        let (mut heard, mut silent) = (Vec::new(), None);
        for number in 0..n_channels {
            let channel = (recording.clone(), Some(number));
            match hear_channel(caller, admission, model, channel, &mut timings).await {
                Ok(voice) => heard.push(HeardChannel { number: Some(number), voice }),
                Err(error @ ApiError::Pipeline(PipelineError::NoSpeech { .. })) => silent = Some(error),
                Err(error) => return Err(error),
            }
        }
        match silent {
            Some(error) if heard.is_empty() => Err(error),
            _ => Ok((heard, timings)),
        }
    }

    /// Turns and speakers, named if that is wanted.
    async fn find(
        &self,
        state: &AppState,
        admission: &Admission,
        model: &Arc<EmbedderModel>,
        channel: HeardChannel,
    ) -> Result<DiarizedChannel, ApiError> {
        let HeardChannel { number, voice } = channel;
        let (count, merged_from) = (self.count.clone(), model.spec().turns.merged_from);
        let (heard, audio) = voice.into_heard();
        let found = admission.run_in_slices(move |pace| diarize(heard, count, merged_from, pace)).await?;
        // Nobody is answered whose work was cancelled.
        let found = found.map_err(PipelineError::from)?;
        let names = match &self.collection {
            Some(collection) => name(state, admission, model, collection, &found).await?,
            None => Names::none(found.speakers.len()),
        };
        Ok(DiarizedChannel { number, found, names, audio })
    }
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
                return Err(wrong(name, &format!("Input should be from 1 to {MAX_SPEAKERS}")));
            }
        }
        match (self.num_speakers, self.min_speakers, self.max_speakers) {
            (Some(n), None, None) => Ok(SpeakerCount::Exactly(n)),
            (Some(_), ..) => {
                Err(wrong("num_speakers", "Send num_speakers, or min_speakers and max_speakers"))
            }
            (None, least, most) => SpeakerCount::within(least, most)
                .ok_or_else(|| wrong("min_speakers", "Input should not be above max_speakers")),
        }
    }
}

/// A recording, or a channel of it, by its number.
async fn hear_channel(
    caller: &Caller,
    admission: &Admission,
    model: &Arc<EmbedderModel>,
    (mut recording, channel): (VoiceRecording, Option<u16>),
    timings: &mut Timings,
) -> Result<EmbeddedVoice, ApiError> {
    if let Some(channel) = channel {
        recording.options.channel = Channel::One(channel);
    }
    // Its length adds to the request's time.
    let turns = Some(WantedTurns { on_length: Some(caller.time_limit.for_length()) });
    let wanted = Wanted { turns, ..Wanted::default() };
    let (voice, own) = admission.embed_one(caller, model, &wanted, recording).await?;
    timings.add(&own);
    Ok(voice)
}

/// Of each speaker of a recording, the enrolled one.
async fn name(
    state: &AppState,
    admission: &Admission,
    model: &Arc<EmbedderModel>,
    collection: &Identifier,
    found: &Diarization,
) -> Result<Names, ApiError> {
    let embeddings = voices_of(found, model.id()).map_err(|error| ApiError::Internal(error.to_string()))?;
    let wanted = speakers::Wanted { collection: collection.clone(), top: NAMING_TOP, except: None };
    let store = followed(state).await?;
    let searched = admission.run(move || store.search_known(&embeddings, &wanted)).await?;
    let voices: Vec<_> = found.speakers.iter().map(|speaker| speaker.seconds).zip(searched).collect();
    Ok(name_voices(&voices, Criterion::Default, model.judge(), DEFAULT_MARGIN))
}

fn bad_transcript(error: &TranscriptError) -> ApiError {
    wrong("transcript", &error.to_string())
}

fn wrong(name: &str, msg: &str) -> ApiError {
    FieldError::at(&["body", name], "value_error", msg).into()
}
