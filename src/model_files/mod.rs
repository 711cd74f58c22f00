//! Where a model's weights come from: a local file, the cache, or the network and then the cache.

mod cache;
mod fetch;
mod progress;
mod remote;
mod source;

pub use fetch::{FetchError, FetchPolicy};
pub use remote::{Remote, RemoteError, checked_hash};
pub use source::{ModelError, ModelSource, Origin};
