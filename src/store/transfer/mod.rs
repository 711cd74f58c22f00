//! Exports all speakers as lines of JSON, and imports them into another store.
//!
//! The first line contains the format and the models. It is followed by one line per speaker with all enrolments, and by
//! a final line. An incomplete export lacks the final line.

mod check;
mod export;
mod import;
mod lines;

pub use check::{CheckedImport, ImportError, ImportRules};
pub use export::ExportError;
pub(super) use export::{export, export_nothing};
pub use import::{Conflict, Imported};
