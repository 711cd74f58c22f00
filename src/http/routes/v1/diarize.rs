//! `POST /v1/diarize`: finds out who spoke when and, with a transcript, who said what.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use super::VoiceErrors;
use crate::audio::Channel;
use crate::calibration::Criterion;
use crate::config::Right;
use crate::decisions::{
    DiarizeAnswer, Diarized, DiarizedChannel, DiarizedTranscript, Names, Reference, Side, name_by_references,
    voices_of,
};
use crate::embedder::{EmbedderModel, Timings};
use crate::http::admission::{Caller, RequestAdmission};
use crate::http::answer;
use crate::http::error::ApiError;
use crate::http::request::call::Call;
use crate::http::request::diarization::{
    DiarizeCall, DiarizeForm, DiarizeRequest, KnownSpeakers, ResponseFormat, bad_transcript, unpacked,
};
use crate::http::request::model::resolve_in;
use crate::http::request::one_voice::RecordingFields;
use crate::http::request::voice::VoiceRecording;
use crate::http::routes::extract_embedding::RawRecording;
use crate::http::state::AppState;
use crate::http::voices::Voices;
use crate::listening::HeardRecording;
use crate::pace::Pace;
use crate::pipeline::PipelineError;
use crate::transcript::CueFormat;

/// The turns, or a transcript with speakers.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "it describes answers to OpenAPI")]
pub(in crate::http) enum DiarizeResponse {
    Turns(DiarizeAnswer),
    DiarizedJson(DiarizedTranscript),
}

