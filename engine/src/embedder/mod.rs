//! Runs the pipeline on the queue's workers: recordings in, embeddings out.

#[allow(clippy::module_inception, reason = "it is what the module is about")]
mod embedder;
mod hearing;
mod in_order;
mod live;

pub use embedder::{
    Admission, EmbedError, Embedded, EmbeddedVoice, Embedder, EmbedderLimits, EmbedderModel, Partial,
    SegmentationNetwork, Timings,
};
pub use hearing::{Hearing, WantedTurns};
pub use in_order::{Done, InOrder, WorkerPanicked, queue_capacity};
pub use live::LiveStep;
