//! Enrolled speakers: their details, their profiles and the search among them. The store keeps them.

mod details;
mod digest;
mod enrolment;
mod identifier;
mod index;
mod profile;

pub use details::{Details, DetailsError, Enrolment, Metadata, ModelSummary, Speaker, SpeakerName};
pub use digest::{embedding_digest, recording_digest};
pub use enrolment::{EnrolmentRules, NewVoice, Unfit, check};
pub use identifier::{Address, Identifier, InvalidIdentifier};
pub use index::{Candidate, Found, Index, SearchOptions, SpeakerKey};
pub use profile::{DEFAULT_WEIGHT_SECONDS, MAX_SPEECH_SECONDS, Profile, Sample};
