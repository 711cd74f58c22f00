//! Decides which work comes next. This code is pure, without threads and locks.
//!
//! Work comes in groups (the recordings of one request). A group has jobs (one recording each), and a job has units. A
//! job is first started (decoded and analysed), and its units then wait for the encoder. A short job is started in one
//! go, a long job in slices.
//!
//! The next turn goes to the group that has cost least so far and, within the group, to the job that has cost least. A
//! turn takes one slice or one unit. Neither an hour of audio nor a batch of 64 recordings therefore makes a 2-second
//! clip wait for more than the slices and batches in progress.

use std::collections::VecDeque;

/// The cost of encoding the unit by which batches are sized, in microseconds: a window of Resemblyzer. A batch costs at
/// most `max_batch` times as much.
const BATCH_UNIT_COST_US: u64 = 2_200;

/// A unit that costs more than a batch is encoded alone, but a unit of up to this cost is encoded with another: two windows
/// of the segmentation network take a fifth less together than one after the other.
const PAIRED_UNIT_COST_US: u64 = 30_000;

/// The share of the workers' time that long jobs are promised. The rest is for short jobs and for errors of the estimates.
const PROMISED_PERCENT: u64 = 80;

/// Identifies a group of jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupId(pub u64);

/// The model, length and cost of a unit. Only units of the same model and length share a call of the encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnitKind {
    /// The model's place in the engine.
    pub model: usize,
    /// The length of the unit.
    pub n_frames: usize,
    /// The cost of encoding the unit on one core, in microseconds.
    pub cost_us: u32,
}

/// Limits on the work that is taken at once.
#[derive(Clone, Copy, Debug)]
pub struct PlanLimits {
    /// The number of threads that take work.
    pub n_workers: usize,
    /// The maximum number of units in one call of the encoder.
    pub max_batch: usize,
}

/// A task for a worker.
#[derive(Debug, PartialEq, Eq)]
pub enum WorkerTask<S, J> {
    /// Start a job of this group, or continue a job that paused.
    Start(GroupId, S),
    /// Encode these units. Each consists of a job and the unit's place in it.
    Encode(Vec<(J, usize)>),
}

/// The work that waits: jobs of type `S` that are to be started, and started jobs of type `J` with units to encode.
pub struct Plan<S, J> {
    limits: PlanLimits,
    /// The groups in the order of their arrival.
    groups: Vec<PlannedGroup<S, J>>,
    /// The cost of all units that wait.
    waiting_us: u64,
    /// The number of batches for the waiting units. It is recomputed whenever units arrive.
    batches_planned: u64,
    /// Whether the last batch was of small groups only.
    small_had_turn: bool,
    /// The number of long jobs that are being started.
    n_long_starting: usize,
}

/// A job that is to be started.
struct Waiting<S> {
    job: S,
    stage: Stage,
}

/// How far the start of a job has progressed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// No worker has looked at the job.
    New,
    /// The job is known to be long. While it is started, it takes much memory.
    Long,
    /// The job is long and has paused after a slice.
    Paused,
}

struct PlannedGroup<S, J> {
    id: GroupId,
    /// The cost of the group's work since all groups were last idle. A group that had no work resumes from the cost of
    /// the group served least.
    spent_us: u64,
    /// The number of jobs, or slices of jobs, that workers are starting.
    n_running: usize,
    /// The number of jobs started so far.
    n_started: usize,
    to_start: VecDeque<Waiting<S>>,
    jobs: Vec<StartedJob<J>>,
    /// The cost of the units that wait.
    waiting_us: u64,
    /// The promise made to a group with long jobs.
    promise: Option<Promise>,
    /// Whether one of its jobs will continue. The promise is kept until then.
    is_continued: bool,
    /// Whether more jobs may come. Until it is closed, the group and its cost are kept even without jobs.
    is_open: bool,
}

/// The deadline for the work of a group, and the work that is left.
#[derive(Clone, Copy)]
struct Promise {
    deadline_us: u64,
    left_us: u64,
}

struct StartedJob<J> {
    job: J,
    units: Vec<UnitKind>,
    n_taken: usize,
    /// The cost of the job's work, like that of a group.
    spent_us: u64,
}

