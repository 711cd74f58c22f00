//! The encode queue: a fixed number of threads that do all CPU work of all requests.
//!
//! The unit of work is not a request but a window. A job is first *prepared* (decoded and preprocessed, whole, on one
//! worker); its windows then wait for the encoder, and each worker takes up to [`MAX_BATCH`] of them at a time, in turns
//! from all utterances that have any. So a long utterance spreads over idle cores, windows of short ones share a
//! batch, and none waits behind an hour of audio.
//!
//! A worker looking for work
//! 1. encodes, if there is a full batch for every worker or nothing to prepare;
//! 2. else prepares the oldest job;
//! 3. else sleeps.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::{EncoderError, MAX_BATCH, MelWindows, Session, WindowEmbedding, mean_embedding};
use crate::embedding::Embedding;

/// What is done with an embedding.
pub type Done = Box<dyn FnOnce(Result<Embedding, EncoderError>) + Send>;

/// What a request wants of the queue.
pub struct Job {
    /// Run once, on a worker. Without a result the job ends here, having answered for itself.
    pub prepare: Box<dyn FnOnce() -> Option<Utterance> + Send>,
    /// Set it and what is left of the job is dropped before it is computed.
    pub cancelled: Arc<AtomicBool>,
}

/// A prepared job: what to encode, and what to do with the embedding.
pub struct Utterance {
    /// The windows to encode.
    pub windows: MelWindows,
    /// Called once, on a worker. It is dropped uncalled if the job is cancelled or a worker panics.
    pub done: Done,
}

/// The queue is full: the job was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the queue is full")]
pub struct QueueFull;

/// A bounded queue and its workers. Dropping it finishes what is queued.
pub struct EncodeQueue {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

impl EncodeQueue {
    /// Starts one worker a session, which takes up to `capacity` jobs that are waiting or in work.
    pub fn start(sessions: Vec<Session>, capacity: NonZeroUsize) -> Self {
        let n_workers = sessions.len();
        let shared = Arc::new(Shared {
            state: Mutex::new(State::default()),
            work: Condvar::new(),
            n_workers,
            capacity: capacity.get(),
        });
        let worker = |(i, session)| {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name(format!("worker-{i}"))
                .spawn(move || shared.work_until_closed(session))
                .expect("the system has a thread to spare at start")
        };
        let workers = sessions.into_iter().enumerate().map(worker).collect();
        Self { shared, workers }
    }

    /// Queues a job, or refuses it at once.
    pub fn submit(&self, job: Job) -> Result<(), QueueFull> {
        let mut state = self.shared.lock();
        if state.open_jobs >= self.shared.capacity {
            return Err(QueueFull);
        }
        state.open_jobs += 1;
        state.to_prepare.push_back(job);
        drop(state);
        self.shared.work.notify_one();
        Ok(())
    }

    /// Whether a job submitted now would be refused.
    pub fn is_full(&self) -> bool {
        self.shared.lock().open_jobs >= self.shared.capacity
    }
}

impl Drop for EncodeQueue {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.work.notify_all();
        for worker in self.workers.drain(..) {
            // A worker catches every panic of the work it does; there is nothing to pass on.
            let _ = worker.join();
        }
    }
}

struct Shared {
    state: Mutex<State>,
    work: Condvar,
    n_workers: usize,
    capacity: usize,
}

#[derive(Default)]
struct State {
    /// Jobs taken and not ended.
    open_jobs: usize,
    to_prepare: VecDeque<Job>,
    /// Utterances with windows that no worker has taken, in the order of their turns.
    to_encode: VecDeque<Arc<Encoding>>,
    /// Windows that no worker has taken, of all utterances in `to_encode`.
    windows_waiting: usize,
    closed: bool,
}

/// An utterance being encoded.
struct Encoding {
    windows: MelWindows,
    cancelled: Arc<AtomicBool>,
    progress: Mutex<Progress>,
}

struct Progress {
    /// Windows taken by workers so far; they are taken in order.
    taken: usize,
    /// Windows that are still to be encoded.
    left: usize,
    embeddings: Vec<WindowEmbedding>,
    /// `None` once called.
    done: Option<Done>,
}

/// A window of an utterance.
struct Window {
    of: Arc<Encoding>,
    index: usize,
}

