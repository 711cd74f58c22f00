//! Processes many recordings at once for callers that wait, and returns their outcomes in order.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use super::embedder::{Admission, Embedder};

/// The number of recordings in the queue for each worker: enough for full batches of short ones.
const QUEUE_CAPACITY_PER_WORKER: NonZeroUsize = NonZeroUsize::new(16).unwrap();

/// The number of outcomes for each worker that may wait for that of an earlier recording.
const AHEAD_PER_WORKER: usize = 128;

/// Returns the capacity of a queue that serves one [`InOrder`].
pub fn queue_capacity(workers: NonZeroUsize) -> NonZeroUsize {
    workers.saturating_mul(QUEUE_CAPACITY_PER_WORKER)
}

/// Recordings in progress, and their outcomes in the order in which they were submitted. Dropping it cancels the
/// recordings in progress.
pub struct InOrder<T, O, E> {
    /// This field is dropped before the embedder, which stops sooner if its work is cancelled.
    in_work: VecDeque<InWork<T, O, E>>,
    embedder: Arc<Embedder>,
    max_ahead: usize,
    /// The number of the first recording in `in_work`.
    first: usize,
    sender: Sender<(usize, Result<O, E>)>,
    outcomes: Receiver<(usize, Result<O, E>)>,
}

/// The callback that a worker calls with the outcome of a recording.
pub type Done<O, E> = Box<dyn FnOnce(Result<O, E>) + Send>;

/// A worker panicked, which is a bug.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("a bug: the worker panicked")]
pub struct WorkerPanicked;

/// A recording in progress, or a finished one that waits for an earlier recording.
struct InWork<T, O, E> {
    tag: T,
    outcome: Option<Result<O, E>>,
    /// Held until the outcome arrives.
    admission: Option<Admission>,
}

/// Sends the outcome of a recording with its number. If a worker panics, it sends that error.
struct Reply<O, E: From<WorkerPanicked>> {
    number: usize,
    sender: Sender<(usize, Result<O, E>)>,
    is_sent: bool,
}

impl<O, E: From<WorkerPanicked>> Reply<O, E> {
    fn send(mut self, outcome: Result<O, E>) {
        self.is_sent = true;
        // Sending fails if the caller has stopped, which does not matter.
        let _ = self.sender.send((self.number, outcome));
    }
}

impl<O, E: From<WorkerPanicked>> Drop for Reply<O, E> {
    fn drop(&mut self) {
        if !self.is_sent {
            let _ = self.sender.send((self.number, Err(WorkerPanicked.into())));
        }
    }
}

impl<T, O: Send + 'static, E: From<WorkerPanicked> + Send + 'static> InOrder<T, O, E> {
    /// Prepares to process recordings on an embedder with this many workers.
    pub fn new(embedder: Arc<Embedder>, workers: NonZeroUsize) -> Self {
        let (sender, outcomes) = channel();
        let max_ahead = workers.get() * AHEAD_PER_WORKER;
        Self { in_work: VecDeque::new(), embedder, max_ahead, first: 0, sender, outcomes }
    }

    /// Returns whether nothing is in progress and no outcome is left.
    pub fn is_empty(&self) -> bool {
        self.in_work.is_empty()
    }

    /// Takes a place for the next recording, if one is free at the moment.
    pub fn admit(&self) -> Option<Admission> {
        if self.in_work.len() < self.max_ahead { self.embedder.admit().ok() } else { None }
    }

    /// Submits the next recording. `tag` is returned with its outcome.
    pub fn submit(&mut self, admission: Admission, tag: T, submit: impl FnOnce(&Admission, Done<O, E>)) {
        let number = self.first + self.in_work.len();
        let reply = Reply { number, sender: self.sender.clone(), is_sent: false };
        submit(&admission, Box::new(move |outcome| reply.send(outcome)));
        self.in_work.push_back(InWork { tag, outcome: None, admission: Some(admission) });
    }

    /// Cancels all recordings in progress.
    pub fn cancel(&mut self) {
        self.first += self.in_work.len();
        self.in_work.clear();
    }

    /// Returns the next outcome in order, if it has arrived.
    pub fn take_next(&mut self) -> Option<(T, Result<O, E>)> {
        while let Ok(outcome) = self.outcomes.try_recv() {
            self.put(outcome);
        }
        let done = self.in_work.pop_front_if(|next| next.outcome.is_some())?;
        self.first += 1;
        Some((done.tag, done.outcome?))
    }

    /// Waits until any outcome arrives, or for `at_most`.
    pub fn wait(&mut self, at_most: Duration) {
        if let Ok(outcome) = self.outcomes.recv_timeout(at_most) {
            self.put(outcome);
        }
    }

    fn put(&mut self, (number, outcome): (usize, Result<O, E>)) {
        // A recording that was cancelled may have finished before. Its outcome is ignored.
        if let Some(place) = number.checked_sub(self.first) {
            let in_work = &mut self.in_work[place];
            (in_work.outcome, in_work.admission) = (Some(outcome), None);
        }
    }
}
