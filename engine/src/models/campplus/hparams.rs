//! All constants of the model. Source: 3D-Speaker's `FBank` and its recipe for CAM++.

use crate::audio::SAMPLE_RATE_HZ;
use crate::front_end::{FbankParameters, PartialParameters, PieceParameters};
use crate::models::spec::TurnParameters;

/// Frames of 25 ms every 10 ms.
pub const FBANK: FbankParameters = FbankParameters {
    sample_rate_hz: SAMPLE_RATE_HZ,
    frame_samples: 400,
    hop_samples: 160,
    fft_samples: 512,
    n_bands: 80,
    low_hz: 20.0,
};

/// A recording of up to 20 s is embedded at once, a longer one in equal pieces of at most 12 s. Such pieces take half
/// the memory of pieces of up to 20 s, and their mean is as close to the embedding of the whole recording. For 60 s of
/// each of 5 speakers, the lowest cosine is 0.9988, and 0.9989 with pieces of up to 20 s.
pub const PIECES: PieceParameters = PieceParameters { max_whole_frames: 2_000, max_frames: 1_200 };

/// Partials of 1.5 s every 0.75 s.
pub const PARTIALS: PartialParameters =
    PartialParameters { n_frames: 148, step_frames: 75, min_rest_frames: 5 };

/// Components of an embedding.
pub(super) const DIMENSION: usize = 192;

/// Name of the graph's input.
pub(super) const INPUT_NAME: &str = "feats";

/// Name of the graph's output.
pub(super) const OUTPUT_NAME: &str = "embeds";

/// Cosine similarity above which two embeddings count as the same speaker. On `dev_trials` of LibriSpeech, the
/// false-accept rate is 0.2 to 0.5 % from 1 to 30 s per side. The false-reject rate is 2.6 % at 1 to 2 s and 0.1 % from 2 s on.
pub(super) const THRESHOLD: f64 = 0.40;

/// Parameters for pieces and clusters of a recording with several speakers. Source: the measurements in docs/diarization.md.
pub(super) const TURNS: TurnParameters =
    TurnParameters { max_piece_frames: 200, joined_from: 0.45, split_below: 0.20, moved_from: 0.10 };

/// The same for recordings without frequencies above 4 kHz, whose embeddings are all more similar to each other.
pub(super) const NARROWBAND_TURNS: TurnParameters =
    TurnParameters { joined_from: 0.55, split_below: 0.35, ..TURNS };
