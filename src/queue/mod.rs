//! The queue: a fixed number of threads that do all CPU work of all requests, as [`plan`] orders it.

pub mod plan;
mod sliced;
mod workers;

pub use workers::{
    CancelOnDrop, Estimate, Finish, Finished, Job, LongStart, OnBatch, Place, Queue, QueueFull, QueueLimits,
    StartInSlices, Started,
};
