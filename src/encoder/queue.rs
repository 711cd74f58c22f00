//! The encode queue: a fixed number of threads that do all CPU work of all requests.
//!
//! The unit of work is not a request but a window. A job is first *prepared* (decoded and preprocessed, whole, on one
//! worker); its windows then wait for the encoder, and each worker takes a batch of them at a time, in turns
//! from all utterances that have any. So a long utterance spreads over idle cores, windows of short ones share a
//! batch, and none waits behind an hour of audio.
//!
//! A worker looking for work
//! 1. prepares the oldest job, if there is less than a full batch for every worker, so that batches fill up;
//! 2. else encodes and prepares by turns, so that a job is never kept from the queue by the windows of others;
//! 3. and sleeps if there is neither.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::{EncoderError, MelWindows, Session, WindowEmbedding, mean_embedding};
use crate::embedding::Embedding;

/// How much is computed at once.
#[derive(Clone, Copy, Debug)]
pub struct QueueLimits {
    /// Jobs that may wait or be in work.
    pub capacity: NonZeroUsize,
    /// Windows in one call of the encoder.
    pub max_batch: NonZeroUsize,
}

/// Told, on a worker, how many windows it has encoded at once.
pub type OnBatch = Box<dyn Fn(usize) + Send + Sync>;

/// What is done with an embedding.
pub type Done = Box<dyn FnOnce(Result<Embedding, EncoderError>) + Send>;

/// What a request wants of the queue.
pub struct Job {
    /// Run once, on a worker: either something to encode or, where there is nothing, what to do instead.
    pub prepare: Box<dyn FnOnce() -> Result<Utterance, Instead> + Send>,
    /// Set it and what is left of the job is dropped before it is computed.
    pub cancelled: Arc<AtomicBool>,
}

/// A prepared job: what to encode, and what to do with the embedding.
pub struct Utterance {
    /// The windows to encode.
    pub windows: MelWindows,
    /// Called once, on a worker, when the job's place is free. It is dropped uncalled if the job is cancelled or a
    /// worker panics.
    pub done: Done,
}

/// Called once, on a worker, when the place of a job is free that ended without windows.
pub type Instead = Box<dyn FnOnce() + Send>;

/// A place in the queue, free again when this is dropped.
pub struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the queue is full")]
pub struct QueueFull;

/// A bounded queue and its workers. Dropping it finishes what is queued.
pub struct EncodeQueue {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    capacity: usize,
    places_taken: Arc<AtomicUsize>,
}

impl EncodeQueue {
    /// Starts one worker a session.
    pub fn start(sessions: Vec<Session>, limits: QueueLimits, on_batch: OnBatch) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            work: Condvar::new(),
            n_workers: sessions.len(),
            max_batch: limits.max_batch.get(),
            on_batch,
        });
        let worker = |(i, session)| {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name(format!("worker-{i}"))
                .spawn(move || shared.work_until_closed(session))
                .expect("the system has a thread to spare at start")
        };
        let workers = sessions.into_iter().enumerate().map(worker).collect();
        Self { shared, workers, capacity: limits.capacity.get(), places_taken: Arc::default() }
    }

    /// Jobs that wait or are in work.
    pub fn depth(&self) -> usize {
        self.places_taken.load(Ordering::Acquire)
    }

    /// Jobs that may wait or be in work.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Whether there is no place just now.
    pub fn is_full(&self) -> bool {
        self.depth() >= self.capacity
    }

    /// Takes a place.
    pub fn reserve(&self) -> Result<Place, QueueFull> {
        let one_more = |taken| (taken < self.capacity).then_some(taken + 1);
        match self.places_taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more) {
            Ok(_) => Ok(Place(Arc::clone(&self.places_taken))),
            Err(_) => Err(QueueFull),
        }
    }

    /// Queues a job in its place.
    pub fn submit(&self, place: Place, job: Job) {
        self.shared.lock().to_prepare.push_back((place, job));
        self.shared.work.notify_one();
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
    max_batch: usize,
    on_batch: OnBatch,
}

#[derive(Default)]
struct State {
    to_prepare: VecDeque<(Place, Job)>,
    /// Utterances with windows that no worker has taken, in the order of their turns.
    to_encode: VecDeque<Arc<Encoding>>,
    /// Windows that no worker has taken, of all utterances in `to_encode`.
    windows_waiting: usize,
    /// Batches that the waiting windows are to be taken in, planned anew whenever windows come.
    batches_planned: usize,
    /// The last batch was of short utterances.
    short_had_turn: bool,
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
    /// What is left to do at the end; `None` once that is done or called off.
    end: Option<(Place, Done)>,
}

/// A window of an utterance.
struct Window {
    of: Arc<Encoding>,
    index: usize,
}

enum Task {
    Prepare(Place, Job),
    Encode(Vec<Window>),
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn work_until_closed(&self, mut session: Session) {
        let mut has_encoded = false;
        while let Some(task) = self.next_task(has_encoded) {
            has_encoded = matches!(task, Task::Encode(_));
            match task {
                Task::Prepare(place, job) => self.prepare(place, job),
                Task::Encode(batch) => {
                    (self.on_batch)(batch.len());
                    encode(&mut session, batch);
                }
            }
        }
    }

