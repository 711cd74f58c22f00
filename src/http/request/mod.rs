//! The contents of requests: bodies, fields, recordings and voices.

pub(super) mod base64;
pub(super) mod body;
pub(super) mod bounded;
pub(super) mod call;
pub(super) mod channel;
pub(super) mod content_type;
pub(super) mod criterion;
pub(super) mod diarization;
mod disposition;
pub(super) mod embeddings;
pub(super) mod fields;
pub(super) mod json;
pub(super) mod model;
pub(super) mod one_voice;
pub(super) mod parts;
pub(super) mod raw_format;
pub(super) mod recording;
pub(super) mod threshold;
pub(super) mod vector;
pub(super) mod voice;
