//! Turns an [`Utterance`](crate::speech::Utterance) into [`Features`]: the encoder's input, cut into units.

mod fbank;
mod fbank_pieces;
mod features;
mod filters;
#[allow(clippy::module_inception, reason = "it is what the module is about")]
mod front_end;
mod mel;
mod mel_windows;
mod pieces;
mod stationarity;
mod windows;

pub use fbank::{FbankExtractor, FbankParameters};
pub use fbank_pieces::FbankPieces;
pub use features::{Features, Unit, Units};
pub use front_end::{FrontEnd, FrontEndParameters};
pub use mel::{MelExtractor, MelParameters};
pub use mel_windows::MelWindows;
pub use pieces::{PartialParameters, PieceParameters};
pub use windows::{WindowParameters, window_starts};
