//! Obtains a model's weights from a local file, from the cache, or from the network through the cache.
//!
//! The process that fetches holds a file lock on the cache, which ends with the process, and checks the cache again first.
//! Received bytes are kept in a `.part` file, so that a later fetch resumes. They become a model only if their hash is
//! right, through a temporary file, fsync and rename. A cached file is used only if its hash is right. All of this runs on a
//! thread that does not delay a shutdown.

mod cache;
mod fetch;
mod progress;
mod remote;
mod source;

pub use fetch::{FetchError, FetchPolicy};
pub use remote::{Remote, RemoteError, checked_hash};
pub use source::{ModelError, ModelSource, Origin};