impl<S, J> PlannedGroup<S, J> {
    /// Returns whether no worker has, or will have, work for the group at the moment.
    fn is_idle(&self) -> bool {
        self.n_running == 0 && self.jobs.is_empty() && self.to_start.is_empty()
    }

    fn spend(&mut self, us: u64) {
        self.spent_us += us;
        if let Some(promise) = &mut self.promise {
            promise.left_us = promise.left_us.saturating_sub(us);
        }
    }
}

/// Returns the item of the group whose turn it is. Of the groups with promises, this considers the one with the
/// earliest deadline; of the others, the one served least. The turn goes to the one of these two that is served less.
fn whose_turn<'g, S: 'g, J: 'g, T>(groups: impl Iterator<Item = (&'g PlannedGroup<S, J>, T)>) -> Option<T> {
    let (promised, others): (Vec<_>, Vec<_>) = groups.partition(|(group, _)| group.promise.is_some());
    let deadline_us = |group: &PlannedGroup<S, J>| group.promise.map(|promise| promise.deadline_us);
    let promised = promised.into_iter().min_by_key(|(group, _)| (deadline_us(group), group.spent_us));
    let other = others.into_iter().min_by_key(|(group, _)| (group.spent_us, group.n_started));
    let both = promised.into_iter().chain(other);
    both.min_by_key(|(group, _)| group.spent_us).map(|(_, item)| item)
}

impl<J> StartedJob<J> {
    fn next_unit(&self) -> Option<UnitKind> {
        self.units.get(self.n_taken).copied()
    }

    fn waiting_us(&self) -> u64 {
        self.units[self.n_taken..].iter().map(|unit| u64::from(unit.cost_us)).sum()
    }
}

impl<S, J: Clone> Plan<S, J> {
    /// Creates an empty plan.
    pub fn new(limits: PlanLimits) -> Self {
        Self {
            limits,
            groups: Vec::new(),
            waiting_us: 0,
            batches_planned: 0,
            small_had_turn: false,
            n_long_starting: 0,
        }
    }

    /// Keeps a group until [`Plan::close`], even while it has no job.
    pub fn open(&mut self, group: GroupId) {
        self.group(group).is_open = true;
    }

    /// Adds a job that is to be started.
    pub fn submit(&mut self, group: GroupId, job: S) {
        let busy = self.groups.iter().filter(|group| !group.is_idle()).map(|group| group.spent_us).min();
        let group = self.group(group);
        if group.is_idle() {
            // Turns that the group did not need are lost.
            group.spent_us = group.spent_us.max(busy.unwrap_or(0));
        }
        group.is_continued = false;
        group.to_start.push_back(Waiting { job, stage: Stage::New });
    }

    /// Puts back a job that turned out to be long. It is started in slices, once few enough other long jobs are being started.
    pub fn postpone(&mut self, group: GroupId, job: S, spent_us: u64) {
        self.put_back(group, Waiting { job, stage: Stage::Long }, spent_us);
    }

    /// Promises that a long job will be done by its deadline, if this and all earlier promises can be kept. The check
    /// assumes that all workers take the earliest deadline first. Times are microseconds of one clock, and the cost is
    /// in microseconds of one core.
    pub fn promise(&mut self, group: GroupId, now_us: u64, deadline_us: u64, cost_us: u64) -> bool {
        let own = self.groups.iter().find(|other| other.id == group).and_then(|group| group.promise);
        let all = Promise { deadline_us, left_us: own.map_or(0, |own| own.left_us) + cost_us };
        let others = self.groups.iter().filter(|other| other.id != group).filter_map(|other| other.promise);
        let mut promises: Vec<Promise> = others.chain([all]).collect();
        promises.sort_by_key(|promise| promise.deadline_us);
        let mut left_us = 0;
        let can_be_kept = promises.iter().all(|promise| {
            left_us += promise.left_us;
            // A promise that is already late cannot be broken by another promise.
            promise.deadline_us <= now_us && promise.deadline_us != deadline_us
                || left_us
                    <= (promise.deadline_us.saturating_sub(now_us))
                        * self.limits.n_workers as u64
                        * PROMISED_PERCENT
                        / 100
        });
        if can_be_kept {
            self.group(group).promise = Some(all);
        }
        can_be_kept
    }

