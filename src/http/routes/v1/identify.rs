//! `POST /v1/identify`: whose voice is it?

use std::sync::Arc;
use std::time::Instant;

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::VoiceErrors;
use crate::claims::{Criterion, CriterionError, Evidence};
use crate::embedder::{EmbeddedVoice, EmbedderModel, Timings};
use crate::embedding::{EmbeddingError, UnitEmbedding};
use crate::http::answer;
use crate::http::batch::{self, Caller, on_worker};
use crate::http::error::{ApiError, FieldError};
use crate::http::layers::auth::KeyHolder;
use crate::http::layers::time_limit::TimeLimit;
use crate::http::pages::document::example_recording;
use crate::http::request::criterion::{criterion, not_met};
use crate::http::request::model::resolve;
use crate::http::request::one_voice::{VOICE_PARTS, one_voice};
use crate::http::request::parts::Received;
use crate::http::request::sides::unit_embedding;
use crate::http::request::voice::{Voice, VoiceFields};
use crate::http::routes::audio_report::AudioReport;
use crate::http::routes::extract_embedding::RawRecording;
use crate::http::state::AppState;
use crate::http::store;
use crate::pipeline::{self, PipelineError};
use crate::speakers::{
    Candidate, Criteria, DEFAULT_MARGIN, Found, Identifier, SpeakerKey, Wanted, claim, decide, threshold,
};

/// Candidates of an answer, unless the request names another number.
const DEFAULT_TOP: usize = 5;

/// The name of the option.
const RATE: &str = "max_false_identification_rate";

/// Candidates of an answer at the most.
const MAX_TOP: usize = 100;

/// A voice to search among enrolled speakers.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"voice": {"audio_base64": example_recording()}, "top": 3}))]
pub(in crate::http) struct IdentifyRequest {
    /// A recording, an embedding or an enrolled speaker, who is no candidate then.
    #[schema(value_type = VoiceFields)]
    voice: Option<VoiceFields>,
    /// Where to search; `default` if missing.
    #[schema(value_type = Option<String>, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    collection: Option<Identifier>,
    /// The number of candidates; 5 if missing.
    #[schema(minimum = 1, maximum = 100)]
    top: Option<usize>,
    /// How much more similar than the second best the best must be; 0.05 if missing.
    #[schema(minimum = 0, maximum = 2)]
    margin: Option<f64>,
    /// Similarity that the best must exceed.
    #[schema(minimum = -1, maximum = 1)]
    threshold: Option<f64>,
    /// Instead of a threshold: how often a search may name somebody for a voice of none of those enrolled; 0.05 if missing. The threshold is the
    /// higher of the model's own and the one that follows from this, the number searched and the seconds of speech.
    #[schema(minimum = 0, maximum = 1)]
    max_false_identification_rate: Option<f64>,
    /// The model, by id or fingerprint.
    model: Option<String>,
}

/// A voice to search, as a part of a form.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it describes a multipart form to OpenAPI")]
pub(in crate::http) struct IdentifyForm {
    /// The audio file.
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
    /// As in JSON.
    #[schema(value_type = Option<String>, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", example = "default")]
    collection: Option<Identifier>,
    /// As in JSON.
    #[schema(example = 3)]
    top: Option<usize>,
    /// As in JSON.
    #[schema(minimum = 0, maximum = 1)]
    max_false_identification_rate: Option<f64>,
}

/// Whose voice it is. Of a recording with segments, `results` alone, with as much for each.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct IdentifyAnswer {
    /// The segment's place.
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
    /// The speaker's id; null if nobody can be named.
    #[schema(value_type = Option<String>, example = "anna")]
    speaker: Option<Identifier>,
    /// `match`, `below_threshold`, `ambiguous` (two are too close), `empty_collection` or `no_profile_of_model`.
    #[schema(example = "match")]
    reason: &'static str,
    /// The most similar, best first.
    candidates: Vec<CandidateAnswer>,
    /// The share of searches among as many, with as much speech, in which somebody who is not enrolled scores at least what the best candidate
    /// does, on the calibration's recordings. Null where that cannot be told; `calibration_note` says why.
    #[schema(example = 0.02)]
    false_identification_rate: Option<f64>,
    /// Whether the rate is only known to be no more than this.
    #[schema(example = false)]
    false_identification_rate_is_bound: bool,
    /// What the claims are computed with; null if there is nothing for this model.
    #[schema(example = "librispeech-2026")]
    calibration: Option<String>,
    /// What was measured and what was not, or why nothing is claimed.
    #[schema(
        example = "On clean read English, 130 speakers: with as much speech, about 1 in 50 searches among 12 of ..."
    )]
    calibration_note: String,
    /// The number of speakers that were compared: the more there are, the more likely a stranger is taken for one of them.
    #[schema(example = 12)]
    searched: usize,
    /// The threshold that was used.
    #[schema(example = 0.75)]
    threshold: f64,
    /// The margin that was used.
    #[schema(example = 0.05)]
    margin: f64,
    /// Names weights and preprocessing.
    #[schema(example = "resemblyzer-0.1.4/39373b86")]
    model: String,
    /// Of a recording.
    #[schema(value_type = Option<AudioReport>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    audio: Option<pipeline::AudioReport>,
}

