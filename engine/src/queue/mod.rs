//! The queue: a fixed number of threads that do all CPU work of all requests, as [`plan`] orders it.

pub mod plan;
mod sliced;
mod workers;

pub use workers::{
    Estimate, Finished, Group, LongStart, Next, OnBatch, Place, Queue, QueueFull, QueueLimits, Start,
    StartInSlices, Started,
};
