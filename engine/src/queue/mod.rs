//! The queue: a fixed number of threads that do all CPU work of all requests, as [`plan`] orders it.

pub mod plan;
mod sliced;
mod workers;

pub use workers::{
    Estimate, Finish, Finished, Group, LongStart, OnBatch, Place, Queue, QueueFull, QueueLimits, Start,
    StartInSlices, Started,
};
