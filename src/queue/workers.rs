//! The worker threads, and what they do with a job.

use std::borrow::Cow;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::plan::{GroupId, Plan, PlanLimits, Task, UnitKind};
use crate::encoder::{EncoderError, Session};
use crate::front_end::{Features, Unit};
use crate::memory::give_back_memory;

/// How much is computed at once.
#[derive(Clone, Copy, Debug)]
pub struct QueueLimits {
    /// Jobs that may wait or be in work.
    pub capacity: NonZeroUsize,
    /// Units in one call of the encoder.
    pub max_batch: NonZeroUsize,
}

/// Called on a worker with the number of units that it encodes at once.
pub type OnBatch = Box<dyn Fn(usize) + Send + Sync>;

/// What is done with the embeddings of a job's units, in their order.
pub type Finish = Box<dyn FnOnce(Result<Vec<Vec<f32>>, EncoderError>) + Send>;

/// What is done at the end of a job without units.
pub type Finished = Box<dyn FnOnce() + Send>;

/// The work on one recording.
pub struct Job {
    /// Runs once, on a worker.
    pub start: Box<dyn FnOnce() -> Started + Send>,
    /// Whether that takes much memory.
    pub is_large: bool,
    /// Once it is set, what is left of the job is dropped before it is computed.
    pub cancelled: Arc<AtomicBool>,
}

/// What becomes of a job that a worker has started.
pub enum Started {
    /// It has units to encode. `finish` is called once, on a worker, when the job's place is free. It is dropped uncalled if
    /// the job is cancelled or a worker panics.
    Units {
        /// Place of the model in the engine.
        model: usize,
        /// What encoding a frame takes on one core, in nanoseconds.
        frame_cost_ns: u32,
        /// The units.
        features: Features,
        /// What to do with their embeddings.
        finish: Finish,
    },
    /// It has none. The function is called once, on the worker, when the job's place is free.
    Finished(Finished),
}

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
pub struct Queue {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    capacity: usize,
    places_taken: Arc<AtomicUsize>,
    n_groups: AtomicU64,
}

impl Queue {
    /// Starts a worker for each entry, which holds the worker's session of each model.
    pub fn start(workers: Vec<Vec<Session>>, limits: QueueLimits, on_batch: OnBatch) -> Self {
        let plan_limits = PlanLimits { n_workers: workers.len(), max_batch: limits.max_batch.get() };
        let shared = Arc::new(Shared {
            state: Mutex::new(State { plan: Plan::new(plan_limits), closed: false }),
            work: Condvar::new(),
            on_batch,
        });
        let worker = |(i, sessions)| {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name(format!("worker-{i}"))
                .spawn(move || shared.work_until_closed(sessions))
                .expect("the system has a thread to spare at start")
        };
        Self {
            workers: workers.into_iter().enumerate().map(worker).collect(),
            shared,
            capacity: limits.capacity.get(),
            places_taken: Arc::default(),
            n_groups: AtomicU64::new(0),
        }
    }

    /// Jobs that wait or are in work.
    pub fn depth(&self) -> usize {
        self.places_taken.load(Ordering::Acquire)
    }

    /// Jobs that may wait or be in work.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Whether there is no place at the moment.
    pub fn is_full(&self) -> bool {
        self.depth() >= self.capacity
    }

    /// Takes the places of a group of jobs: all of them, if one is free. A group may so exceed the capacity; while it does,
    /// no other is admitted.
    pub fn admit(&self, n_jobs: usize) -> Result<Vec<Place>, QueueFull> {
        let more = |taken| (taken < self.capacity).then_some(taken + n_jobs);
        let admitted = self.places_taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
        admitted.map_err(|_| QueueFull)?;
        Ok((0..n_jobs).map(|_| Place(Arc::clone(&self.places_taken))).collect())
    }

    /// A new group of jobs, which take turns with each other before they do with those of other groups.
    pub fn group(&self) -> GroupId {
        GroupId(self.n_groups.fetch_add(1, Ordering::Relaxed))
    }

    /// Queues a job in its place.
    pub fn submit(&self, group: GroupId, place: Place, job: Job) {
        let is_large = job.is_large;
        self.shared.lock().plan.submit(group, (place, job), is_large);
        self.shared.work.notify_one();
    }
}

impl Drop for Queue {
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
    on_batch: OnBatch,
}

struct State {
    plan: Plan<(Place, Job), Arc<Encoding>>,
    closed: bool,
}

/// A job whose units are being encoded.
struct Encoding {
    model: usize,
    features: Features,
    is_large: bool,
    cancelled: Arc<AtomicBool>,
    progress: Mutex<Progress>,
}

