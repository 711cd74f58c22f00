//! `POST /v1/diarize`: who spoke when, and who said what.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::VoiceErrors;
use crate::audio::{self, Channel};
use crate::claims::Criterion;
use crate::config::Right;
use crate::diarization::{Diarization, Diarizing, MAX_SPEAKERS, SpeakerCount, Turn, label, rttm};
use crate::embedder::{EmbeddedVoice, EmbedderModel, Timings};
use crate::http::answer;
use crate::http::batch::{self, Caller, on_worker, on_worker_in_turn};
use crate::http::error::{ApiError, FieldError};
use crate::http::layers::auth::KeyHolder;
use crate::http::layers::time_limit::TimeLimit;
use crate::http::pages::document::example_recording;
use crate::http::request::model::resolve;
use crate::http::request::one_voice::{VOICE_PARTS, one_voice};
use crate::http::request::parts::{Part, Received};
use crate::http::request::voice::{Source, Voice, VoiceFields, VoiceRecording};
use crate::http::routes::audio_report::AudioReport;
use crate::http::routes::extract_embedding::RawRecording;
use crate::http::state::AppState;
use crate::http::store::followed;
use crate::pipeline::{self, PipelineError};
use crate::speakers::{DEFAULT_MARGIN, Identifier, NAMING_TOP, Names, Wanted, name_voices, voices_of};
use crate::transcript::{CueFormat, MAX_TRANSCRIPT_BYTES, Transcript, TranscriptError, cues_of_turns};

/// The route, whose bodies may be large.
pub(in crate::http) const PATH: &str = "/v1/diarize";

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

/// Who spoke when.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct DiarizeAnswer {
    /// The turns, in order; those of one channel do not overlap.
    segments: Vec<SegmentAnswer>,
    /// The speakers, as they are heard. Each can be sent back as a voice, to be enrolled.
    speakers: Vec<SpeakerAnswer>,
    /// What was sent, in its own format, with `speaker` on each part and word; a VTT or SRT file is a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    transcript: Option<Box<RawValue>>,
    /// Of the recording or, where its channels were split, of the first.
    #[schema(value_type = AudioReport)]
    audio: pipeline::AudioReport,
    /// Names weights and preprocessing.
    #[schema(example = "resemblyzer-0.1.4/39373b86")]
    model: String,
}

/// One speaker's turn.
#[derive(Serialize, ToSchema)]
#[schema(as = TurnAnswer)]
struct SegmentAnswer {
    /// When it begins, in seconds of the recording.
    #[schema(example = 1.08)]
    start: f64,
    /// When it ends.
    #[schema(example = 5.13)]
    end: f64,
    /// Whose it is.
    #[schema(example = "S1")]
    label: String,
    /// How much more alike it is to this speaker than to the next, as a difference of cosines; null if there is no other.
    #[schema(example = 0.21)]
    margin: Option<f64>,
    /// The channel, where they were split.
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<u16>,
}

/// A speaker of a recording.
#[derive(Serialize, ToSchema)]
#[schema(as = HeardSpeaker)]
struct SpeakerAnswer {
    #[schema(example = "S1")]
    label: String,
    /// Of all turns together.
    #[schema(example = 29.1)]
    seconds: f64,
    /// The mean of the speaker's windows, L2 norm 1; missing for keys without the right `embed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Vec<f32>, required = false)]
    embedding: Option<Vec<f32>>,
    /// The embedding's model.
    #[schema(example = "resemblyzer-0.1.4/39373b86")]
    model: String,
    /// Seconds of speech that the embedding is made of.
    #[schema(example = 29.1)]
    speech_seconds: f64,
    /// The enrolled speaker's id; null if there is none, or none was looked for.
    #[schema(value_type = Option<String>, example = "anna")]
    speaker: Option<Identifier>,
    /// The enrolled speaker's name.
    #[schema(example = "Anna")]
    name: Option<String>,
    /// Cosine similarity to the enrolled speaker's profile.
    #[schema(example = 0.87)]
    similarity: Option<f64>,
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
    key: Extension<KeyHolder>,
    time_limit: Extension<TimeLimit>,
    request: Request,
) -> Result<Response, ApiError> {
    let caller = Caller::new(key, time_limit);
    caller.time_limit.extend_for_body(request.headers());
    let max_bytes = state.config.max_diarize_body_bytes;
    let received = Received::up_to(&state, request, PARTS, max_bytes).await?;
    let mut asked = on_worker(&state, move || Asked::read(received)).await??;
    match &asked.collection {
        Some(collection) => {
            caller.key.require(Right::Identify)?;
            caller.key.require_collection(collection)?;
            state.store()?;
        }
        None => caller.key.require(Right::Embed)?,
    }
    let model = Arc::clone(resolve(state.embedder_in_hand()?, asked.model.as_deref().into_iter())?);
    let (channels, timings) = asked.hear(&state, &caller, &model).await?;
    let audio_seconds = channels[0].voice.audio.duration_seconds;
    if let Some(transcript) = &asked.transcript {
        transcript.check_length(audio_seconds).map_err(|error| bad_transcript(&error))?;
    }
    let mut found = Vec::with_capacity(channels.len());
    for channel in channels {
        found.push(asked.find(&state, &model, channel).await?);
    }
    let format = asked.format;
    let with_embeddings = caller.key.may(Right::Embed);
    let text = on_worker_in_turn(&state, move || asked.answer(found, &model, with_embeddings)).await??;
    let content_type = match format {
        ResponseFormat::Json => return Ok(answer::json(text.into_bytes(), &timings, audio_seconds)),
        ResponseFormat::Vtt => "text/vtt; charset=utf-8",
        ResponseFormat::Rttm | ResponseFormat::Srt => "text/plain; charset=utf-8",
    };
    let (timing_name, timing) = answer::server_timing(&timings);
    Ok(([(CONTENT_TYPE, content_type.to_owned()), (timing_name, timing)], text).into_response())
}

