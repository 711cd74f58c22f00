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

/// Embeds an utterance's units on the calling thread, in their order.
pub fn embed_units(session: &mut Session, features: &Features) -> Result<Vec<Vec<f32>>, EncoderError> {
    embed_units_on(std::slice::from_mut(session), features)
}

/// The same on a thread for each session, where there is more than one.
///
/// # Panics
/// If there is no session.
pub fn embed_units_on(sessions: &mut [Session], features: &Features) -> Result<Vec<Vec<f32>>, EncoderError> {
    // A call of the encoder takes units of one length.
    let n_frames = |place: &usize| features.units()[*place].frames.len();
    let mut places: Vec<usize> = (0..features.units().len()).collect();
    places.sort_by_key(n_frames);
    let batches: Vec<&[usize]> = places
        .chunk_by(|a, b| n_frames(a) == n_frames(b))
        .flat_map(|alike| {
            alike.chunks((MAX_BATCH_FRAMES / n_frames(&alike[0]).max(1)).clamp(1, MAX_BATCH.get()))
        })
        .collect();
    let share = batches.len().div_ceil(sessions.len()).max(1);
    let embed_some = |session: &mut Session, batches: &[&[usize]]| {
        let mut embeddings = Vec::new();
        for batch in batches {
            let units: Vec<Cow<'_, [f32]>> = batch.iter().map(|place| features.values(*place)).collect();
            let units: Vec<&[f32]> = units.iter().map(AsRef::as_ref).collect();
            embeddings.extend(batch.iter().copied().zip(session.embed(&units)?));
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
