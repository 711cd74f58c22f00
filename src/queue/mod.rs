//! The queue: a fixed number of threads that do all CPU work of all requests, as [`plan`] orders it.

pub mod plan;
mod workers;

pub use workers::{Finish, Finished, Job, OnBatch, Place, Queue, QueueFull, QueueLimits, Started};
