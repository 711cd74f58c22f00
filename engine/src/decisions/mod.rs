//! The decisions that embeddings lead to. The service, the command line and the Python package return the same results.

mod diarize;
mod identify;
mod naming;
mod verify;

pub use diarize::{
    DiarizeAnswer, Diarized, DiarizedChannel, DiarizedTranscript, HeardSpeaker, SegmentAnswer, TurnAnswer,
    UsageAnswer,
};
pub use identify::{Candidacy, DEFAULT_MARGIN, Identification, IdentifyCriteria, Reason, identify};
pub use naming::{
    LEAST_SECONDS as LEAST_NAMED_SECONDS, NamedVoice, Names, Reference, name_by_references, name_speakers,
    naming_search, voices_of,
};
pub use verify::{Side, SideAnswer, Verification, verify};
