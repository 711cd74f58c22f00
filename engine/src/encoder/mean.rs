//! Normalises embeddings and averages the embeddings of an utterance's units.

use super::error::EncoderError;
use crate::embedding::{Embedding, ModelId};

/// Scales an embedding to L2 norm 1, unless the encoder has already done so.
pub fn normalized(mut embedding: Vec<f32>) -> Vec<f32> {
    let norm = embedding.iter().map(|c| f64::from(*c).powi(2)).sum::<f64>().sqrt();
    if norm == 0.0 || (norm - 1.0).abs() < 1e-6 {
        return embedding;
    }
    embedding.iter_mut().for_each(|c| *c = (f64::from(*c) / norm) as f32);
    embedding
}

/// Returns the mean of the units' embeddings, scaled to L2 norm 1.
///
/// Source: `embed_utterance` of resemblyzer's `voice_encoder.py`.
pub fn mean_embedding(model: &ModelId, units: &[Vec<f32>]) -> Result<Embedding, EncoderError> {
    let mut sum = vec![0.0_f64; model.dimension()];
    for unit in units {
        sum.iter_mut().zip(unit).for_each(|(sum, component)| *sum += f64::from(*component));
    }
    let norm = sum.iter().map(|c| c * c).sum::<f64>().sqrt();
    let components = sum.iter().map(|c| f64::from((c / norm) as f32)).collect();
    Embedding::new(model, components).map_err(|e| EncoderError::Run(format!("its output {e}")))
}
