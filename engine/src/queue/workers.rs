//! The worker threads, and how they run jobs.

use std::borrow::Cow;
use std::cell::Cell;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::plan::{GroupId, Plan, PlanLimits, UnitKind, WorkerTask};
use super::sliced::{Slice, Sliced, unpanicked};
use crate::encoder::{EncoderError, LazySession};
use crate::front_end::Units;
use crate::memory::give_back_memory;
use crate::pace::{Cancelled, Pace};

/// The shortest slice of a long job. It is about as long as a batch, with which the slices take turns.
const SLICE: Duration = Duration::from_millis(10);

/// The assumed ratio of real to estimated encoding time, before any unit has been encoded. It is rather too high, because
/// the first promises must be kept as well.
const FIRST_SLOWNESS: f64 = 2.0;

/// The weight of the last batch in the estimate of the speed.
const LEARNED_SHARE: f64 = 0.1;

/// A job with at least this many units uses so much memory that the worker returns the memory to the system at the job's
/// end.
const MANY_UNITS: usize = 64;

/// Limits on the work that is accepted or computed at once.
#[derive(Clone, Copy, Debug)]
pub struct QueueLimits {
    /// Jobs that may wait or be in progress.
    pub capacity: NonZeroUsize,
    /// Units in one call of the encoder.
    pub max_batch: NonZeroUsize,
}

/// Called on a worker with the number of units that the worker encodes at once.
pub type OnBatch = Box<dyn Fn(usize) + Send + Sync>;

/// Called once a job's units are encoded. It finishes the job or returns further units.
pub type Next = Box<dyn FnOnce(Result<Vec<Vec<f32>>, EncoderError>) -> Started + Send>;

/// Called at the end of a job, when it has no units to encode.
pub type Finished = Box<dyn FnOnce() + Send>;

/// Starts a job.
pub type Start = Box<dyn FnOnce() -> Started + Send>;

/// A long job whose start is not yet complete.
pub struct LongStart {
    /// Completes the start of the job.
    pub rest: StartInSlices,
    /// The job's total cost and its deadline, as far as they are known.
    pub estimate: Option<Estimate>,
    /// Called instead of `rest` if the job cannot be finished by its deadline.
    pub refuse: Finished,
}

/// The cost of a job, and its deadline.
#[derive(Clone, Copy, Debug)]
pub struct Estimate {
    /// The cost on one core, in microseconds.
    pub cost_us: u64,
    /// The time after which the result is no longer needed.
    pub deadline: Instant,
}

/// Completes the start of a long job. It pauses every few milliseconds.
pub type StartInSlices = Box<dyn FnOnce(Pace<'_>) -> Started + Send>;

/// The outcome of starting a job on a worker.
pub enum Started {
    /// The job is long. A worker completes its start in slices, once few enough other long jobs are being started.
    Long(LongStart),
    /// The job has units to encode. A worker calls `next` once, with the units' results in their order. If the job is
    /// cancelled or a worker panics, `next` is dropped and never called.
    Units {
        /// The network's place in the engine.
        model: usize,
        /// The cost of encoding a frame on one core, in nanoseconds.
        frame_cost_ns: u32,
        /// The units.
        units: Box<dyn Units>,
        /// Whether `next` returns further units.
        is_continued: bool,
        /// Handles the results of the units.
        next: Next,
    },
    /// The job has no units. The worker calls the function once, after it has freed the job's place.
    Finished(Finished),
}

/// A place in the queue. Dropping it frees the place.
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

/// A bounded queue and its workers. Dropping it finishes the queued jobs.
pub struct Queue {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    capacity: usize,
    places_taken: Arc<AtomicUsize>,
    n_groups: AtomicU64,
}

impl Queue {
    /// Starts a worker for each entry of `workers`. An entry holds the worker's session of each model.
    pub fn start(workers: Vec<Vec<LazySession>>, limits: QueueLimits, on_batch: OnBatch) -> Self {
        let plan_limits = PlanLimits { n_workers: workers.len(), max_batch: limits.max_batch.get() };
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                plan: Plan::new(plan_limits),
                closed: false,
                slowness: FIRST_SLOWNESS,
            }),
            started: Instant::now(),
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

    /// Returns the number of jobs that wait or are in progress.
    pub fn depth(&self) -> usize {
        self.places_taken.load(Ordering::Acquire)
    }

    /// Returns the maximum number of jobs that wait or are in progress.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Returns the number of workers.
    pub fn n_workers(&self) -> usize {
        self.workers.len()
    }

    /// Returns whether no place is free at the moment.
    pub fn is_full(&self) -> bool {
        self.depth() >= self.capacity
    }

    /// Takes a place if one is free.
    pub fn admit(&self) -> Result<Place, QueueFull> {
        let more = |taken| (taken < self.capacity).then_some(taken + 1);
        let admitted = self.places_taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
        admitted.map_err(|_| QueueFull)?;
        Ok(Place(Arc::clone(&self.places_taken)))
    }

    /// Takes a further place, even if none is free. While such places exceed the capacity, the queue admits no other jobs.
    pub fn further_place(&self) -> Place {
        self.places_taken.fetch_add(1, Ordering::AcqRel);
        Place(Arc::clone(&self.places_taken))
    }

    /// Creates a group of jobs. Groups take turns with each other, and the jobs of a group share its turns.
    pub fn group(&self) -> Group {
        let id = GroupId(self.n_groups.fetch_add(1, Ordering::Relaxed));
        self.shared.lock().plan.open(id);
        Group { shared: Arc::clone(&self.shared), id, cancelled: Arc::default() }
    }
}

