//! Pages for people, and the paths that lead to them.

pub(super) mod docs;
pub(super) mod document;
pub(super) mod redirects;