/// Find out who spoke when and, with a transcript, who said what.
///
/// Speakers are labelled S1, S2 and so on, in the order in which they are first heard. The service estimates the number
/// of speakers, unless the request gives it. Turns overlap where several speakers talk at once, unless `overlap` is
/// false. Speakers who talk for less than a second may be missed.
#[utoipa::path(post, path = "/v1/diarize", tag = "Voices", security(("ApiKey" = []), ("Bearer" = [])),
    params(DiarizeRequest, RecordingFields),
    request_body(content((DiarizeRequest = "application/json"), (DiarizeForm = "multipart/form-data"), (RawRecording = "application/octet-stream"))),
    responses(
        (status = 200, description = "The turns. With `response_format` `diarized_json`, a response in the format of OpenAI's `gpt-4o-transcribe-diarize`; with `rttm`, `vtt` or `srt`, a text",
            content((DiarizeResponse = "application/json"), (String = "text/plain"), (String = "text/vtt")),
            headers(("Server-Timing" = String, description = "The time of each stage: `queue`, `decode`, `preprocess`, `encode`."))),
        VoiceErrors,
    ),
)]
pub(in crate::http) async fn diarize_recording(
    State(state): State<AppState>,
    Call { caller, admission, request: asked }: Call<DiarizeCall>,
) -> Result<Response, ApiError> {
    match &asked.collection {
        Some(collection) => {
            caller.key.require(Right::Identify)?;
            caller.key.require_collection(collection)?;
            state.store()?;
        }
        None => caller.key.require(Right::Embed)?,
    }
    let model = resolve_in(&state, asked.model.as_deref().into_iter(), asked.collection.as_ref()).await?;
    let DiarizeCall { recording, is_split, options, collection, known, name, transcript, format, .. } = asked;
    let references = embed_references(&state, &caller, &admission, &model, known).await?;
    let recording = admission.run(move || unpacked(recording, is_split)).await??;
    let (channels, timings) = hear(&caller, &admission, &model, recording).await?;
    let audio_seconds = channels[0].heard.duration_seconds();
    let transcript = transcript.map(|transcript| transcript.of_recording(audio_seconds));
    let transcript = transcript.transpose().map_err(|error| bad_transcript(&error))?;
    let (mut found, mut silent) = (Vec::with_capacity(channels.len()), None);
    for HeardChannel { number, heard } in channels {
        let options = options.clone();
        let diarized = admission.run_in_slices(move |pace| heard.diarize(&options, pace)).await?;
        let (diarized, audio) = match diarized {
            Ok(diarized) => diarized,
            Err(error @ PipelineError::NoSpeech { .. }) => {
                silent = Some(error);
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        state.metrics.embedding.speech_seconds.inc_by(audio.speech_seconds);
        let names = match &collection {
            Some(collection) => admission.name_speakers(&model, collection, &diarized).await?,
            None if !references.is_empty() => {
                let voices = voices_of(&diarized, model.id()).map_err(|error| internal(error.to_string()))?;
                name_by_references(&diarized, &voices, &references, Criterion::Default, model.judge())
            }
            None => Names::none(diarized.speakers.len()),
        };
        found.push(DiarizedChannel { number, found: diarized, names, audio });
    }
    if let Some(error) = silent.filter(|_| found.is_empty()) {
        return Err(error.into());
    }
    let with_embeddings = caller.key.may(Right::Embed);
    let text = admission.run(move || {
        let diarized = Diarized::new(found, model.id().clone());
        let transcript = transcript.as_ref();
        Ok::<_, ApiError>(match format {
            ResponseFormat::Rttm => diarized.rttm(&name).into_bytes(),
            ResponseFormat::Vtt => diarized.cues(CueFormat::Vtt, transcript).into_bytes(),
            ResponseFormat::Srt => diarized.cues(CueFormat::Srt, transcript).into_bytes(),
            ResponseFormat::Json => {
                answer::to_json(&diarized.answer(transcript, with_embeddings), Pace::UNBROKEN)?
            }
            ResponseFormat::DiarizedJson => {
                let transcript = transcript.ok_or_else(|| internal("there is no transcript"))?;
                answer::to_json(&diarized.diarized_transcript(transcript), Pace::UNBROKEN)?
            }
        })
    });
    let text = text.await??;
    let content_type = match format {
        ResponseFormat::Json | ResponseFormat::DiarizedJson => {
            return Ok(answer::json_text(text, &timings, audio_seconds));
        }
        ResponseFormat::Vtt => "text/vtt; charset=utf-8",
        ResponseFormat::Rttm | ResponseFormat::Srt => "text/plain; charset=utf-8",
    };
    let (timing_name, timing) = answer::server_timing(&timings);
    Ok(([(CONTENT_TYPE, content_type.to_owned()), (timing_name, timing)], text).into_response())
}

/// An analysed channel of a recording, or the whole recording.
struct HeardChannel {
    /// The number of the channel, if channels are analysed separately.
    number: Option<u16>,
    heard: HeardRecording,
}

/// Analyses the recording or, if `n_channels` is given, each of its channels. Omits channels without speech.
async fn hear(
    caller: &Caller,
    admission: &RequestAdmission,
    model: &Arc<EmbedderModel>,
    (recording, n_channels): (VoiceRecording, Option<u16>),
) -> Result<(Vec<HeardChannel>, Timings), ApiError> {
    let mut timings = Timings::default();
    let Some(n_channels) = n_channels else {
        let heard = hear_channel(caller, admission, model, (recording, None), &mut timings).await?;
        return Ok((vec![HeardChannel { number: None, heard }], timings));
    };
    // Each further channel counts as a further recording. The tokens of all channels are taken before the first is analysed.
    caller.key.take_more_tokens(usize::from(n_channels).saturating_sub(1))?;
    let (mut channels, mut silent) = (Vec::new(), None);
    for number in 0..n_channels {
        let channel = (recording.clone(), Some(number));
        match hear_channel(caller, admission, model, channel, &mut timings).await {
            Ok(heard) => channels.push(HeardChannel { number: Some(number), heard }),
            Err(error @ ApiError::Pipeline(PipelineError::NoSpeech { .. })) => silent = Some(error),
            Err(error) => return Err(error),
        }
    }
    match silent {
        Some(error) if channels.is_empty() => Err(error),
        _ => Ok((channels, timings)),
    }
}

/// Analyses a recording, or one of its channels.
async fn hear_channel(
    caller: &Caller,
    admission: &RequestAdmission,
    model: &Arc<EmbedderModel>,
    (mut recording, channel): (VoiceRecording, Option<u16>),
    timings: &mut Timings,
) -> Result<HeardRecording, ApiError> {
    if let Some(channel) = channel {
        recording.options.channel = Channel::One(channel);
    }
    let heard = admission.hear(caller, model, recording).await?;
    timings.add(&heard.timings);
    Ok(heard.recording)
}

/// Returns the speakers that the request itself names, with the embeddings of their recordings.
async fn embed_references(
    state: &AppState,
    caller: &Caller,
    admission: &RequestAdmission,
    model: &Arc<EmbedderModel>,
    KnownSpeakers { names, references }: KnownSpeakers,
) -> Result<Vec<Reference>, ApiError> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    // The request's own token pays for the recording to diarize. So the first reference needs one more token.
    caller.key.take_more_tokens(1)?;
    let place = |i: usize| format!("known_speaker_references[{i}]");
    let voices = Voices::resolve(state, (Some(model.id().fingerprint()), None), references, place).await?;
    let sides = voices.embed(state, caller, admission).await?.take_all()?;
    let reference =
        |(name, side): (String, Side)| Reference { name, embedding: side.embedding, evidence: side.evidence };
    Ok(names.into_iter().zip(sides).map(reference).collect())
}

fn internal(error: impl Into<String>) -> ApiError {
    ApiError::Internal(error.into())
}