/// A speaker that it may be.
#[derive(Serialize, ToSchema)]
struct CandidateAnswer {
    #[schema(value_type = String, example = "anna")]
    speaker: Identifier,
    #[schema(example = "Anna")]
    name: String,
    /// Cosine similarity to the profile.
    #[schema(example = 0.91)]
    similarity: f64,
    /// The natural logarithm of how much more likely the similarity is if it is this speaker; null where that cannot be told.
    #[schema(example = 4.2)]
    log_likelihood_ratio: Option<f64>,
}

/// The segments of a recording.
#[derive(Serialize)]
struct SegmentsAnswer {
    results: Vec<SegmentAnswer>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum SegmentAnswer {
    Searched(Box<IdentifyAnswer>),
    Failed { index: usize, code: &'static str, detail: String },
}

/// What a request asks for, besides the voice.
struct Asked {
    criterion: Criterion,
    margin: f64,
    top: usize,
    model: Arc<EmbedderModel>,
}

/// What is searched for: a voice, or each segment of one.
struct Probes {
    voices: Vec<Result<Probe, PipelineError>>,
    has_segments: bool,
    /// The speaker that the voice is of.
    except: Option<SpeakerKey>,
    timings: Timings,
    audio_seconds: f64,
}

struct Probe {
    embedding: UnitEmbedding,
    evidence: Evidence,
    audio: Option<pipeline::AudioReport>,
}

/// Say whose voice it is.
///
/// The search compares with every speaker of the collection. Somebody is named if the best candidate is above the threshold and ahead
/// of the second best by the margin. The more speakers there are, the more often a stranger is taken for one of them.
#[utoipa::path(post, path = "/v1/identify", tag = "Speakers", security(("ApiKey" = []), ("Bearer" = [])),
    request_body(content((IdentifyRequest = "application/json"), (IdentifyForm = "multipart/form-data"), (RawRecording = "application/octet-stream"))),
    responses(
        (status = 200, body = IdentifyAnswer, description = "The decision and the candidates",
            headers(("Server-Timing" = String, description = "The time of each stage: `queue`, `decode`, `preprocess`, `encode`."))),
        VoiceErrors,
    ),
)]
pub(in crate::http) async fn identify(
    State(state): State<AppState>,
    key: Extension<KeyHolder>,
    time_limit: Extension<TimeLimit>,
    request: Request,
) -> Result<Response, ApiError> {
    state.store()?;
    let caller = Caller::new(key, time_limit);
    let received = Received::new(&state, request, VOICE_PARTS).await?;
    let (request, voice) = on_worker(&state, move || IdentifyRequest::read(received)).await??;
    let collection = request.collection.clone().unwrap_or_else(Identifier::default_collection);
    caller.key.require_collection(&collection)?;
    let own_model =
        if let Voice::Embedding(embedding) = &voice { Some(embedding.model.as_str()) } else { None };
    let names = request.model.as_deref().into_iter().chain(own_model);
    let model = resolve(state.embedder_in_hand()?, names)?.clone();
    let probes = Probes::new(&state, &caller, &model, voice).await?;
    let asked = Asked {
        criterion: request.criterion()?,
        margin: request.margin.unwrap_or(DEFAULT_MARGIN),
        top: request.top.unwrap_or(DEFAULT_TOP),
        model: Arc::clone(&model),
    };
    // The margin needs a second one.
    let wanted = Wanted { collection, top: asked.top.max(2), except: probes.except };
    let embeddings: Vec<UnitEmbedding> =
        probes.voices.iter().flatten().map(|probe| probe.embedding.clone()).collect();
    let (store, metrics) = (store::followed(&state).await?, state.metrics.clone());
    let searched = on_worker(&state, move || {
        let begun = Instant::now();
        let found = store.search_known(&embeddings, &wanted);
        metrics.speakers.search_seconds.observe(begun.elapsed().as_secs_f64());
        found
    });
    let (timings, audio_seconds) = (probes.timings, probes.audio_seconds);
    let body = probes.answer(&state, searched.await?, &asked)?;
    Ok(answer::json(body, &timings, audio_seconds))
}

impl IdentifyRequest {
    fn read(received: Received) -> Result<(Self, Voice), ApiError> {
        let (request, voice) = one_voice(received, |request: &mut Self| request.voice.take())?;
        let wrong = |name: &str, msg: String| FieldError::at(&["body", name], "value_error", &msg).into();
        if request.top.is_some_and(|top| !(1..=MAX_TOP).contains(&top)) {
            return Err(wrong("top", format!("Input should be from 1 to {MAX_TOP}")));
        }
        if request.margin.is_some_and(|margin| !(0.0..=2.0).contains(&margin)) {
            return Err(wrong("margin", "Input should be from 0 to 2".into()));
        }
        request.criterion()?;
        Ok((request, voice))
    }