    /// Waits for work; `None` once the queue is closed and empty. `has_encoded` tells whose turn it is.
    fn next_task(&self, has_encoded: bool) -> Option<Task> {
        let mut state = self.lock();
        loop {
            let batches_are_full = state.windows_waiting >= self.max_batch * self.n_workers;
            if (has_encoded || !batches_are_full)
                && let Some((place, job)) = state.to_prepare.pop_front()
            {
                return Some(Task::Prepare(place, job));
            }
            if state.windows_waiting > 0 {
                let batch = state.take_batch(self.max_batch);
                if !batch.is_empty() {
                    return Some(Task::Encode(batch));
                }
                continue;
            }
            if state.closed {
                return None;
            }
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Batches for so many windows, so that all workers are done at the same time.
    fn batches(&self, n_windows: usize) -> usize {
        n_windows.div_ceil(self.n_workers * self.max_batch) * self.n_workers
    }

    fn prepare(&self, place: Place, job: Job) {
        let Job { prepare, cancelled } = job;
        if cancelled.load(Ordering::Relaxed) {
            return;
        }
        let Utterance { windows, done } = match unpanicked(prepare) {
            Some(Ok(utterance)) => utterance,
            Some(Err(instead)) => {
                drop(place);
                unpanicked(instead);
                return;
            }
            None => return,
        };
        let n_windows = windows.count();
        let progress = Progress {
            taken: 0,
            left: n_windows,
            embeddings: vec![[0.0; _]; n_windows],
            end: Some((place, done)),
        };
        let mut state = self.lock();
        state.windows_waiting += n_windows;
        state.batches_planned = self.batches(state.windows_waiting);
        state.to_encode.push_back(Arc::new(Encoding { windows, cancelled, progress: Mutex::new(progress) }));
        drop(state);
        self.work.notify_all();
    }
}

/// Encodes a batch and ends the utterances that it completes.
fn encode(session: &mut Session, batch: Vec<Window>) {
    let mels: Vec<f32> = batch.iter().flat_map(|w| w.of.windows.window(w.index)).copied().collect();
    let embeddings =
        unpanicked(|| session.embed(&mels)).unwrap_or_else(|| Err(EncoderError::Run("it panicked".into())));
    for (i, Window { of, index }) in batch.into_iter().enumerate() {
        let mut progress = lock(&of.progress);
        progress.left -= 1;
        let outcome = match &embeddings {
            Ok(embeddings) => {
                progress.embeddings[index] = embeddings[i];
                (progress.left == 0).then(|| mean_embedding(&progress.embeddings))
            }
            Err(error) => Some(Err(EncoderError::Run(error.to_string()))),
        };
        let Some(outcome) = outcome else { continue };
        if let Some((place, done)) = progress.end.take() {
            // The place is free before the answer is out, so that a client that has its answer finds it free.
            drop((progress, place));
            unpanicked(|| done(outcome));
        }
    }
}

impl State {
    /// Takes windows for one call of the encoder.
    ///
    /// 1. Share them evenly among the batches that are planned.
    /// 2. Where there are short utterances and long ones, every other batch is of the short ones alone, so that they need not
    ///    wait for windows of the long ones beside theirs.
    /// 3. Else take one window from each utterance in turn.
    fn take_batch(&mut self, max_batch: usize) -> Vec<Window> {
        let size = self.windows_waiting.div_ceil(self.batches_planned.max(1)).min(max_batch);
        self.batches_planned = self.batches_planned.saturating_sub(1);
        let is_short = |encoding: &Encoding| encoding.windows.count() <= max_batch;
        let n_short = self.to_encode.iter().filter(|encoding| is_short(encoding)).count();
        let has_both = (1..self.to_encode.len()).contains(&n_short);
        self.short_had_turn = has_both && !self.short_had_turn;
        if self.short_had_turn {
            self.take_in_turn(max_batch, is_short)
        } else {
            self.take_in_turn(size, |_| true)
        }
    }

    /// Takes up to `size` windows, one from each of some utterances in turn. Utterances that are cancelled are dropped.
    fn take_in_turn(&mut self, size: usize, is_wanted: impl Fn(&Encoding) -> bool) -> Vec<Window> {
        let mut batch = Vec::with_capacity(size);
        let mut others = VecDeque::new();
        while batch.len() < size
            && let Some(encoding) = self.to_encode.pop_front()
        {
            if !is_wanted(&encoding) {
                others.push_back(encoding);
                continue;
            }
            let mut progress = lock(&encoding.progress);
            if encoding.cancelled.load(Ordering::Relaxed) {
                self.windows_waiting -= encoding.windows.count() - progress.taken;
                progress.end = None;
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
        // Those that were passed over keep their turn.
        others.append(&mut self.to_encode);
        self.to_encode = others;
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