struct Progress {
    /// Units that are still to be encoded.
    left: usize,
    embeddings: Vec<Vec<f32>>,
    /// What is left to do at the end; `None` once that is done or will not be.
    end: Option<(Place, Finish)>,
}

impl Encoding {
    /// Whether the result is still needed. If not, the job's end is dropped, and with it its place.
    fn is_wanted(&self) -> bool {
        let mut progress = lock(&self.progress);
        if self.cancelled.load(Ordering::Relaxed) {
            progress.end = None;
        }
        progress.end.is_some()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn work_until_closed(&self, mut sessions: Vec<Session>) {
        let mut has_encoded = false;
        while let Some(task) = self.next_task(has_encoded) {
            has_encoded = matches!(task, Task::Encode(_));
            match task {
                Task::Start(group, (place, job)) => self.start(group, place, job),
                Task::Encode(batch) => {
                    (self.on_batch)(batch.len());
                    encode(&mut sessions, &batch);
                    let has_ended =
                        |(encoding, _): &(Arc<Encoding>, usize)| lock(&encoding.progress).end.is_none();
                    let frees_much = batch.iter().any(|unit| unit.0.is_large && has_ended(unit));
                    drop(batch);
                    if frees_much {
                        give_back_memory();
                    }
                }
            }
        }
    }

    /// Waits for work; `None` once the queue is closed and empty.
    fn next_task(&self, has_encoded: bool) -> Option<Task<(Place, Job), Arc<Encoding>>> {
        let mut state = self.lock();
        loop {
            if let Some(task) = state.plan.next(has_encoded, |encoding| encoding.is_wanted()) {
                return Some(task);
            }
            if state.closed && state.plan.is_empty() {
                return None;
            }
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn start(&self, group: GroupId, place: Place, job: Job) {
        let Job { start, is_large, cancelled } = job;
        if is_large {
            // What the encoder had, too.
            give_back_memory();
        }
        let start = if cancelled.load(Ordering::Relaxed) {
            drop(start);
            None
        } else {
            unpanicked(start)
        };
        if is_large {
            give_back_memory();
            self.lock().plan.large_started();
            self.work.notify_all();
        }
        let (model, frame_cost_ns, features, finish) = match start {
            Some(Started::Units { model, frame_cost_ns, features, finish }) => {
                (model, frame_cost_ns, features, finish)
            }
            Some(Started::Finished(finished)) => {
                drop(place);
                unpanicked(finished);
                return;
            }
            None => return,
        };
        let kind = |unit: &Unit| {
            let n_frames = unit.frames.len();
            UnitKind { model, n_frames, cost_us: (n_frames as u64 * u64::from(frame_cost_ns) / 1_000) as u32 }
        };
        let kinds: Vec<UnitKind> = features.units().iter().map(kind).collect();
        let embeddings = vec![Vec::new(); kinds.len()];
        let progress = Progress { left: kinds.len(), embeddings, end: Some((place, finish)) };
        let encoding = Encoding { model, features, is_large, cancelled, progress: Mutex::new(progress) };
        self.lock().plan.add_units(group, Arc::new(encoding), kinds);
        self.work.notify_all();
    }
}

/// Encodes a batch and ends the jobs that it completes. After an error, the jobs in the batch end with it.
fn encode(sessions: &mut [Session], batch: &[(Arc<Encoding>, usize)]) {
    let units: Vec<Cow<'_, [f32]>> =
        batch.iter().map(|(encoding, unit)| encoding.features.values(*unit)).collect();
    let units: Vec<&[f32]> = units.iter().map(AsRef::as_ref).collect();
    let session = &mut sessions[batch[0].0.model];
    let embeddings =
        unpanicked(|| session.embed(&units)).unwrap_or_else(|| Err(EncoderError::Run("it panicked".into())));
    match embeddings {
        Ok(embeddings) => {
            for ((encoding, unit), embedding) in batch.iter().zip(embeddings) {
                let mut progress = lock(&encoding.progress);
                progress.embeddings[*unit] = embedding;
                progress.left -= 1;
                if progress.left == 0 {
                    let embeddings = std::mem::take(&mut progress.embeddings);
                    end(progress, Ok(embeddings));
                }
            }
        }
        Err(error) => {
            for (encoding, _) in batch {
                end(lock(&encoding.progress), Err(EncoderError::Run(error.to_string())));
            }
        }
    }
}

fn end(mut progress: MutexGuard<'_, Progress>, outcome: Result<Vec<Vec<f32>>, EncoderError>) {
    if let Some((place, finish)) = progress.end.take() {
        // The place is free before the answer is out, so that a client that has its answer finds it free.
        drop((progress, place));
        unpanicked(|| finish(outcome));
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
