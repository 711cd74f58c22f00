//! What each model's encoder takes, behind one type.

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

/// What a model's encoder takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FrontEndParameters {
    /// Windows of one length over the mel spectrogram of the speech alone.
    Mel {
        /// The frames.
        mel: MelParameters,
        /// How they are cut into windows.
        windows: WindowParameters,
    },
    /// The logarithmic filter bank of the recording, whole or in equal pieces.
    Fbank {
        /// The frames.
        fbank: FbankParameters,
        /// How those of a long recording are cut.
        pieces: PieceParameters,
        /// The windows of partials.
        partials: PartialParameters,
    },
}

/// Computes features for one model; make it once and share it.
pub enum FrontEnd {
    /// See [`FrontEndParameters::Mel`].
    Mel(MelWindows),
    /// See [`FrontEndParameters::Fbank`].
    Fbank(FbankPieces),
}

impl FrontEnd {
    /// Plans what can be planned ahead.
    pub fn new(parameters: FrontEndParameters) -> Self {
        match parameters {
            FrontEndParameters::Mel { mel, windows } => Self::Mel(MelWindows::new(mel, windows)),
            FrontEndParameters::Fbank { fbank, pieces, partials } => {
                Self::Fbank(FbankPieces::new(fbank, pieces, partials))
            }
        }
    }

    /// What an utterance should be made of.
    pub fn pauses(&self) -> Pauses {
        match self {
            Self::Mel(_) => Pauses::Cut,
            Self::Fbank(_) => Pauses::Kept,
        }
    }

    /// What the encoder takes of an utterance.
    pub fn features(&self, utterance: &Utterance, pace: Pace<'_>) -> Result<Features, Cancelled> {
        match self {
            Self::Mel(windows) => windows.features(utterance, pace),
            Self::Fbank(pieces) => pieces.features(utterance, pace),
        }
    }

    /// The windows of an utterance at so many a second, or at the model's own rate; none if these are the units of its features.
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

    /// Frames of the unit that a piece of so many samples becomes.
    pub fn piece_frames(&self, n_samples: usize) -> usize {
        match self {
            Self::Mel(windows) => windows.n_frames(),
            Self::Fbank(pieces) => pieces.n_frames(n_samples),
        }
    }

    /// The values of a piece of a recording whose pauses stay.
    pub fn piece_values(&self, recording: &CompactWaveform, samples: Range<usize>) -> Vec<f32> {
        match self {
            Self::Mel(windows) => {
                windows.window_around(recording, usize::midpoint(samples.start, samples.end))
            }
            Self::Fbank(pieces) => pieces.piece(&recording.read(samples)),
        }
    }

    /// Whether level and spectrum of an utterance hardly move, as in noise, hum or a tone: what its features tell.
    pub fn hardly_moves(&self, utterance: &Utterance, features: &Features) -> bool {
        match self {
            Self::Mel(windows) => windows.hardly_moves(utterance, features),
            Self::Fbank(pieces) => pieces.hardly_moves(utterance, features),
        }
    }
}