    /// Puts a long job back after a slice.
    pub fn pause(&mut self, group: GroupId, job: S, spent_us: u64) {
        self.put_back(group, Waiting { job, stage: Stage::Paused }, spent_us);
    }

    fn put_back(&mut self, group: GroupId, waiting: Waiting<S>, spent_us: u64) {
        let group = self.group(group);
        group.n_running -= 1;
        group.spend(spent_us);
        group.to_start.push_front(waiting);
    }

    /// Records that a job has been started, in slices if it was long.
    pub fn started(&mut self, group: GroupId, was_long: bool, spent_us: u64) {
        self.n_long_starting -= usize::from(was_long);
        let group = self.group(group);
        group.n_running -= 1;
        group.spend(spent_us);
        self.drop_empty_groups();
    }

    /// Closes a group, to which no more jobs will come. Returns its jobs that wait to be started or to continue.
    pub fn close(&mut self, group: GroupId) -> Vec<S> {
        let Some(group) = self.groups.iter_mut().find(|other| other.id == group) else { return Vec::new() };
        group.is_open = false;
        let waiting = std::mem::take(&mut group.to_start);
        self.n_long_starting -= waiting.iter().filter(|waiting| waiting.stage == Stage::Paused).count();
        self.drop_empty_groups();
        waiting.into_iter().map(|waiting| waiting.job).collect()
    }

    /// Returns whether there is work besides the work that workers are doing.
    pub fn has_waiting(&self) -> bool {
        self.waiting_us > 0 || self.groups.iter().any(|group| !group.to_start.is_empty())
    }

    /// Returns whether nothing waits or is being started.
    pub fn is_empty(&self) -> bool {
        self.groups.iter().all(PlannedGroup::is_idle)
    }

    /// Records that a job will continue once its units are encoded.
    pub fn expect_more(&mut self, group: GroupId) {
        self.group(group).is_continued = true;
    }

    /// Adds the units of a started job.
    pub fn add_units(&mut self, group: GroupId, job: J, units: Vec<UnitKind>) {
        let added = StartedJob { job, units, n_taken: 0, spent_us: 0 };
        let waiting_us = added.waiting_us();
        let group = self.group(group);
        let spent_us = group.jobs.iter().map(|job| job.spent_us).min().unwrap_or(0);
        group.jobs.push(StartedJob { spent_us, ..added });
        group.waiting_us += waiting_us;
        self.waiting_us += waiting_us;
        // The number of batches is a multiple of the number of workers, so that all workers finish at the same time.
        let workers = self.limits.n_workers as u64;
        self.batches_planned = self.waiting_us.div_ceil(workers * self.max_batch_us()) * workers;
    }

    /// Takes the next task of a worker, or returns `None` if there is none. Jobs that are no longer wanted are dropped.
    ///
    /// 1. While there is less than a full batch for every worker, start a job, so that batches fill up. A slice of a long
    ///    job does not fill them soon, so slices take turns with the waiting units.
    /// 2. Otherwise, encode and start by turns (`has_encoded`: the worker's last task was to encode), so that no job waits
    ///    for its start behind the units of others. A group with enough waiting units starts no further job, which bounds
    ///    the memory that its features take.
    pub fn next(&mut self, has_encoded: bool, is_wanted: impl Fn(&J) -> bool) -> Option<WorkerTask<S, J>> {
        self.drop_unwanted(is_wanted);
        let has_full_batches = self.waiting_us >= self.full_batches_us();
        let may_slice = has_encoded || self.waiting_us == 0;
        if (has_encoded || !has_full_batches)
            && let Some((group, job)) = self.next_start(may_slice)
        {
            return Some(WorkerTask::Start(group, job));
        }
        (self.waiting_us > 0).then(|| WorkerTask::Encode(self.take_batch()))
    }