/// A group of jobs. Dropping it cancels them: waiting jobs are dropped at once with all their data, and the workers
/// compute no further part of started jobs.
pub struct Group {
    shared: Arc<Shared>,
    id: GroupId,
    cancelled: Arc<AtomicBool>,
}

impl Group {
    /// Queues a job, which may hold a place. `start` runs once, on a worker, and takes a few milliseconds. If starting
    /// takes longer, `start` returns [`Started::Long`].
    pub fn submit(&self, place: Option<Place>, start: Start) {
        let job = Job { place, cancelled: Arc::clone(&self.cancelled) };
        self.shared.lock().plan.submit(self.id, ToStart::New(job, start));
        self.shared.work.notify_one();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.cancelled.store(true, Ordering::Relaxed);
        let waiting = self.shared.lock().plan.close(self.id);
        drop(waiting);
        // This may have been the last work of a closed queue, and the workers must then end.
        self.shared.work.notify_all();
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.work.notify_all();
        for worker in self.workers.drain(..) {
            // A worker catches every panic of its work, so there is no error to handle.
            let _ = worker.join();
        }
    }
}

struct Shared {
    /// The origin of the queue's clock.
    started: Instant,
    state: Mutex<State>,
    work: Condvar,
    on_batch: OnBatch,
}

struct State {
    plan: Plan<ToStart, Arc<Encoding>>,
    closed: bool,
    /// The ratio of real to estimated encoding time on this machine.
    slowness: f64,
}

/// A job that waits to be started, or is being started in slices.
enum ToStart {
    New(Job, Start),
    Long(Job, StartInSlices),
    Paused(Job, Sliced<Started>),
}

/// The work on one recording, or another step of a request.
struct Job {
    place: Option<Place>,
    /// Once this is set, the rest of the job is dropped before it is computed.
    cancelled: Arc<AtomicBool>,
}

/// A job whose units are being encoded.
struct Encoding {
    group: GroupId,
    units: Box<dyn Units>,
    kinds: Vec<UnitKind>,
    is_long: bool,
    cancelled: Arc<AtomicBool>,
    progress: Mutex<JobProgress>,
}

struct JobProgress {
    /// Units that are not yet encoded.
    left: usize,
    results: Vec<Vec<f32>>,
    /// The job's place and its callback. `None` once the callback has been taken, or if it will never be called.
    end: Option<(Option<Place>, Next)>,
}

impl Encoding {
    /// Returns whether the result is still needed. If not, this drops the callback and frees the job's place.
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

