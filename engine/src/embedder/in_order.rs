//! Many recordings at once, with their outcomes in order, for callers that wait.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use super::embedder::{Admission, EmbedError, Embedded, Embedder, EmbedderModel};
use crate::pipeline::{RecordingOptions, Wanted};

/// Recordings in the queue for each worker: enough for full batches of short ones.
const QUEUE_CAPACITY_PER_WORKER: NonZeroUsize = NonZeroUsize::new(16).unwrap();

/// Outcomes for each worker that may wait for one of an earlier recording.
const AHEAD_PER_WORKER: usize = 128;

/// The capacity of a queue that serves one [`InOrder`].
pub fn queue_capacity(workers: NonZeroUsize) -> NonZeroUsize {
    workers.saturating_mul(QUEUE_CAPACITY_PER_WORKER)
}

/// Recordings in work, and their outcomes in the order in which they were submitted. What is in work when it is dropped is not computed.
pub struct InOrder<T, E> {
    /// Dropped before the embedder, which is done sooner with what is cancelled.
    in_work: VecDeque<InWork<T, E>>,
    embedder: Arc<Embedder>,
    model: Arc<EmbedderModel>,
    max_ahead: usize,
    /// The number of the first of them.
    first: usize,
    sender: Sender<(usize, Result<Embedded, E>)>,
    outcomes: Receiver<(usize, Result<Embedded, E>)>,
}

/// A recording to embed.
pub struct Submitted<T> {
    /// What comes back with its outcome.
    pub tag: T,
    /// What is wanted of it.
    pub wanted: Wanted,
    /// Bytes of the file, if they are known before it is read, else 0.
    pub n_bytes: usize,
}

/// A worker panicked: a bug.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("a bug: the worker panicked")]
pub struct WorkerPanicked;

/// A recording in work, or embedded while an earlier one is in work.
struct InWork<T, E> {
    tag: T,
    outcome: Option<Result<Embedded, E>>,
    /// Until the outcome is there.
    admission: Option<Admission>,
}

/// Sends the outcome of a recording with its number; if a worker panics, that.
struct Reply<E: From<WorkerPanicked>> {
    number: usize,
    sender: Sender<(usize, Result<Embedded, E>)>,
    is_sent: bool,
}

impl<E: From<WorkerPanicked>> Reply<E> {
    fn send(mut self, outcome: Result<Embedded, E>) {
        self.is_sent = true;
        // Nobody waits for it once the caller has stopped.
        let _ = self.sender.send((self.number, outcome));
    }
}

impl<E: From<WorkerPanicked>> Drop for Reply<E> {
    fn drop(&mut self) {
        if !self.is_sent {
            let _ = self.sender.send((self.number, Err(WorkerPanicked.into())));
        }
    }
}

impl<T, E: From<EmbedError> + From<WorkerPanicked> + Send + 'static> InOrder<T, E> {
    /// Recordings for one model, on an embedder with so many workers.
    pub fn new(embedder: Arc<Embedder>, model: Arc<EmbedderModel>, workers: NonZeroUsize) -> Self {
        let (sender, outcomes) = channel();
        let max_ahead = workers.get() * AHEAD_PER_WORKER;
        Self { in_work: VecDeque::new(), embedder, model, max_ahead, first: 0, sender, outcomes }
    }

    /// Whether nothing is in work and no outcome is left.
    pub fn is_empty(&self) -> bool {
        self.in_work.is_empty()
    }

    /// A place for the next recording, if there is one at the moment.
    pub fn admit(&self) -> Option<Admission> {
        if self.in_work.len() < self.max_ahead { self.embedder.admit().ok() } else { None }
    }

    /// Submits the next recording. `unpack` reads the audio file and tells how to decode it; it runs on a worker, so that no more files
    /// than are in work are in memory.
    pub fn submit<R: AsRef<[u8]> + Send + 'static>(
        &mut self,
        admission: Admission,
        recording: Submitted<T>,
        unpack: impl FnOnce() -> Result<(R, RecordingOptions), E> + Send + 'static,
    ) {
        let Submitted { tag, wanted, n_bytes } = recording;
        let number = self.first + self.in_work.len();
        let reply = Reply { number, sender: self.sender.clone(), is_sent: false };
        let done = move |outcome| reply.send(outcome);
        admission.embed(&self.model, None, wanted, n_bytes, unpack, done);
        self.in_work.push_back(InWork { tag, outcome: None, admission: Some(admission) });
    }

    /// Drops what is in work uncomputed.
    pub fn cancel(&mut self) {
        self.first += self.in_work.len();
        self.in_work.clear();
    }

    /// The next outcome in order, if it is there.
    pub fn take_next(&mut self) -> Option<(T, Result<Embedded, E>)> {
        while let Ok(outcome) = self.outcomes.try_recv() {
            self.put(outcome);
        }
        let done = self.in_work.pop_front_if(|next| next.outcome.is_some())?;
        self.first += 1;
        Some((done.tag, done.outcome?))
    }

    /// Waits until any outcome is there, or for so long.
    pub fn wait(&mut self, at_most: Duration) {
        if let Ok(outcome) = self.outcomes.recv_timeout(at_most) {
            self.put(outcome);
        }
    }

    fn put(&mut self, (number, outcome): (usize, Result<Embedded, E>)) {
        // What was cancelled may have been done already.
        if let Some(place) = number.checked_sub(self.first) {
            let in_work = &mut self.in_work[place];
            (in_work.outcome, in_work.admission) = (Some(outcome), None);
        }
    }
}
