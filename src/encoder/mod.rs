//! [`Features`] -> the embeddings of their units, and the mean of those.

mod error;
mod graph;
mod mean;
pub mod native;
mod onnxruntime;
mod session;

pub use error::EncoderError;
pub use graph::Graph;
pub use mean::{mean_embedding, normalized};
pub use native::{InstructionSet, NativeEncoder};
pub use onnxruntime::{Runtime, prevent_loading};
pub use session::Session;

use std::borrow::Cow;
use std::num::NonZeroUsize;

use crate::front_end::Features;

/// Units in one call of the encoder at the most, unless `MAX_BATCH` sets another number. ONNX Runtime multiplies matrices six rows
/// at a time: a window of six takes 2.2 ms on an EPYC core, one of four 2.45, one of eight 2.65.
pub const MAX_BATCH: NonZeroUsize = NonZeroUsize::new(6).unwrap();

/// Frames in one call of the encoder at the most, unless a unit has more: those of that many windows.
const MAX_BATCH_FRAMES: usize = MAX_BATCH.get() * 160;

/// Embeds an utterance's units, all of one length, on the calling thread.
pub fn embed_units(session: &mut Session, features: &Features) -> Result<Vec<Vec<f32>>, EncoderError> {
    let places: Vec<usize> = (0..features.units().len()).collect();
    embed_some(session, features, &places)
}

/// Embeds an utterance's units, all of one length, on a thread for each session.
///
/// # Panics
/// If there is no session.
pub fn embed_units_on(sessions: &mut [Session], features: &Features) -> Result<Vec<Vec<f32>>, EncoderError> {
    let places: Vec<usize> = (0..features.units().len()).collect();
    let n_batches = places.len().div_ceil(batch_units(features));
    let share = (n_batches.div_ceil(sessions.len()) * batch_units(features)).max(1);
    let embeddings = std::thread::scope(|scope| {
        let threads: Vec<_> = sessions
            .iter_mut()
            .zip(places.chunks(share))
            .map(|(session, places)| scope.spawn(move || embed_some(session, features, places)))
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("a bug: an encoder panicked")).collect()
    });
    let embeddings: Result<Vec<_>, EncoderError> = embeddings;
    Ok(embeddings?.concat())
}

/// Units in one call of the encoder.
fn batch_units(features: &Features) -> usize {
    let n_frames = features.units().first().map_or(1, |unit| unit.frames.len());
    (MAX_BATCH_FRAMES / n_frames).clamp(1, MAX_BATCH.get())
}

fn embed_some(
    session: &mut Session,
    features: &Features,
    places: &[usize],
) -> Result<Vec<Vec<f32>>, EncoderError> {
    let mut embeddings = Vec::with_capacity(places.len());
    for batch in places.chunks(batch_units(features)) {
        let units: Vec<Cow<'_, [f32]>> = batch.iter().map(|i| features.values(*i)).collect();
        let units: Vec<&[f32]> = units.iter().map(AsRef::as_ref).collect();
        embeddings.extend(session.embed(&units)?);
    }
    Ok(embeddings)
}
