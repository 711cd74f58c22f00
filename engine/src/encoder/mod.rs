//! Networks: [`Units`] -> what a network makes of each, such as their embeddings, and the mean of those.

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

/// Units in one call of the encoder at the most, unless `MAX_BATCH` sets another number. ONNX Runtime multiplies matrices six rows
/// at a time: a window of six takes 2.2 ms on an EPYC core, one of four 2.45, one of eight 2.65.
pub const MAX_BATCH: NonZeroUsize = NonZeroUsize::new(6).unwrap();

/// Frames in one call of the encoder at the most, unless a unit has more: those of that many windows.
const MAX_BATCH_FRAMES: usize = MAX_BATCH.get() * 160;

/// Runs a network on units on the calling thread: the result of each, in their order.
pub fn embed_units(session: &mut Session, units: &dyn Units) -> Result<Vec<Vec<f32>>, EncoderError> {
    embed_units_on(std::slice::from_mut(session), units)
}

/// The same on a thread for each session, where there is more than one.
///
/// # Panics
/// If there is no session.
pub fn embed_units_on(sessions: &mut [Session], units: &dyn Units) -> Result<Vec<Vec<f32>>, EncoderError> {
    // A call of the encoder takes units of one length.
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
