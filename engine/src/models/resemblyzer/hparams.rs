//! All constants of the model. Sources: `hparams.py`, `audio.py` and `voice_encoder.py` of resemblyzer 0.1.4.

use crate::audio::SAMPLE_RATE_HZ;
use crate::encoder::native::N_MELS;
use crate::front_end::{MelParameters, WindowParameters};
use crate::models::spec::TurnParameters;

/// Samples between two spectrogram frames: 10 ms (`mel_window_step`).
pub const HOP_SAMPLES: usize = 160;

/// Frames of one encoder window: 1.6 s (`partials_n_frames`).
pub const N_FRAMES: usize = 160;

/// Frames of 25 ms (`mel_window_length`).
pub const MEL: MelParameters = MelParameters {
    sample_rate_hz: SAMPLE_RATE_HZ,
    frame_samples: 400,
    hop_samples: HOP_SAMPLES,
    n_mels: N_MELS,
};

/// A window starts every 16,000 Hz / 1.3 windows/s / 160 samples, rounded (`rate` of `embed_utterance`). The last
/// window needs three quarters of audio (`min_coverage`).
pub const WINDOWS: WindowParameters =
    WindowParameters { n_frames: N_FRAMES, step_frames: 77, min_coverage: 0.75 };

/// Name of the graph's input.
pub(super) const INPUT_NAME: &str = "mels";

/// Name of the graph's output.
pub(super) const OUTPUT_NAME: &str = "embeds";

/// Cosine similarity above which two embeddings count as the same speaker (the Python service's threshold).
pub(super) const THRESHOLD: f64 = 0.75;

/// Parameters for pieces and clusters of a recording with several speakers. Source: the measurements in docs/diarization.md.
pub(super) const TURNS: TurnParameters =
    TurnParameters { max_piece_frames: 160, joined_from: 0.70, split_below: 0.60, moved_from: 0.10 };