    fn criterion(&self) -> Result<Criterion, ApiError> {
        criterion(self.threshold, self.max_false_identification_rate, RATE)
    }
}

impl Probes {
    async fn new(
        state: &AppState,
        caller: &Caller,
        model: &Arc<EmbedderModel>,
        voice: Voice,
    ) -> Result<Self, ApiError> {
        let has_segments = voice.has_segments();
        let known = |embedding, evidence, except| {
            let voices = vec![Ok(Probe { embedding, evidence, audio: None })];
            Self { voices, has_segments, except, timings: Timings::default(), audio_seconds: 0.0 }
        };
        match voice {
            Voice::Embedding(sent) => {
                let warnings = sent.warnings.iter().map(String::as_str);
                let evidence = Evidence::new(sent.speech_seconds, warnings, 1);
                Ok(known(unit_embedding(model, sent.components, "voice")?, evidence, None))
            }
            Voice::Speaker(address) => {
                let probe = store::voice_of(state, &caller.key, address, model.id()).await?;
                Ok(known(probe.embedding, probe.profile.evidence(), Some(probe.key)))
            }
            Voice::Recording(recording) => {
                let embedded =
                    batch::submit(state, caller, model, &pipeline::Wanted::default(), vec![recording])?
                        .one(state)
                        .await?;
                let (timings, audio_seconds) = answer::totals([&embedded].into_iter());
                let voices = embedded.voices.into_iter().map(Probe::new).collect::<Result<_, _>>()?;
                Ok(Self { voices, has_segments, except: None, timings, audio_seconds })
            }
        }
    }

    /// The JSON of the decisions, counted.
    fn answer(self, state: &AppState, found: Vec<Found>, asked: &Asked) -> Result<Vec<u8>, ApiError> {
        let mut found = found.into_iter();
        let mut results = Vec::with_capacity(self.voices.len());
        for (place, voice) in self.voices.into_iter().enumerate() {
            match voice {
                Ok(probe) => {
                    let found = found.next().ok_or_else(|| ApiError::Internal("a search is lost".into()))?;
                    let index = self.has_segments.then_some(place);
                    let answer = IdentifyAnswer::new(index, found, probe, asked).map_err(not_met(RATE))?;
                    state.metrics.speakers.identified.with_label_values(&[answer.reason]).inc();
                    results.push(SegmentAnswer::Searched(Box::new(answer)));
                }
                Err(error) if self.has_segments => {
                    let error = ApiError::from(error);
                    let (code, detail) = (error.code(), error.to_string());
                    results.push(SegmentAnswer::Failed { index: place, code, detail });
                }
                Err(error) => return Err(error.into()),
            }
        }
        let body = match &results[..] {
            [SegmentAnswer::Searched(answer)] if !self.has_segments => serde_json::to_vec(answer),
            _ => serde_json::to_vec(&SegmentsAnswer { results }),
        };
        body.map_err(|error| ApiError::Internal(error.to_string()))
    }
}

impl Probe {
    /// What was embedded, or why a recording or segment has no embedding.
    fn new(voice: Result<EmbeddedVoice, PipelineError>) -> Result<Result<Self, PipelineError>, ApiError> {
        let EmbeddedVoice { embedding, audio, .. } = match voice {
            Ok(voice) => voice,
            Err(error) => return Ok(Err(error)),
        };
        let embedding =
            embedding.try_into().map_err(|error: EmbeddingError| ApiError::Internal(error.to_string()))?;
        Ok(Ok(Self { embedding, evidence: audio.evidence(), audio: Some(audio) }))
    }
}

impl IdentifyAnswer {
    fn new(
        index: Option<usize>,
        found: Found,
        Probe { evidence, audio, .. }: Probe,
        asked: &Asked,
    ) -> Result<Self, CriterionError> {
        let judge = asked.model.judge();
        let threshold = threshold(judge, &found, asked.criterion, &evidence)?;
        let decision = decide(&found, &Criteria { threshold, margin: asked.margin });
        let claim = claim(judge, &found, &evidence);
        let candidate = |candidate: Candidate| CandidateAnswer {
            log_likelihood_ratio: judge
                .log_likelihood_ratio(candidate.similarity, [&evidence, &candidate.evidence]),
            speaker: candidate.speaker,
            name: candidate.name,
            similarity: candidate.similarity,
        };
        let searched = found.searched;
        Ok(Self {
            index,
            speaker: decision.speaker,
            reason: decision.reason.name(),
            candidates: found.candidates.into_iter().take(asked.top).map(candidate).collect(),
            false_identification_rate: claim.error_rate.map(|rate| rate.value),
            false_identification_rate_is_bound: claim.error_rate.is_some_and(|rate| rate.is_bound),
            calibration: judge.calibration.map(|calibration| calibration.name.clone()),
            calibration_note: claim.note,
            searched,
            threshold,
            margin: asked.margin,
            model: asked.model.id().fingerprint().to_owned(),
            audio,
        })
    }
}
