//! What requests hold: bodies, their fields, recordings.

pub(super) mod base64;
pub(super) mod body;
pub(super) mod fields;
mod raw_format;
pub(super) mod recording;
