//! The layers that a request passes on its way to a handler, one per file.

pub(super) mod auth;
pub(super) mod body_memory;
pub(super) mod cors;
pub(super) mod drain;
pub(super) mod headers;
pub(super) mod in_hand;
pub(super) mod local;
pub(super) mod observe;
mod offered_key;
pub(super) mod request_id;
pub(super) mod time_limit;
pub(super) mod uniform_errors;
pub(super) mod watched;
