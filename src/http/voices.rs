//! Converts the voices of a request to embeddings of one model.

use std::sync::Arc;

use super::admission::{Caller, RequestAdmission};
use super::answer;
use super::error::{ApiError, FieldError};
use super::request::model::resolve_in;
use super::request::voice::{SentEmbedding, Voice};
use super::state::AppState;
use super::store;
use crate::calibration::Evidence;
use crate::config::Right;
use crate::decisions::{Side, SideAnswer};
use crate::embedder::{EmbeddedVoice, EmbedderModel, Timings};
use crate::embedding::{Embedding, EmbeddingError, UnitEmbedding};
use crate::http::layers::auth::KeyHolder;
use crate::pipeline::{PipelineError, Wanted};
use crate::speakers::{Identifier, SpeakerKey};

/// Voices with a known model.
pub(super) struct Voices<N> {
    model: Arc<EmbedderModel>,
    sent: Vec<Voice>,
    /// Returns the name of a voice in errors, by its position.
    name: N,
}

/// Voices as embeddings, in the order of the request.
pub(super) struct EmbeddedVoices<N> {
    pub(super) model: Arc<EmbedderModel>,
    /// For each voice, or each of its segments: the position of the voice, and its embedding or the error.
    pub(super) sides: Vec<(usize, Result<Side, PipelineError>)>,
    /// The keys of voices that are enrolled speakers.
    pub(super) speakers: Vec<SpeakerKey>,
    pub(super) timings: Timings,
    pub(super) audio_seconds: f64,
    name: N,
}

impl<N: Fn(usize) -> String> Voices<N> {
    /// Finds the model that the request and all embeddings name. If they name none, finds the model of the request's
    /// collection. If the request has no collection, the collection of the first enrolled speaker counts.
    pub(super) async fn resolve(
        state: &AppState,
        (model, collection): (Option<&str>, Option<&Identifier>),
        voices: Vec<Voice>,
        name: N,
    ) -> Result<Self, ApiError> {
        let named = voices.iter().filter_map(|voice| match voice {
            Voice::Embedding(embedding) => Some(embedding.model.as_str()),
            Voice::Recording(_) | Voice::Speaker(_) => None,
        });
        let of_speaker = voices.iter().find_map(|voice| match voice {
            Voice::Speaker(address) => Some(&address.collection),
            Voice::Recording(_) | Voice::Embedding(_) => None,
        });
        let model = resolve_in(state, model.into_iter().chain(named), collection.or(of_speaker)).await?;
        Ok(Self { model, sent: voices, name })
    }

    /// Checks that the key may compare these voices. Comparing enrolled speakers needs the right `identify`. Comparing
    /// them with embeddings also needs `read`, because a client could find out a profile with embeddings of its choice.
    pub(super) fn require_rights(&self, key: &KeyHolder) -> Result<(), ApiError> {
        let has = |kind: fn(&Voice) -> bool| self.sent.iter().any(kind);
        if has(|voice| matches!(voice, Voice::Speaker(_))) {
            key.require(Right::Identify)?;
            if has(|voice| matches!(voice, Voice::Embedding(_))) {
                key.require(Right::Read)?;
            }
        }
        Ok(())
    }

    /// Embeds the recordings, and looks up the speakers.
    pub(super) async fn embed(
        self,
        state: &AppState,
        caller: &Caller,
        admission: &RequestAdmission,
    ) -> Result<EmbeddedVoices<N>, ApiError> {
        let Self { model, sent, name } = self;
        let (mut speakers, mut recordings) = (Vec::new(), Vec::new());
        // Embeddings are checked before recordings are processed.
        let mut known: Vec<Option<Side>> = Vec::new();
        for (i, voice) in sent.into_iter().enumerate() {
            known.push(match voice {
                Voice::Embedding(embedding) => Some(side_of_embedding(&model, embedding, &name(i))?),
                Voice::Recording(recording) => {
                    recordings.push(recording);
                    None
                }
                Voice::Speaker(address) => {
                    let id = address.id.clone();
                    let probe = store::voice_of(state, &caller.key, address, model.id()).await;
                    let probe = probe.map_err(|error| error.with_param(name(i)))?;
                    speakers.push(probe.key);
                    Some(Side {
                        embedding: probe.embedding,
                        evidence: probe.profile.evidence(),
                        warnings: probe.profile.warnings.into_iter().collect(),
                        level_dbfs: None,
                        about: SideAnswer { speaker: Some(id), ..SideAnswer::default() },
                    })
                }
            });
        }
        let mut embedded = Vec::new();
        if !recordings.is_empty() {
            let places: Vec<usize> = (0..known.len()).filter(|i| known[*i].is_none()).collect();
            let batch = admission.embed(caller, &model, &Wanted::default(), recordings)?;
            embedded = batch.all(|i| name(places[i])).await?;
        }
        let (timings, audio_seconds) = answer::totals(embedded.iter());
        let mut embedded = embedded.into_iter();
        let mut sides = Vec::new();
        for (i, side) in known.into_iter().enumerate() {
            if let Some(side) = side {
                sides.push((i, Ok(side)));
                continue;
            }
            for voice in embedded.next().into_iter().flat_map(|embedded| embedded.voices) {
                let side = match voice {
                    Ok(voice) => Ok(side_of_recording(voice)?),
                    Err(error) => Err(error),
                };
                sides.push((i, side));
            }
        }
        Ok(EmbeddedVoices { model, sides, speakers, timings, audio_seconds, name })
    }
}

impl<N: Fn(usize) -> String> EmbeddedVoices<N> {
    /// Returns the embeddings. A segment without speech is an error, like a recording without speech.
    pub(super) fn take_all(&mut self) -> Result<Vec<Side>, ApiError> {
        let named = |(i, side): (usize, Result<Side, PipelineError>)| {
            side.map_err(|error| ApiError::from(error).with_param((self.name)(i)))
        };
        std::mem::take(&mut self.sides).into_iter().map(named).collect()
    }
}

fn side_of_recording(voice: EmbeddedVoice) -> Result<Side, ApiError> {
    let EmbeddedVoice { embedding, audio, .. } = voice;
    Ok(Side {
        embedding: embedding
            .try_into()
            .map_err(|error: EmbeddingError| ApiError::Internal(error.to_string()))?,
        evidence: audio.evidence(),
        warnings: audio.warnings.iter().map(|warning| warning.code().to_owned()).collect(),
        level_dbfs: Some(audio.level_dbfs),
        about: SideAnswer { audio: Some(audio), ..SideAnswer::default() },
    })
}

/// Converts an embedding that was sent, and that is known to be of the model. `name` is its location in the request.
fn side_of_embedding(model: &EmbedderModel, sent: SentEmbedding, name: &str) -> Result<Side, ApiError> {
    let SentEmbedding { components, speech_seconds, warnings, .. } = sent;
    let embedding = Embedding::new(model.id(), components).and_then(UnitEmbedding::try_from);
    let embedding = embedding.map_err(|error| match error {
        EmbeddingError::WrongDimension { expected, got } => {
            ApiError::WrongDimension { field: format!("{name}.embedding"), expected, got }
        }
        error @ (EmbeddingError::NotFinite { .. } | EmbeddingError::Zero) => {
            FieldError::new(&["body", name, "embedding"], "value_error", &error.to_string()).into()
        }
    })?;
    let evidence = Evidence::new(speech_seconds, warnings.iter().map(String::as_str), 1);
    Ok(Side { embedding, evidence, warnings, level_dbfs: None, about: SideAnswer::default() })
}