enum Task {
    Prepare(Job),
    Encode(Vec<Window>),
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn work_until_closed(&self, mut session: Session) {
        while let Some(task) = self.next_task() {
            match task {
                Task::Prepare(job) => self.prepare(job),
                Task::Encode(batch) => self.encode(&mut session, batch),
            }
        }
    }

    /// Waits for work; `None` once the queue is closed and empty.
    fn next_task(&self) -> Option<Task> {
        let mut state = self.lock();
        loop {
            let full_batches = state.windows_waiting >= MAX_BATCH * self.n_workers;
            if (full_batches || state.to_prepare.is_empty()) && state.windows_waiting > 0 {
                let batch = state.take_batch(self.n_workers);
                if !batch.is_empty() {
                    return Some(Task::Encode(batch));
                }
                continue;
            }
            if let Some(job) = state.to_prepare.pop_front() {
                return Some(Task::Prepare(job));
            }
            if state.closed {
                return None;
            }
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn prepare(&self, job: Job) {
        let Job { prepare, cancelled } = job;
        let utterance = if cancelled.load(Ordering::Relaxed) { None } else { unpanicked(prepare).flatten() };
        let mut state = self.lock();
        let Some(Utterance { windows, done }) = utterance else {
            state.open_jobs -= 1;
            return;
        };
        let n_windows = windows.count();
        state.windows_waiting += n_windows;
        state.to_encode.push_back(Arc::new(Encoding {
            windows,
            cancelled,
            progress: Mutex::new(Progress {
                taken: 0,
                left: n_windows,
                embeddings: vec![[0.0; _]; n_windows],
                done: Some(done),
            }),
        }));
        drop(state);
        self.work.notify_all();
    }

    /// Encodes a batch and ends the utterances that it completes.
    fn encode(&self, session: &mut Session, batch: Vec<Window>) {
        let mels: Vec<f32> = batch.iter().flat_map(|w| w.of.windows.window(w.index)).copied().collect();
        let embeddings = unpanicked(|| session.embed(&mels))
            .unwrap_or_else(|| Err(EncoderError::Run("it panicked".into())));
        for (i, Window { of, index }) in batch.into_iter().enumerate() {
            let mut progress = lock(&of.progress);
            progress.left -= 1;
            match &embeddings {
                Ok(embeddings) => progress.embeddings[index] = embeddings[i],
                Err(error) => {
                    let error = EncoderError::Run(error.to_string());
                    if let Some(done) = progress.done.take() {
                        unpanicked(|| done(Err(error)));
                    }
                }
            }
            if progress.left > 0 {
                continue;
            }
            let embedding = mean_embedding(&progress.embeddings);
            // The place is free before the answer is out, so that a client that has its answer finds the place free.
            self.lock().open_jobs -= 1;
            if let Some(done) = progress.done.take() {
                unpanicked(|| done(embedding));
            }
        }
    }
}

impl State {
    /// Takes windows for one call of the encoder, one from each utterance in turn: [`MAX_BATCH`], or fewer if that
    /// leaves other workers without. Utterances that are cancelled are dropped.
    fn take_batch(&mut self, n_workers: usize) -> Vec<Window> {
        let size = self.windows_waiting.div_ceil(n_workers).min(MAX_BATCH);
        let mut batch = Vec::with_capacity(size);
        while batch.len() < size
            && let Some(encoding) = self.to_encode.pop_front()
        {
            let mut progress = lock(&encoding.progress);
            if encoding.cancelled.load(Ordering::Relaxed) {
                self.windows_waiting -= encoding.windows.count() - progress.taken;
                progress.left -= encoding.windows.count() - progress.taken;
                progress.done = None;
                if progress.left == 0 {
                    self.open_jobs -= 1;
                }
                continue;
            }
            let index = progress.taken;
            progress.taken += 1;
            self.windows_waiting -= 1;
            let has_more = progress.taken < encoding.windows.count();
            drop(progress);
            batch.push(Window { of: Arc::clone(&encoding), index });
            if has_more {
                self.to_encode.push_back(encoding);
            }
        }
        batch
    }
}

/// Nothing is left half-changed when a worker panics, so a poisoned lock is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs work that may panic (a bug); the panic hook has then reported it.
fn unpanicked<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}
