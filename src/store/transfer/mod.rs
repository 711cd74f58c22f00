//! All speakers as lines of JSON, out of one store and into another.
//!
//! The first line tells the format and the models, then comes a line for each speaker with all enrolments, then one that is the end.
//! What an export cannot finish has no such end.

mod check;
mod export;
mod import;
mod lines;

pub use check::{CheckedImport, ImportError, ImportRules};
pub use export::ExportError;
pub(super) use export::{export, export_nothing};
pub use import::{Conflict, Imported};