    fn work_until_closed(self: &Arc<Self>, mut sessions: Vec<LazySession>) {
        let mut has_encoded = false;
        while let Some(task) = self.next_task(has_encoded) {
            has_encoded = matches!(task, WorkerTask::Encode(_));
            match task {
                WorkerTask::Start(group, job) => self.start(group, job),
                WorkerTask::Encode(batch) => {
                    (self.on_batch)(batch.len());
                    let begun = Instant::now();
                    self.encode(&mut sessions, &batch);
                    self.learn(&batch, begun.elapsed());
                    let has_ended =
                        |(encoding, _): &(Arc<Encoding>, usize)| lock(&encoding.progress).end.is_none();
                    let frees_much = batch.iter().any(|unit| unit.0.is_long && has_ended(unit));
                    drop(batch);
                    if frees_much {
                        give_back_memory();
                    }
                }
            }
        }
    }

    /// Waits for work. Returns `None` once the queue is closed and empty.
    fn next_task(&self, has_encoded: bool) -> Option<WorkerTask<ToStart, Arc<Encoding>>> {
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

    /// Starts a job, or continues one for a slice.
    fn start(self: &Arc<Self>, group: GroupId, job: ToStart) {
        let begun = Instant::now();
        match job {
            ToStart::New(job, start) => {
                let started = if job.cancelled.load(Ordering::Relaxed) { None } else { unpanicked(start) };
                if let Some(Started::Long(long)) = started {
                    self.postpone(group, job, long, begun.elapsed());
                } else {
                    self.started(group, job, started, false, begun.elapsed());
                }
            }
            ToStart::Long(job, rest) => {
                // This also gives back memory that the encoder has used.
                give_back_memory();
                let sliced = self.in_slices(rest, &job.cancelled);
                self.slice(group, job, sliced, begun);
            }
            ToStart::Paused(job, sliced) => self.slice(group, job, sliced, begun),
        }
    }

    /// Puts a long job back into the queue if it can be finished in time, and rejects it otherwise.
    fn postpone(&self, group: GroupId, job: Job, long: LongStart, took: Duration) {
        let LongStart { rest, estimate, refuse } = long;
        let mut state = self.lock();
        let can_be_done = estimate.is_none_or(|Estimate { cost_us, deadline }| {
            let cost_us = (cost_us as f64 * state.slowness) as u64;
            let deadline_us = micros(deadline.saturating_duration_since(self.started));
            state.plan.promise(group, micros(self.started.elapsed()), deadline_us, cost_us)
        });
        if can_be_done {
            state.plan.postpone(group, ToStart::Long(job, rest), micros(took));
            drop(state);
            self.work.notify_one();
            return;
        }
        state.plan.started(group, false, micros(took));
        drop(state);
        self.work.notify_all();
        drop((job, rest));
        unpanicked(refuse);
    }

    /// Updates the estimate of the machine's speed from the time of a batch.
    fn learn(&self, batch: &[(Arc<Encoding>, usize)], took: Duration) {
        let cost_us: u64 =
            batch.iter().map(|(encoding, unit)| u64::from(encoding.kinds[*unit].cost_us)).sum();
        if cost_us > 0 {
            let measured = (micros(took) as f64 / cost_us as f64).clamp(0.1, 10.0);
            let mut state = self.lock();
            state.slowness += (measured - state.slowness) * LEARNED_SHARE;
        }
    }

    /// Makes the start of a long job pausable: it pauses after a slice if other work waits.
    fn in_slices(self: &Arc<Self>, rest: StartInSlices, cancelled: &Arc<AtomicBool>) -> Sliced<Started> {
        let (shared, cancelled) = (Arc::clone(self), Arc::clone(cancelled));
        Sliced::new(move |give_way| {
            let begun = Cell::new(Instant::now());
            let pause = || {
                let is_cancelled = || if cancelled.load(Ordering::Relaxed) { Err(Cancelled) } else { Ok(()) };
                is_cancelled()?;
                if begun.get().elapsed() >= SLICE && shared.lock().plan.has_waiting() {
                    give_way.pause()?;
                    begun.set(Instant::now());
                }
                is_cancelled()
            };
            rest(Pace::new(&pause))
        })
    }

    /// Runs a slice of a long job.
    fn slice(&self, group: GroupId, job: Job, sliced: Sliced<Started>, begun: Instant) {
        match sliced.run() {
            Slice::Paused(sliced) => {
                let mut state = self.lock();
                state.plan.pause(group, ToStart::Paused(job, sliced), micros(begun.elapsed()));
                drop(state);
                self.work.notify_one();
            }
            Slice::Done(started) => {
                give_back_memory();
                self.started(group, job, started, true, begun.elapsed());
            }
        }
    }

    /// Handles the outcome of starting a job.
    fn started(&self, group: GroupId, job: Job, started: Option<Started>, is_long: bool, took: Duration) {
        let Job { place, cancelled } = job;
        let end_start = || {
            self.lock().plan.started(group, is_long, micros(took));
            self.work.notify_all();
        };
        let (model, frame_cost_ns, units, is_continued, next) = match started {
            Some(Started::Units { model, frame_cost_ns, units, is_continued, next }) => {
                (model, frame_cost_ns, units, is_continued, next)
            }
            Some(Started::Finished(finished)) => {
                end_start();
                drop(place);
                unpanicked(finished);
                return;
            }
            // A worker panicked, the job was cancelled, or a long job returned `Long` again, which no job does.
            None | Some(Started::Long(_)) => return end_start(),
        };
        let kind =
            |n_frames: usize| UnitKind { model, n_frames, cost_us: cost_us(n_frames, frame_cost_ns) as u32 };
        let kinds: Vec<UnitKind> = units.lengths().into_iter().map(kind).collect();
        let results = vec![Vec::new(); kinds.len()];
        let progress = Mutex::new(JobProgress { left: kinds.len(), results, end: Some((place, next)) });
        let is_long = is_long || kinds.len() >= MANY_UNITS;
        let encoding = Encoding { group, units, kinds: kinds.clone(), is_long, cancelled, progress };
        let mut state = self.lock();
        if is_continued {
            state.plan.expect_more(group);
        }
        state.plan.add_units(group, Arc::new(encoding), kinds);
        drop(state);
        end_start();
    }

    /// Encodes a batch and ends the jobs that it completes. An error ends all jobs in the batch.
    fn encode(&self, sessions: &mut [LazySession], batch: &[(Arc<Encoding>, usize)]) {
        let (first, unit) = &batch[0];
        let session = &mut sessions[first.kinds[*unit].model];
        let results = unpanicked(|| {
            let values: Vec<Cow<'_, [f32]>> =
                batch.iter().map(|(encoding, unit)| encoding.units.values(*unit)).collect();
            let values: Vec<&[f32]> = values.iter().map(AsRef::as_ref).collect();
            let was_loaded = session.is_loaded();
            let session = session.get()?;
            if !was_loaded {
                give_back_memory();
            }
            session.embed(&values)
        });
        match results.unwrap_or_else(|| Err(EncoderError::Run("it panicked".into()))) {
            Ok(results) => {
                for ((encoding, unit), result) in batch.iter().zip(results) {
                    let mut progress = lock(&encoding.progress);
                    progress.results[*unit] = result;
                    progress.left -= 1;
                    if progress.left == 0 {
                        let results = std::mem::take(&mut progress.results);
                        self.end(encoding, progress, Ok(results));
                    }
                }
            }
            Err(error) => {
                for (encoding, _) in batch {
                    let error = EncoderError::Run(error.to_string());
                    self.end(encoding, lock(&encoding.progress), Err(error));
                }
            }
        }
    }

    /// Ends a job, or continues it with its further units.
    fn end(
        &self,
        encoding: &Encoding,
        mut progress: MutexGuard<'_, JobProgress>,
        outcome: Result<Vec<Vec<f32>>, EncoderError>,
    ) {
        let Some((place, next)) = progress.end.take() else { return };
        drop(progress);
        match unpanicked(|| next(outcome)) {
            // The place is freed before the response is sent, so that a client that has its response finds the place free.
            Some(Started::Finished(finished)) => {
                drop(place);
                unpanicked(finished);
            }
            Some(more) => {
                let job = Job { place, cancelled: Arc::clone(&encoding.cancelled) };
                let start = ToStart::New(job, Box::new(|| more));
                self.lock().plan.submit(encoding.group, start);
                self.work.notify_one();
            }
            None => {}
        }
    }
}

fn cost_us(n_frames: usize, frame_cost_ns: u32) -> u64 {
    n_frames as u64 * u64::from(frame_cost_ns) / 1_000
}

fn micros(duration: Duration) -> u64 {
    duration.as_micros() as u64
}

/// Locks a mutex, even a poisoned one: a worker that panics leaves nothing half-changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> Queue {
        let n = |n| NonZeroUsize::new(n).unwrap();
        Queue::start(Vec::new(), QueueLimits { capacity: n(9), max_batch: n(6) }, Box::new(|_| {}))
    }

    #[test]
    fn what_cannot_be_done_in_time_is_refused_at_once() {
        let n = |n| NonZeroUsize::new(n).unwrap();
        let limits = QueueLimits { capacity: n(9), max_batch: n(6) };
        let queue = Queue::start(vec![Vec::new()], limits, Box::new(|_| {}));
        let ask = |cost_us: u64| {
            let (sender, outcome) = std::sync::mpsc::channel();
            let started = sender.clone();
            let rest: StartInSlices = Box::new(move |_| {
                started.send("started").unwrap();
                Started::Finished(Box::new(|| {}))
            });
            let estimate = Some(Estimate { cost_us, deadline: Instant::now() + Duration::from_secs(30) });
            let refuse = Box::new(move || sender.send("refused").unwrap());
            let start = Box::new(move || Started::Long(LongStart { rest, estimate, refuse }));
            let group = queue.group();
            group.submit(queue.admit().ok(), start);
            outcome.recv().unwrap()
        };
        assert_eq!(ask(1_000_000), "started");
        assert_eq!(ask(100_000_000), "refused");
        assert_eq!(ask(1_000_000), "started");
    }

    /// Without workers, no job is ever started.
    #[test]
    fn what_waits_is_dropped_with_its_body_when_it_is_cancelled() {
        let queue = queue();
        let (body, group) = (Arc::new(vec![0_u8; 100]), queue.group());
        let held = Arc::clone(&body);
        let start = Box::new(move || {
            drop(held);
            Started::Finished(Box::new(|| {}))
        });
        group.submit(queue.admit().ok(), start);
        assert_eq!((Arc::strong_count(&body), queue.depth()), (2, 1));
        drop(group);
        assert_eq!((Arc::strong_count(&body), queue.depth()), (1, 0), "body and place are free");
    }

    /// The worker has no session, since nothing is encoded here.
    #[test]
    fn a_long_job_ends_at_its_next_pause_once_it_is_cancelled() {
        let n = |n| NonZeroUsize::new(n).unwrap();
        let limits = QueueLimits { capacity: n(9), max_batch: n(6) };
        let queue = Queue::start(vec![Vec::new()], limits, Box::new(|_| {}));
        let (ended, outcome) = std::sync::mpsc::channel();
        let (begun, has_begun) = std::sync::mpsc::channel();
        let group = queue.group();
        let rest: StartInSlices = Box::new(move |pace| {
            begun.send(()).unwrap();
            while pace.pause().is_ok() {}
            ended.send(()).unwrap();
            Started::Finished(Box::new(|| {}))
        });
        let long = LongStart { rest, estimate: None, refuse: Box::new(|| {}) };
        group.submit(None, Box::new(move || Started::Long(long)));
        has_begun.recv().unwrap();
        // Meanwhile, other work takes its turn on the only worker.
        let (short_done, short_is_done) = std::sync::mpsc::channel();
        let start = Box::new(move || Started::Finished(Box::new(move || short_done.send(()).unwrap())));
        let short = queue.group();
        short.submit(None, start);
        short_is_done.recv().unwrap();
        drop(group);
        outcome.recv().unwrap();
    }
}
