//! Pages for people, and redirects to them.

pub(super) mod app;
mod asyncapi;
pub(super) mod docs;
pub(super) mod document;
mod packed;
mod policy;
pub(super) mod redirects;
