//! The queue: a fixed number of threads that do all CPU work of all requests, in the order of [`plan`].
//!
//! # Groups, jobs and units
//!
//! The unit of work is not a request but a unit of a recording: a window, or a piece of up to 20 seconds. A request is a
//! group of jobs that exists from its admission to its response: its recordings, and steps without an encoder (parsing,
//! clustering, searching, writing the response). All of them count towards the group's share.
//!
//! A short job starts as a whole on one worker, which decodes and analyses the recording. A job of more than half a
//! minute of stereo, or of 4 MiB, starts in slices of a few milliseconds. It has a separate thread, which runs only while
//! a worker waits for it and pauses whenever other work is waiting (`pace.rs`, `sliced.rs`).
//!
//! A started job has units, which wait for the encoder. A batch holds units of one model and one length. The next turn goes
//! to the group that has cost least so far, and within it to the job that has cost least, one unit at a time. A long
//! recording therefore uses all idle cores, short recordings share a batch, and no long job delays a 2-second clip by more
//! than a batch:
//!
//! - Batches are planned so that all workers finish at the same time.
//! - If some groups fit into one batch and others do not, every other batch is reserved for the small ones.
//! - A worker starts jobs until a full batch exists for every worker, then alternates between encoding and starting. A slice
//!   counts as a start but adds no units, so slices and batches alternate while units wait. A group with many waiting units
//!   starts no further job, which bounds the memory of its features.
//! - Half of the workers may start long jobs at once, because decoded audio takes four bytes a sample. After a long start,
//!   freed memory is returned to the system.
//! - A long job is measured before it waits. It is accepted only if it and all earlier promises can be kept, earliest
//!   deadline first, with 80 % of the workers' time. Otherwise it is rejected at once. Estimates come from the codec and the
//!   model, and the measured time of batches corrects them.
//!
//! [`plan`] decides all of this without threads, so tables of cases test it. An embedding does not depend on its batch, and
//! the mean is taken in the order of windows, so responses do not depend on load.
//!
//! # Admission
//!
//! A full queue rejects a request before its body is read, but a request takes a place only when its body has arrived, so
//! slow senders do not block others. A request is admitted if one place is free and keeps it until its response; none of its
//! steps is rejected. A group that is idle for a while keeps its accumulated cost but loses the turns that it did not use.
//! Dropping a request removes its waiting jobs at once and sets a flag that ends a running job at its next pause.

pub mod plan;
mod sliced;
mod workers;

pub use workers::{
    Estimate, Finished, Group, LongStart, Next, OnBatch, Place, Queue, QueueFull, QueueLimits, Start,
    StartInSlices, Started,
};
