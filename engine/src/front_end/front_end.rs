//! The front ends of all models behind one type.

use std::ops::Range;

use super::fbank::FbankParameters;
use super::fbank_pieces::FbankPieces;
use super::features::Features;
use super::mel::MelParameters;
use super::mel_windows::MelWindows;
use super::pieces::{PartialParameters, PieceParameters};
use super::windows::WindowParameters;
use crate::audio::CompactWaveform;
use crate::pace::{Cancelled, Pace};
use crate::speech::{Pauses, Utterance};

/// The input of a model's encoder.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FrontEndParameters {
    /// Windows of equal length over the mel spectrogram of the speech, without its pauses.
    Mel {
        /// The frames.
        mel: MelParameters,
        /// How the frames are cut into windows.
        windows: WindowParameters,
    },
    /// The logarithmic filter bank of the recording, whole or in equal pieces.
    Fbank {
        /// The frames.
        fbank: FbankParameters,
        /// How the frames of a long recording are cut.
        pieces: PieceParameters,
        /// The windows of partials.
        partials: PartialParameters,
    },
}

/// Computes features for one model. Create it once and share it.
pub enum FrontEnd {
    /// See [`FrontEndParameters::Mel`].
    Mel(MelWindows),
    /// See [`FrontEndParameters::Fbank`].
    Fbank(FbankPieces),
}

impl FrontEnd {
    /// Prepares everything that does not depend on a recording.
    pub fn new(parameters: FrontEndParameters) -> Self {
        match parameters {
            FrontEndParameters::Mel { mel, windows } => Self::Mel(MelWindows::new(mel, windows)),
            FrontEndParameters::Fbank { fbank, pieces, partials } => {
                Self::Fbank(FbankPieces::new(fbank, pieces, partials))
            }
        }
    }

    /// Returns how pauses are handled before features are computed.
    pub fn pauses(&self) -> Pauses {
        match self {
            Self::Mel(_) => Pauses::Cut,
            Self::Fbank(_) => Pauses::Kept,
        }
    }

    /// Returns the encoder's input for an utterance.
    pub fn features(&self, utterance: &Utterance, pace: Pace<'_>) -> Result<Features, Cancelled> {
        match self {
            Self::Mel(windows) => windows.features(utterance, pace),
            Self::Fbank(pieces) => pieces.features(utterance, pace),
        }
    }

    /// Returns the windows of an utterance at `rate` windows per second or at the model's own rate. Returns `None` if
    /// these are the units of its features.
    pub fn partials(
        &self,
        utterance: &Utterance,
        features: &Features,
        rate: Option<f64>,
        pace: Pace<'_>,
    ) -> Result<Option<Features>, Cancelled> {
        match self {
            Self::Mel(windows) => windows.partials(utterance, rate, pace),
            Self::Fbank(pieces) => Ok(Some(pieces.partials(features, rate))),
        }
    }

    /// Returns the number of frames in the unit for a piece of `n_samples` samples.
    pub fn piece_frames(&self, n_samples: usize) -> usize {
        match self {
            Self::Mel(windows) => windows.n_frames(),
            Self::Fbank(pieces) => pieces.n_frames(n_samples),
        }
    }

    /// Returns the values of a piece of a recording in which all pauses stay.
    pub fn piece_values(&self, recording: &CompactWaveform, samples: Range<usize>) -> Vec<f32> {
        match self {
            Self::Mel(windows) => {
                windows.window_around(recording, usize::midpoint(samples.start, samples.end))
            }
            Self::Fbank(pieces) => pieces.piece(&recording.read(samples)),
        }
    }

    /// Returns whether level and spectrum of an utterance hardly change according to its features, as in noise, hum or a
    /// tone.
    pub fn hardly_moves(&self, utterance: &Utterance, features: &Features) -> bool {
        match self {
            Self::Mel(windows) => windows.hardly_moves(utterance, features),
            Self::Fbank(pieces) => pieces.hardly_moves(utterance, features),
        }
    }
}
