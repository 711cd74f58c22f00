//! Voices to compare, brought to embeddings of one model.

use std::sync::Arc;

use super::model::resolve;
use super::voice::{SentEmbedding, Voice};
use crate::claims::Evidence;
use crate::config::Right;
use crate::embedder::{EmbedderModel, Timings};
use crate::embedding::{Embedding, EmbeddingError, UnitEmbedding};
use crate::http::answer;
use crate::http::batch::{self, Caller};
use crate::http::error::{ApiError, FieldError};
use crate::http::layers::auth::KeyHolder;
use crate::http::state::AppState;
use crate::http::store;
use crate::pipeline::{AudioReport, Wanted};
use crate::speakers::{Address, Identifier};

/// Voices whose model is known.
pub(in crate::http) struct Sides<N> {
    model: Arc<EmbedderModel>,
    voices: Vec<Voice>,
    /// The name of a voice in errors, by its place.
    name: N,
}

/// Voices as embeddings.
pub(in crate::http) struct EmbeddedSides {
    pub(in crate::http) sides: Vec<Side>,
    timings: Timings,
    audio_seconds: f64,
}

/// A voice as an embedding, or a segment of one.
pub(in crate::http) struct Side {
    pub(in crate::http) embedding: UnitEmbedding,
    /// Of a recording.
    pub(in crate::http) audio: Option<AudioReport>,
    pub(in crate::http) warnings: Vec<String>,
    /// What claims depend on.
    pub(in crate::http) evidence: Evidence,
    /// Of an enrolled speaker: the id.
    pub(in crate::http) speaker: Option<Identifier>,
}

impl<N: Fn(usize) -> String> Sides<N> {
    /// Finds the model that the request and all embeddings name.
    pub(in crate::http) fn resolve(
        state: &AppState,
        model: Option<&str>,
        voices: Vec<Voice>,
        name: N,
    ) -> Result<Self, ApiError> {
        let named = voices.iter().filter_map(|voice| match voice {
            Voice::Embedding(embedding) => Some(embedding.model.as_str()),
            Voice::Recording(_) | Voice::Speaker(_) => None,
        });
        let model = Arc::clone(resolve(state.embedder_in_hand()?, model.into_iter().chain(named))?);
        Ok(Self { model, voices, name })
    }

    /// Whether the key may compare these: with enrolled speakers it needs `identify`, and to compare them with embeddings `read`,
    /// since chosen embeddings would give a profile away.
    pub(in crate::http) fn require_rights(&self, key: &KeyHolder) -> Result<(), ApiError> {
        let has = |kind: fn(&Voice) -> bool| self.voices.iter().any(kind);
        if has(|voice| matches!(voice, Voice::Speaker(_))) {
            key.require(Right::Identify)?;
            if has(|voice| matches!(voice, Voice::Embedding(_))) {
                key.require(Right::Read)?;
            }
        }
        Ok(())
    }

    /// Embeds the recordings. A segment without speech is an error, as a recording without is.
    pub(in crate::http) async fn embed(
        self,
        state: &AppState,
        caller: &Caller,
    ) -> Result<(Arc<EmbedderModel>, EmbeddedSides), ApiError> {
        let Self { model, voices, name } = self;
        // Embeddings are checked before recordings are computed.
        let mut known: Vec<Option<Side>> = Vec::new();
        let (mut recordings, mut places) = (Vec::new(), Vec::new());
        for (i, voice) in voices.into_iter().enumerate() {
            match voice {
                Voice::Embedding(embedding) => known.push(Some(side_of(&model, embedding, &name(i))?)),
                Voice::Recording(recording) => {
                    known.push(None);
                    recordings.push(recording);
                    places.push(i);
                }
                Voice::Speaker(address) => {
                    let side = side_of_speaker(state, &model, caller, address).await;
                    known.push(Some(side.map_err(|error| error.at(name(i)))?));
                }
            }
        }
        let mut sides = EmbeddedSides { sides: Vec::new(), timings: Timings::default(), audio_seconds: 0.0 };
        let mut embedded = Vec::new();
        if !recordings.is_empty() {
            let batch = batch::submit(state, caller, &model, &Wanted::default(), recordings)?;
            embedded = batch.all(state, |i| name(places[i])).await?;
            (sides.timings, sides.audio_seconds) = answer::totals(embedded.iter());
        }
        let mut embedded = embedded.into_iter();
        for (i, side) in known.into_iter().enumerate() {
            if let Some(side) = side {
                sides.sides.push(side);
                continue;
            }
            for voice in embedded.next().into_iter().flat_map(|embedded| embedded.voices) {
                let voice = voice.map_err(|error| ApiError::from(error).at(name(i)))?;
                let embedding = UnitEmbedding::try_from(voice.embedding);
                sides.sides.push(Side {
                    embedding: embedding.map_err(|error| ApiError::Internal(error.to_string()))?,
                    evidence: voice.audio.evidence(),
                    speaker: None,
                    warnings: voice.audio.warnings.iter().map(|warning| warning.code().to_owned()).collect(),
                    audio: Some(voice.audio),
                });
            }
        }
        Ok((model, sides))
    }
}

impl EmbeddedSides {
    /// The times of all recordings together, and their seconds of audio.
    pub(in crate::http) fn totals(&self) -> (Timings, f64) {
        (self.timings, self.audio_seconds)
    }
}

/// The embedding that was sent, of a model that it is known to be of. `name` is its place in the request.
pub(in crate::http) fn unit_embedding(
    model: &EmbedderModel,
    components: Vec<f64>,
    name: &str,
) -> Result<UnitEmbedding, ApiError> {
    let embedding = Embedding::new(model.id(), components).and_then(UnitEmbedding::try_from);
    embedding.map_err(|error| match error {
        EmbeddingError::WrongDimension { expected, got } => {
            ApiError::WrongDimension { field: format!("{name}.embedding"), expected, got }
        }
        error @ (EmbeddingError::NotFinite { .. } | EmbeddingError::Zero) => {
            FieldError::at(&["body", name, "embedding"], "value_error", &error.to_string()).into()
        }
    })
}

fn side_of(model: &EmbedderModel, sent: SentEmbedding, name: &str) -> Result<Side, ApiError> {
    let SentEmbedding { components, speech_seconds, warnings, .. } = sent;
    let embedding = unit_embedding(model, components, name)?;
    let evidence = Evidence::new(speech_seconds, warnings.iter().map(String::as_str), 1);
    Ok(Side { embedding, audio: None, warnings, evidence, speaker: None })
}

async fn side_of_speaker(
    state: &AppState,
    model: &EmbedderModel,
    caller: &Caller,
    address: Address,
) -> Result<Side, ApiError> {
    let id = address.id.clone();
    let voice = store::voice_of(state, &caller.key, address, model.id()).await?;
    Ok(Side {
        embedding: voice.embedding,
        audio: None,
        evidence: voice.profile.evidence(),
        warnings: voice.profile.warnings.into_iter().collect(),
        speaker: Some(id),
    })
}
