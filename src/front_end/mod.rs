//! [`Utterance`](crate::speech::Utterance) -> [`Features`]: what an encoder takes, cut into its units.

mod features;
mod mel;
mod stationarity;
mod windows;

pub use features::{Features, FrontEnd, FrontEndParameters, Unit};
pub use mel::{MelExtractor, MelParameters};
pub use windows::{WindowParameters, window_starts};