/// What a request asks for.
struct Asked {
    /// Until it is heard.
    recording: Option<VoiceRecording>,
    /// The number of channels, if each is analysed by itself.
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

/// Who spoke when in a channel.
struct FoundChannel {
    number: Option<u16>,
    found: Diarization,
    names: Names,
    audio: pipeline::AudioReport,
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
        let Voice::Recording(mut recording) = voice else {
            return Err(wrong("voice", "Only a recording has turns"));
        };
        if recording.segments.is_some() {
            return Err(wrong("segments", "A recording is taken as a whole here"));
        }
        // Once, and not for each channel.
        let bytes = recording.source.unpack()?;
        let n_split_channels = is_split.then(|| audio::count_channels(&bytes, recording.options.raw));
        let n_split_channels = n_split_channels.transpose().map_err(PipelineError::from)?;
        recording.source = Source::File(bytes);
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
        Ok(Self { recording, n_split_channels, count, collection, transcript, format, model })
    }

    /// The windows of the recording, or of each of its channels that has speech.
    async fn hear(
        &mut self,
        state: &AppState,
        caller: &Caller,
        model: &Arc<EmbedderModel>,
    ) -> Result<(Vec<HeardChannel>, Timings), ApiError> {
        let mut timings = Timings::default();
        let recording = self.recording.take().ok_or_else(|| ApiError::Internal("heard twice".into()))?;
        let Some(n_channels) = self.n_split_channels else {
            let voice = hear_channel(state, caller, model, (recording, None), &mut timings).await?;
            return Ok((vec![HeardChannel { number: None, voice }], timings));
        };
        // Each further channel is a further recording; all of them are paid for before the first is heard.
        caller.key.take_more_tokens(usize::from(n_channels).saturating_sub(1))?;
        let (mut heard, mut silent) = (Vec::new(), None);
        for number in 0..n_channels {
            let channel = (recording.clone(), Some(number));
            match hear_channel(state, caller, model, channel, &mut timings).await {
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
        model: &Arc<EmbedderModel>,
        channel: HeardChannel,
    ) -> Result<FoundChannel, ApiError> {
        let HeardChannel { number, voice } = channel;
        let (count, merged_from) = (self.count.clone(), model.spec().turns.merged_from);
        let (heard, audio) = voice.into_heard();
        let mut diarizing =
            on_worker_in_turn(state, move || Diarizing::new(heard, count, merged_from)).await?;
        let found = loop {
            // Slice by slice, so that what others have sent takes its turn between two.
            let (rest, found) = on_worker_in_turn(state, move || {
                let found = diarizing.advance();
                (diarizing, found)
            })
            .await?;
            diarizing = rest;
            if let Some(found) = found {
                break found;
            }
        };
        let names = match &self.collection {
            Some(collection) => name(state, model, collection, &found).await?,
            None => Names::none(found.speakers.len()),
        };
        Ok(FoundChannel { number, found, names, audio })
    }

    /// The answer as text.
    fn answer(
        &self,
        channels: Vec<FoundChannel>,
        model: &EmbedderModel,
        with_embeddings: bool,
    ) -> Result<String, ApiError> {
        let together = Together::new(channels);
        let name = |speaker: usize| together.names.display_name(speaker);
        let cues = |format| match &self.transcript {
            Some(transcript) => transcript.cues(format, &together.turns, &name),
            None => cues_of_turns(format, &together.turns, &name),
        };
        Ok(match self.format {
            ResponseFormat::Rttm => {
                rttm("recording", &together.turns, &|speaker| together.names.id(speaker), &|speaker| {
                    together.channel(speaker)
                })
            }
            ResponseFormat::Vtt => cues(CueFormat::Vtt),
            ResponseFormat::Srt => cues(CueFormat::Srt),
            ResponseFormat::Json => {
                let transcript = self
                    .transcript
                    .as_ref()
                    .map(|transcript| transcript.with_speakers(&together.turns, &name));
                let answer = together.answer(transcript, model.id().fingerprint(), with_embeddings);
                serde_json::to_string(&answer).map_err(|error| ApiError::Internal(error.to_string()))?
            }
        })
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
    state: &AppState,
    caller: &Caller,
    model: &Arc<EmbedderModel>,
    (mut recording, channel): (VoiceRecording, Option<u16>),
    timings: &mut Timings,
) -> Result<EmbeddedVoice, ApiError> {
    if let Some(channel) = channel {
        recording.options.channel = Channel::One(channel);
    }
    // What has been heard is not lost because the queue is full by now.
    let admission = match channel {
        None | Some(0) => state.embedder()?.admit(1)?,
        Some(_) => batch::admitted_in_turn(state).await?,
    };
    let embedded = batch::submit_turns(state, caller, model, admission, recording)?.one(state).await?;
    let (voice, own) = embedded.into_whole()?;
    timings.add(&own);
    Ok(voice)
}

/// Of each speaker of a recording, the enrolled one.
async fn name(
    state: &AppState,
    model: &Arc<EmbedderModel>,
    collection: &Identifier,
    found: &Diarization,
) -> Result<Names, ApiError> {
    let embeddings = voices_of(found, model.id()).map_err(|error| ApiError::Internal(error.to_string()))?;
    let wanted = Wanted { collection: collection.clone(), top: NAMING_TOP, except: None };
    let store = followed(state).await?;
    let searched = on_worker_in_turn(state, move || store.search_known(&embeddings, &wanted)).await?;
    let voices: Vec<_> = found.speakers.iter().map(|speaker| speaker.seconds).zip(searched).collect();
    Ok(name_voices(&voices, Criterion::Default, model.judge(), DEFAULT_MARGIN))
}

/// The channels of a recording, with their speakers numbered through.
struct Together {
    /// In the order of their starts.
    turns: Vec<Turn>,
    /// Of each speaker the channel, where they were split.
    channels: Vec<Option<u16>>,
    speakers: Vec<crate::diarization::Speaker>,
    names: Names,
    audio: pipeline::AudioReport,
}

impl Together {
    /// Of at least one channel.
    fn new(channels: Vec<FoundChannel>) -> Self {
        let audio = channels[0].audio.clone();
        let mut together = Self {
            turns: Vec::new(),
            channels: Vec::new(),
            speakers: Vec::new(),
            names: Names::default(),
            audio,
        };
        for FoundChannel { number, found, names, .. } in channels {
            let before = together.speakers.len();
            together.channels.resize(before + found.speakers.len(), number);
            together
                .turns
                .extend(found.turns.into_iter().map(|turn| Turn { speaker: turn.speaker + before, ..turn }));
            together.speakers.extend(found.speakers);
            together.names.extend(names);
        }
        together.turns.sort_by(|a, b| a.seconds.start.total_cmp(&b.seconds.start));
        together
    }

    /// The channel, counted from 1.
    fn channel(&self, speaker: usize) -> u16 {
        self.channels[speaker].map_or(1, |channel| channel + 1)
    }

    fn answer(&self, transcript: Option<Box<RawValue>>, model: &str, with_embeddings: bool) -> DiarizeAnswer {
        let segment = |turn: &Turn| SegmentAnswer {
            start: rounded(turn.seconds.start),
            end: rounded(turn.seconds.end),
            label: label(turn.speaker),
            margin: turn.margin,
            channel: self.channels[turn.speaker],
        };
        let speaker = |(number, speaker): (usize, &crate::diarization::Speaker)| {
            let enrolled = self.names.enrolled(number);
            SpeakerAnswer {
                label: label(number),
                seconds: rounded(speaker.seconds),
                embedding: with_embeddings.then(|| speaker.embedding.iter().map(|c| *c as f32).collect()),
                model: model.to_owned(),
                speech_seconds: rounded(speaker.seconds),
                speaker: enrolled.map(|enrolled| enrolled.speaker.clone()),
                name: enrolled.map(|enrolled| enrolled.name.clone()),
                similarity: enrolled.map(|enrolled| enrolled.similarity),
            }
        };
        DiarizeAnswer {
            segments: self.turns.iter().map(segment).collect(),
            speakers: self.speakers.iter().enumerate().map(speaker).collect(),
            transcript,
            audio: self.audio.clone(),
            model: model.to_owned(),
        }
    }
}

/// To a millisecond.
fn rounded(seconds: f64) -> f64 {
    (seconds * 1e3).round() / 1e3
}

fn bad_transcript(error: &TranscriptError) -> ApiError {
    wrong("transcript", &error.to_string())
}

fn wrong(name: &str, msg: &str) -> ApiError {
    FieldError::at(&["body", name], "value_error", msg).into()
}
