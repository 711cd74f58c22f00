//! [`Features`] -> the embeddings of their units, and the mean of those.

mod error;
mod graph;
mod mean;
pub mod native;
mod onnxruntime;
mod session;

pub use error::EncoderError;
pub use graph::Graph;
pub use mean::mean_embedding;
pub use native::{InstructionSet, NativeEncoder};
pub use onnxruntime::{Runtime, prevent_loading};
pub use session::Session;

use std::num::NonZeroUsize;

use crate::front_end::Features;

/// Units in one call of the encoder at the most, unless `MAX_BATCH` sets another number. ONNX Runtime multiplies matrices six rows
/// at a time: a window of six takes 2.2 ms on an EPYC core, one of four 2.45, one of eight 2.65.
pub const MAX_BATCH: NonZeroUsize = NonZeroUsize::new(6).unwrap();

/// Embeds an utterance's units on the calling thread, [`MAX_BATCH`] at a time.
pub fn embed_units(session: &mut Session, features: &Features) -> Result<Vec<Vec<f32>>, EncoderError> {
    let mut embeddings = Vec::with_capacity(features.units().len());
    let units: Vec<&[f32]> = (0..features.units().len()).map(|i| features.values(i)).collect();
    for batch in units.chunks(MAX_BATCH.get()) {
        embeddings.extend(session.embed(batch)?);
    }
    Ok(embeddings)
}
