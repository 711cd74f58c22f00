//! [`MelSpectrogram`] -> [`Embedding`]: windows, the LSTM, and the mean over windows.

mod native;
pub mod onnx;
mod onnxruntime;
pub mod partials;
pub mod queue;
mod session;

pub use native::{InstructionSet, NativeEncoder};
pub use onnxruntime::Runtime;
pub use session::{EncoderError, INPUT_NAME, OUTPUT_NAME, Session, WindowEmbedding};

use std::num::NonZeroUsize;

use crate::embedding::Embedding;
use crate::hparams::{EMBEDDING_DIM, WINDOW_FRAMES};
use crate::preprocess::{MelExtractor, MelSpectrogram, Utterance};

/// Windows in one call of the encoder at the most, unless `MAX_BATCH` says otherwise. ONNX Runtime multiplies matrices six rows
/// at a time: a window of six takes 2.2 ms on an EPYC core, one of four 2.45, one of eight 2.65.
pub const MAX_BATCH: NonZeroUsize = NonZeroUsize::new(6).unwrap();

/// An utterance as the encoder takes it: its spectrogram and at least one window into it.
#[derive(Clone, Debug)]
pub struct MelWindows {
    mels: MelSpectrogram,
    starts: Vec<usize>,
}

impl MelWindows {
    /// Cuts an utterance into windows and computes the spectrogram under them.
    pub fn new(utterance: &Utterance, extractor: &MelExtractor) -> Self {
        let starts = partials::window_starts(utterance.samples().len());
        let last = starts.last().expect("an utterance has a window");
        let mels = extractor.spectrogram(utterance.samples(), last + WINDOW_FRAMES);
        Self { mels, starts }
    }

    /// How many windows there are.
    pub fn count(&self) -> usize {
        self.starts.len()
    }

    /// Window `i`: 160 frames of 40 mels, flattened.
    ///
    /// # Panics
    /// If there is no such window.
    pub fn window(&self, i: usize) -> &[f32] {
        self.mels.window(self.starts[i])
    }
}

/// Embeds an utterance on the calling thread, [`MAX_BATCH`] windows at a time.
pub fn embed(session: &mut Session, windows: &MelWindows) -> Result<Embedding, EncoderError> {
    let mut embeddings = Vec::with_capacity(windows.count());
    let indices: Vec<usize> = (0..windows.count()).collect();
    for batch in indices.chunks(MAX_BATCH.get()) {
        let mels: Vec<f32> = batch.iter().flat_map(|i| windows.window(*i)).copied().collect();
        embeddings.extend(session.embed(&mels)?);
    }
    mean_embedding(&embeddings)
}

/// Window embeddings -> the utterance's: their mean, scaled to L2 norm 1.
///
/// Source: `embed_utterance` of resemblyzer's `voice_encoder.py`.
pub fn mean_embedding(windows: &[WindowEmbedding]) -> Result<Embedding, EncoderError> {
    let mut sum = [0.0_f64; EMBEDDING_DIM];
    for window in windows {
        sum.iter_mut().zip(window).for_each(|(sum, component)| *sum += f64::from(*component));
    }
    let norm = sum.iter().map(|c| c * c).sum::<f64>().sqrt();
    let components: Vec<f64> = sum.iter().map(|c| f64::from((c / norm) as f32)).collect();
    components.try_into().map_err(|e| EncoderError::Run(format!("its output is no embedding: {e}")))
}