    /// Returns the group with an ID and creates it if necessary.
    fn group(&mut self, id: GroupId) -> &mut PlannedGroup<S, J> {
        let place = self.groups.iter().position(|group| group.id == id).unwrap_or_else(|| {
            self.groups.push(PlannedGroup {
                id,
                spent_us: 0,
                n_running: 0,
                n_started: 0,
                to_start: VecDeque::new(),
                jobs: Vec::new(),
                waiting_us: 0,
                promise: None,
                is_continued: false,
                is_open: false,
            });
            self.groups.len() - 1
        });
        &mut self.groups[place]
    }

    /// Returns the maximum cost of a batch, unless a single unit costs more.
    fn max_batch_us(&self) -> u64 {
        self.limits.max_batch as u64 * BATCH_UNIT_COST_US
    }

    fn full_batches_us(&self) -> u64 {
        self.limits.n_workers as u64 * self.max_batch_us()
    }

    fn drop_unwanted(&mut self, is_wanted: impl Fn(&J) -> bool) {
        for group in &mut self.groups {
            group.jobs.retain(|job| {
                let is_wanted = is_wanted(&job.job);
                if !is_wanted {
                    group.waiting_us -= job.waiting_us();
                    self.waiting_us -= job.waiting_us();
                }
                is_wanted
            });
        }
        self.drop_empty_groups();
    }

    fn drop_empty_groups(&mut self) {
        let is_idle = self.is_empty();
        for group in self.groups.iter_mut().filter(|group| group.is_idle()) {
            group.promise = group.promise.filter(|_| group.is_continued);
            if is_idle {
                // No group waited for this work.
                group.spent_us = 0;
            }
        }
        self.groups.retain(|group| group.is_open || !group.is_idle());
    }

    /// Returns the next job to start, of the group whose turn it is among those without enough waiting units. Half of
    /// the workers may start long jobs at the same time.
    fn next_start(&mut self, may_slice: bool) -> Option<(GroupId, S)> {
        let enough_us = self.full_batches_us();
        let takes_long = self.n_long_starting < self.limits.n_workers.div_ceil(2);
        let place_of_next = |group: &PlannedGroup<S, J>| {
            let has_enough = group.waiting_us >= enough_us;
            let is_next = |waiting: &Waiting<S>| match waiting.stage {
                Stage::New => !has_enough,
                Stage::Long => !has_enough && may_slice && takes_long,
                Stage::Paused => may_slice,
            };
            group.to_start.iter().position(is_next)
        };
        let startable = self.groups.iter().enumerate();
        let startable = startable.filter_map(|(i, group)| Some((group, (i, place_of_next(group)?))));
        let (group, place) = whose_turn(startable)?;
        let group = &mut self.groups[group];
        let Waiting { job, stage } = group.to_start.remove(place)?;
        group.n_started += usize::from(stage == Stage::New);
        group.n_running += 1;
        self.n_long_starting += usize::from(stage == Stage::Long);
        Some((group.id, job))
    }

    /// Takes the units for one call of the encoder.
    ///
    /// 1. Share the cost evenly among the planned batches. While jobs wait to be started, take full batches instead, since
    ///    the units of these jobs will fill further batches.
    /// 2. If there are small groups (a batch holds all their units) and others, every other batch is of small groups only,
    ///    so that they do not wait for the other groups' units in their batch.
    fn take_batch(&mut self) -> Vec<(J, usize)> {
        let max_us = self.max_batch_us();
        let has_more = self.groups.iter().any(|group| !group.to_start.is_empty());
        let even_us = self.waiting_us.div_ceil(self.batches_planned.max(1)).min(max_us);
        let even_us = if has_more { max_us } else { even_us };
        self.batches_planned = self.batches_planned.saturating_sub(1);
        let is_small = |group: &PlannedGroup<S, J>| group.to_start.is_empty() && group.waiting_us <= max_us;
        let has_units = |group: &&PlannedGroup<S, J>| group.waiting_us > 0;
        let n_groups = self.groups.iter().filter(has_units).count();
        let n_small = self.groups.iter().filter(has_units).filter(|group| is_small(group)).count();
        let has_both = (1..n_groups).contains(&n_small);
        self.small_had_turn = has_both && !self.small_had_turn;
        if !self.small_had_turn {
            return self.take_in_turn(even_us, |_| true);
        }
        let small: Vec<GroupId> =
            self.groups.iter().filter(|group| is_small(group)).map(|group| group.id).collect();
        self.take_in_turn(max_us, |group| small.contains(&group.id))
    }

