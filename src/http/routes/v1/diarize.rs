//! `POST /v1/diarize`: who spoke when, and who said what.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use super::VoiceErrors;
use crate::audio::Channel;
use crate::calibration::Criterion;
use crate::config::Right;
use crate::decisions::{
    DiarizeAnswer, Diarized, DiarizedChannel, Names, name_speakers, naming_search, voices_of,
};
use crate::diarization::{Diarization, diarize};
use crate::embedder::{EmbeddedVoice, EmbedderModel, Timings};
use crate::http::admission::{Admission, Caller};
use crate::http::answer;
use crate::http::error::ApiError;
use crate::http::request::call::Call;
use crate::http::request::diarization::{
    Asked, DiarizeForm, DiarizeRequest, ResponseFormat, bad_transcript, unpacked,
};
use crate::http::request::model::resolve;
use crate::http::request::one_voice::RecordingFields;
use crate::http::request::voice::VoiceRecording;
use crate::http::routes::extract_embedding::RawRecording;
use crate::http::state::AppState;
use crate::http::store::follow_store;
use crate::pace::Pace;
use crate::pipeline::{PipelineError, Wanted, WantedTurns};
use crate::speakers::Identifier;
use crate::transcript::CueFormat;

/// Say who spoke when and, with a transcript, who said what.
///
/// Speakers get labels, S1 and so on, in the order in which they are heard; the number of speakers is found, unless it is given. Of
/// several voices at once one is told. Resemblyzer merges voices that are alike; turns of less than a second, and speakers of a few seconds, may be missed,
/// also where the number is given: try one more.
#[utoipa::path(post, path = "/v1/diarize", tag = "Voices", security(("ApiKey" = []), ("Bearer" = [])),
    params(DiarizeRequest, RecordingFields),
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
    let Asked { recording, is_split, count, collection, transcript, format, .. } = asked;
    let recording = admission.run(move || unpacked(recording, is_split)).await??;
    let (channels, timings) = hear(&caller, &admission, &model, recording).await?;
    let audio_seconds = channels[0].voice.audio.duration_seconds;
    if let Some(transcript) = &transcript {
        transcript.check_length(audio_seconds).map_err(|error| bad_transcript(&error))?;
    }
    let mut found = Vec::with_capacity(channels.len());
    for channel in channels {
        let HeardChannel { number, voice } = channel;
        let (count, merged_from) = (count.clone(), model.spec().turns.merged_from);
        let (heard, audio) = voice.into_heard();
        let diarized = admission.run_in_slices(move |pace| diarize(heard, count, merged_from, pace)).await?;
        // What was cancelled has nobody who waits for an answer.
        let diarized = diarized.map_err(PipelineError::from)?;
        let names = match &collection {
            Some(collection) => name(&state, &admission, &model, collection, &diarized).await?,
            None => Names::none(diarized.speakers.len()),
        };
        found.push(DiarizedChannel { number, found: diarized, names, audio });
    }
    let with_embeddings = caller.key.may(Right::Embed);
    let text = admission.run(move || {
        let diarized = Diarized::new(found, model.id().clone());
        let transcript = transcript.as_ref();
        Ok::<_, ApiError>(match format {
            ResponseFormat::Rttm => diarized.rttm("recording").into_bytes(),
            ResponseFormat::Vtt => diarized.cues(CueFormat::Vtt, transcript).into_bytes(),
            ResponseFormat::Srt => diarized.cues(CueFormat::Srt, transcript).into_bytes(),
            ResponseFormat::Json => {
                answer::to_json(&diarized.answer(transcript, with_embeddings), Pace::UNBROKEN)?
            }
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

/// A channel of a recording, or the recording, as it was heard.
struct HeardChannel {
    /// Its number, where they were split.
    number: Option<u16>,
    voice: EmbeddedVoice,
}

/// The windows of the recording or, where their number is given, of each of its channels that has speech.
async fn hear(
    caller: &Caller,
    admission: &Admission,
    model: &Arc<EmbedderModel>,
    (recording, n_channels): (VoiceRecording, Option<u16>),
) -> Result<(Vec<HeardChannel>, Timings), ApiError> {
    let mut timings = Timings::default();
    let Some(n_channels) = n_channels else {
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
    let wanted = naming_search(collection.clone());
    let store = follow_store(state).await?;
    let searched = admission.run(move || store.search_known(&embeddings, &wanted)).await?;
    Ok(name_speakers(found, searched, Criterion::Default, model.judge()))
}
