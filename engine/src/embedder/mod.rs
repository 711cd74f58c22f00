//! The pipeline on the queue's workers: recordings in, embeddings out.

#[allow(clippy::module_inception, reason = "it is what the module is about")]
mod embedder;
mod in_order;

pub use embedder::{
    Admission, EmbedError, Embedded, EmbeddedVoice, Embedder, EmbedderLimits, EmbedderModel, Partial, Timings,
};
pub use in_order::{InOrder, Submitted, WorkerPanicked, queue_capacity};