    /// Takes units of the same model and length, one per turn, until they cost `enough_us`.
    fn take_in_turn(
        &mut self,
        enough_us: u64,
        is_eligible: impl Fn(&PlannedGroup<S, J>) -> bool,
    ) -> Vec<(J, usize)> {
        let max_us = self.max_batch_us();
        let mut batch = Vec::new();
        let (mut cost_us, mut kind): (u64, Option<UnitKind>) = (0, None);
        loop {
            let may_pair = batch.len() == 1 && cost_us <= PAIRED_UNIT_COST_US;
            if cost_us >= enough_us && !may_pair || batch.len() == self.limits.max_batch {
                break;
            }
            let fits = |unit: UnitKind| {
                kind.is_none_or(|kind| {
                    (kind.model, kind.n_frames) == (unit.model, unit.n_frames)
                        && (cost_us + u64::from(unit.cost_us) <= max_us || may_pair && cost_us > max_us)
                })
            };
            let Some((group, job)) = self.next_turn(&is_eligible, fits) else { break };
            let group = &mut self.groups[group];
            let started = &mut group.jobs[job];
            let unit = started.units[started.n_taken];
            batch.push((started.job.clone(), started.n_taken));
            let unit_us = u64::from(unit.cost_us);
            started.n_taken += 1;
            started.spent_us += unit_us;
            if started.next_unit().is_none() {
                group.jobs.remove(job);
            }
            group.spend(unit_us);
            group.waiting_us -= unit_us;
            self.waiting_us -= unit_us;
            cost_us += unit_us;
            kind = Some(unit);
        }
        self.drop_empty_groups();
        batch
    }

