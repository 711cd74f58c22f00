//! Networks that map [`Units`] to results such as embeddings, and the mean of embeddings.

mod digest;
mod error;
mod graph;
mod mean;
pub mod native;
mod onnx_file;
mod onnxruntime;
mod session;

pub use digest::FileDigest;
pub use error::EncoderError;
pub use graph::Graph;
pub use mean::{mean_embedding, normalized};
pub use native::{InstructionSet, NativeEncoder};
pub use onnx_file::OnnxFile;
pub use onnxruntime::{Runtime, prevent_loading};
pub use session::{LazySession, Session};

use std::borrow::Cow;
use std::num::NonZeroUsize;

use crate::front_end::Units;

/// The default limit on the units in one call of the encoder; `MAX_BATCH` sets another one. ONNX Runtime multiplies
/// matrices six rows at a time. On an EPYC core, a window takes 2.2 ms in a batch of six, 2.45 ms in a batch of four
/// and 2.65 ms in a batch of eight.
pub const MAX_BATCH: NonZeroUsize = NonZeroUsize::new(6).unwrap();

/// The limit on the frames in one call of the encoder: the frames of `MAX_BATCH` windows. A unit with more frames is
/// encoded alone.
const MAX_BATCH_FRAMES: usize = MAX_BATCH.get() * 160;

/// Runs a network on units on the calling thread and returns the units' results in their order.
pub fn embed_units(session: &mut Session, units: &dyn Units) -> Result<Vec<Vec<f32>>, EncoderError> {
    embed_units_on(std::slice::from_mut(session), units)
}

/// Like [`embed_units`], with one thread for each session if there are several.
///
/// # Panics
/// If there is no session.
pub fn embed_units_on(sessions: &mut [Session], units: &dyn Units) -> Result<Vec<Vec<f32>>, EncoderError> {
    // All units in one call of the encoder must have the same length.
    let lengths = units.lengths();
    let mut places: Vec<usize> = (0..lengths.len()).collect();
    places.sort_by_key(|place| lengths[*place]);
    let batches: Vec<&[usize]> = places
        .chunk_by(|a, b| lengths[*a] == lengths[*b])
        .flat_map(|alike| {
            alike.chunks((MAX_BATCH_FRAMES / lengths[alike[0]].max(1)).clamp(1, MAX_BATCH.get()))
        })
        .collect();
    let share = batches.len().div_ceil(sessions.len()).max(1);
    let embed_some = |session: &mut Session, batches: &[&[usize]]| {
        let mut embeddings = Vec::new();
        for batch in batches {
            let values: Vec<Cow<'_, [f32]>> = batch.iter().map(|place| units.values(*place)).collect();
            let values: Vec<&[f32]> = values.iter().map(AsRef::as_ref).collect();
            embeddings.extend(batch.iter().copied().zip(session.embed(&values)?));
        }
        Ok(embeddings)
    };
    let embedded: Result<Vec<_>, EncoderError> = match sessions {
        [session] => embed_some(session, &batches).map(|all| vec![all]),
        sessions => std::thread::scope(|scope| {
            let threads: Vec<_> = sessions
                .iter_mut()
                .zip(batches.chunks(share))
                .map(|(session, batches)| scope.spawn(move || embed_some(session, batches)))
                .collect();
            let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            threads.into_iter().map(join).collect()
        }),
    };
    let mut embeddings = vec![Vec::new(); places.len()];
    embedded?.into_iter().flatten().for_each(|(place, embedding)| embeddings[place] = embedding);
    Ok(embeddings)
}