    /// Returns the places of the group and of the job whose turn it is, among those whose next unit fits.
    fn next_turn(
        &self,
        is_eligible: impl Fn(&PlannedGroup<S, J>) -> bool,
        fits: impl Fn(UnitKind) -> bool,
    ) -> Option<(usize, usize)> {
        let job_of = |group: &PlannedGroup<S, J>| {
            let jobs = group.jobs.iter().enumerate();
            let fitting = jobs.filter(|(_, job)| job.next_unit().is_some_and(&fits));
            fitting.min_by_key(|(_, job)| job.spent_us).map(|(place, _)| place)
        };
        let groups = self.groups.iter().enumerate().filter(|(_, group)| is_eligible(group));
        whose_turn(groups.filter_map(|(place, group)| Some((group, (place, job_of(group)?)))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: UnitKind = UnitKind { model: 0, n_frames: 160, cost_us: 2_200 };

    /// A piece of 20 seconds for a model that costs a hundred times as much.
    const PIECE: UnitKind = UnitKind { model: 1, n_frames: 2_000, cost_us: 220_000 };

    const SHORTER_PIECE: UnitKind = UnitKind { n_frames: 1_500, ..PIECE };

    type Name = &'static str;

    /// A job's name, and the kind and number of its units.
    type TestJob = (Name, UnitKind, usize);

    struct Simulation {
        plan: Plan<TestJob, Name>,
        has_encoded: bool,
        /// The time of one worker.
        now_us: u64,
        /// Names of the units in each batch.
        batches: Vec<Vec<Name>>,
        most_units_waiting: u64,
    }

    impl Simulation {
        fn new(n_workers: usize) -> Self {
            let plan = Plan::new(PlanLimits { n_workers, max_batch: 6 });
            Self { plan, has_encoded: false, now_us: 0, batches: Vec::new(), most_units_waiting: 0 }
        }

        fn submit(&mut self, group: u64, jobs: &[TestJob]) {
            jobs.iter().for_each(|job| self.plan.submit(GroupId(group), *job));
        }

        /// Does the next task, and returns whether there was one. Starting takes no time here.
        fn step(&mut self) -> bool {
            match self.plan.next(self.has_encoded, |_| true) {
                Some(WorkerTask::Start(group, (name, kind, n))) => {
                    self.has_encoded = false;
                    self.plan.add_units(group, name, vec![kind; n]);
                    self.plan.started(group, false, 0);
                }
                Some(WorkerTask::Encode(units)) => {
                    self.has_encoded = true;
                    let names: Vec<Name> = units.iter().map(|(name, _)| *name).collect();
                    let cost_us = if names[0].starts_with("piece") { PIECE.cost_us } else { WINDOW.cost_us };
                    self.now_us += u64::from(cost_us) * names.len() as u64;
                    self.batches.push(names);
                }
                None => return false,
            }
            let waiting_us = self.plan.waiting_us / u64::from(WINDOW.cost_us);
            self.most_units_waiting = self.most_units_waiting.max(waiting_us);
            true
        }

        /// Works until `n` units of a name are encoded, and returns the time that this takes.
        fn time_until_encoded(&mut self, name: Name, n: usize) -> u64 {
            let begun_us = self.now_us;
            let mut missing = n;
            while missing > 0 {
                let n_batches = self.batches.len();
                assert!(self.step(), "{name} is never encoded");
                if self.batches.len() > n_batches {
                    missing -= self.batches[n_batches].iter().filter(|found| **found == name).count();
                }
            }
            self.now_us - begun_us
        }
    }

    /// A 2-second clip (two windows) arrives while a large job is in progress. It is encoded after at most the batch
    /// that is being planned and the clip's own batch.
    #[test]
    fn a_clip_does_not_wait_for_what_is_large() {
        let window_us = u64::from(WINDOW.cost_us);
        let batch: Vec<TestJob> = vec![("batch", WINDOW, 2); 64];
        let cases: [(&str, &[TestJob], u64); 4] = [
            ("an hour", &[("hour", WINDOW, 4_675)], 8 * window_us),
            ("a batch of 64 clips", &batch, 8 * window_us),
            (
                "pieces of an expensive model",
                &[("piece", PIECE, 180)],
                u64::from(PIECE.cost_us) + 2 * window_us,
            ),
            ("nothing", &[], 2 * window_us),
        ];
        for (name, large, most_us) in cases {
            for steps_before in [0, 1, 2, 7, 20, 51] {
                let mut simulation = Simulation::new(1);
                simulation.submit(1, large);
                (0..steps_before).for_each(|_| {
                    simulation.step();
                });
                simulation.submit(2, &[("clip", WINDOW, 2)]);
                let time_us = simulation.time_until_encoded("clip", 2);
                assert!(time_us <= most_us, "{name}, {steps_before} steps: {time_us} us, at most {most_us}");
            }
        }
    }

    #[test]
    fn groups_share_the_encoder_by_cost_and_jobs_their_groups_part() {
        let mut simulation = Simulation::new(1);
        simulation.submit(1, &[("piece", PIECE, 10)]);
        simulation.submit(2, &[("windows", WINDOW, 2_000)]);
        let until_us = simulation.time_until_encoded("piece", 5);
        let windows = simulation.batches.iter().flatten().filter(|name| **name == "windows").count() as u64;
        let share = windows * u64::from(WINDOW.cost_us) * 100 / until_us;
        assert!((35..=55).contains(&share), "windows had {share} % of the time");

        let mut simulation = Simulation::new(1);
        simulation.plan.add_units(GroupId(1), "long", vec![WINDOW; 100]);
        simulation.plan.add_units(GroupId(1), "short", vec![WINDOW; 20]);
        simulation.time_until_encoded("short", 20);
        let long = simulation.batches.iter().flatten().filter(|name| **name == "long").count();
        assert!((18..=22).contains(&long), "{long} windows of the long job came before the short one's end");
    }

    #[test]
    fn a_batch_is_of_one_model_and_length_and_shared_evenly_by_workers() {
        let mut simulation = Simulation::new(2);
        simulation.submit(1, &[("seven", WINDOW, 7)]);
        while simulation.step() {}
        let sizes: Vec<usize> = simulation.batches.iter().map(Vec::len).collect();
        assert_eq!(sizes, [4, 3]);

        let mut plan = Plan::<(), Name>::new(PlanLimits { n_workers: 1, max_batch: 6 });
        plan.add_units(GroupId(1), "windows", vec![WINDOW; 2]);
        plan.add_units(GroupId(2), "pieces", vec![PIECE, SHORTER_PIECE]);
        let mut batches = Vec::new();
        while let Some(WorkerTask::Encode(batch)) = plan.next(true, |_| true) {
            batches.push(batch);
        }
        batches.sort_unstable();
        let expected = [vec![("pieces", 0)], vec![("pieces", 1)], vec![("windows", 0), ("windows", 1)]];
        assert_eq!(batches, expected);
    }

    /// A group's recordings take memory for their features from their start to their encoding.
    #[test]
    fn a_group_starts_no_more_recordings_than_batches_need() {
        let mut simulation = Simulation::new(2);
        simulation.submit(1, &vec![("ten minutes", WINDOW, 400); 64]);
        while simulation.step() {}
        assert!(simulation.most_units_waiting <= 800, "{} units waited", simulation.most_units_waiting);
        assert_eq!(simulation.batches.iter().flatten().count(), 64 * 400);
    }

    #[test]
    fn nothing_more_is_taken_of_a_job_that_is_not_wanted() {
        let mut plan = Plan::<(), Name>::new(PlanLimits { n_workers: 1, max_batch: 6 });
        plan.add_units(GroupId(1), "unwanted", vec![WINDOW; 400]);
        plan.add_units(GroupId(1), "wanted", vec![WINDOW]);
        assert_eq!(plan.next(true, |job| *job != "unwanted"), Some(WorkerTask::Encode(vec![("wanted", 0)])));
        assert_eq!(plan.next(true, |_| true), None);
    }

    /// Returns a plan with long jobs that are known to be long.
    fn plan_with_long(n_workers: usize, long: &[Name]) -> Plan<Name, Name> {
        let mut plan: Plan<Name, Name> = Plan::new(PlanLimits { n_workers, max_batch: 6 });
        for (group, name) in (0..).map(GroupId).zip(long) {
            plan.submit(group, name);
        }
        for _ in long {
            let Some(WorkerTask::Start(group, name)) = plan.next(false, |_| true) else {
                panic!("nothing to start")
            };
            plan.postpone(group, name, 0);
        }
        plan
    }

    /// Half of the workers start long jobs at the same time. Short jobs are started meanwhile.
    #[test]
    fn long_jobs_are_not_all_started_at_once() {
        let mut plan = plan_with_long(2, &["first", "second", "third"]);
        plan.submit(GroupId(2), "clip");
        let mut next = || plan.next(false, |_| true);
        assert_eq!(next(), Some(WorkerTask::Start(GroupId(0), "first")));
        assert_eq!(next(), Some(WorkerTask::Start(GroupId(2), "clip")));
        assert_eq!(next(), None);
        assert!(!plan.is_empty());
        plan.started(GroupId(0), true, 0);
        assert_eq!(plan.next(false, |_| true), Some(WorkerTask::Start(GroupId(1), "second")));
    }

    #[test]
    fn a_clip_waits_for_one_slice_of_a_long_job() {
        let mut plan = plan_with_long(1, &["long"]);
        let mut has_encoded = false;
        for round in 0..100 {
            let Some(WorkerTask::Start(group, "long")) = plan.next(has_encoded, |_| true) else {
                panic!("round {round}")
            };
            has_encoded = false;
            plan.pause(group, "long", 3_000);
            if round == 50 {
                plan.submit(GroupId(9), "clip");
                assert_eq!(plan.next(false, |_| true), Some(WorkerTask::Start(GroupId(9), "clip")));
                plan.add_units(GroupId(9), "clip", vec![WINDOW; 2]);
                plan.started(GroupId(9), false, 1_000);
                // The clip's units do not wait until the rest of the long job fills a batch.
                let clip = vec![("clip", 0), ("clip", 1)];
                assert_eq!(plan.next(false, |_| true), Some(WorkerTask::Encode(clip)));
                has_encoded = true;
            }
        }
    }

    #[test]
    fn what_starting_costs_counts_for_its_group() {
        let mut plan = plan_with_long(2, &["first", "second"]);
        let mut slices = Vec::new();
        let Some(WorkerTask::Start(group, first)) = plan.next(false, |_| true) else {
            panic!("nothing to start")
        };
        plan.pause(group, first, 10_000);
        plan.submit(GroupId(5), "clip");
        plan.submit(GroupId(5), "clip");
        for _ in 0..3 {
            let Some(WorkerTask::Start(group, name)) = plan.next(false, |_| true) else {
                panic!("nothing to start")
            };
            slices.push(name);
            match name {
                "clip" => plan.started(group, false, 2_000),
                _ => plan.pause(group, name, 10_000),
            }
        }
        assert_eq!(slices, ["clip", "clip", "first"]);
    }

    #[test]
    fn long_jobs_are_promised_what_can_be_kept() {
        const S: u64 = 1_000_000;
        let mut plan = plan_with_long(2, &["a", "b", "c", "d", "e"]);
        let mut promise =
            |group: u64, deadline: u64, cost: u64| plan.promise(GroupId(group), 0, deadline * S, cost * S);
        // 80 % of two workers' time can be promised: 48 s of work until second 30.
        assert!(promise(0, 30, 20));
        assert!(promise(1, 30, 20));
        assert!(!promise(2, 30, 20), "it would be late");
        assert!(promise(2, 30, 8));
        assert!(promise(3, 3_600, 300), "it has an hour");
        assert!(!promise(4, 10, 20), "it would be late itself");
        assert!(!promise(4, 20, 10), "others would be late");
    }

    #[test]
    fn promises_are_kept_by_their_deadlines() {
        let mut plan = plan_with_long(1, &["late", "early"]);
        assert!(plan.promise(GroupId(0), 0, 50_000_000, 1_000_000));
        assert!(plan.promise(GroupId(1), 0, 20_000_000, 1_000_000));
        for (expected, spent_us) in [("early", 5_000), ("early", 5_000)] {
            let Some(WorkerTask::Start(group, name)) = plan.next(false, |_| true) else {
                panic!("nothing to start")
            };
            assert_eq!(name, expected);
            plan.pause(group, name, spent_us);
        }
        plan.add_units(GroupId(0), "late", vec![WINDOW; 40]);
        plan.add_units(GroupId(1), "early", vec![WINDOW; 40]);
        let Some(WorkerTask::Encode(batch)) = plan.next(false, |_| true) else { panic!("nothing to encode") };
        assert!(batch.iter().all(|(name, _)| *name == "early"), "{batch:?}");
    }

    #[test]
    fn an_open_group_is_charged_for_its_earlier_jobs() {
        let mut plan = plan_with_long(1, &[]);
        plan.open(GroupId(0));
        plan.submit(GroupId(0), "first step");
        plan.submit(GroupId(1), "other");
        assert_eq!(plan.next(false, |_| true), Some(WorkerTask::Start(GroupId(0), "first step")));
        plan.started(GroupId(0), false, 5_000);
        plan.submit(GroupId(0), "second step");
        plan.submit(GroupId(2), "new");
        for expected in [(1, "other"), (2, "new"), (0, "second step")] {
            let Some(WorkerTask::Start(group, job)) = plan.next(false, |_| true) else {
                panic!("nothing to start")
            };
            assert_eq!((group.0, job), expected);
            plan.started(group, false, 1_000);
        }
        plan.close(GroupId(0));
        assert!(plan.groups.is_empty());
    }

    #[test]
    fn cancelled_jobs_are_taken_out_at_once() {
        let mut plan = plan_with_long(2, &["first", "second"]);
        plan.submit(GroupId(0), "another");
        let Some(WorkerTask::Start(group, first)) = plan.next(false, |_| true) else {
            panic!("nothing to start")
        };
        plan.pause(group, first, 1_000);
        assert_eq!(plan.close(GroupId(0)), ["first", "another"]);
        assert_eq!(plan.close(GroupId(7)), Vec::<Name>::new());
        // The job's place among the long jobs is free again.
        assert_eq!(plan.next(false, |_| true), Some(WorkerTask::Start(GroupId(1), "second")));
        plan.started(GroupId(1), true, 0);
        assert!(plan.is_empty() && !plan.has_waiting());
    }
}
