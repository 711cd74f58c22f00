//! Which work comes next: pure, without threads and locks.
//!
//! Work comes in groups (the recordings of one request), a group's in jobs (a recording), a job's in units. A job is first
//! started (decoded and analysed, whole); its units then wait for the encoder. Turns go to the group that has cost least so
//! far, in it to the job that has, and take one unit each: neither an hour of audio nor a batch of 64 recordings makes a
//! 2-second clip wait for more than the batches in work.

use std::collections::VecDeque;

/// What encoding the unit of a batch's size costs, in microseconds: a window of Resemblyzer's. A batch costs at most as
/// much as its most units of this kind.
const BATCH_UNIT_COST_US: u64 = 2_200;

/// Identifies a group of jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupId(pub u64);

/// What a unit takes to encode. Only units of equal model and length share a call of the encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnitKind {
    /// Place of the model in the engine.
    pub model: usize,
    /// Length of the unit.
    pub n_frames: usize,
    /// What encoding it takes on one core, in microseconds.
    pub cost_us: u32,
}

/// How much is taken at once.
#[derive(Clone, Copy, Debug)]
pub struct PlanLimits {
    /// Threads that take work.
    pub n_workers: usize,
    /// Units in one call of the encoder.
    pub max_batch: usize,
}

/// What a worker is to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Task<S, J> {
    /// Start a job of this group.
    Start(GroupId, S),
    /// Encode these units: each a job and the unit's place in it.
    Encode(Vec<(J, usize)>),
}

/// The work that waits: jobs of type `S` to be started, started jobs of type `J` with units to be encoded.
pub struct Plan<S, J> {
    limits: PlanLimits,
    /// In the order of their arrival.
    groups: Vec<Group<S, J>>,
    /// Cost of all units that wait.
    waiting_us: u64,
    /// Batches that the waiting units are to be taken in, planned anew whenever units come.
    batches_planned: u64,
    /// The last batch was of small groups alone.
    small_had_turn: bool,
    /// Large jobs that are being started.
    n_large_starting: usize,
}

/// A job that is to be started.
struct Waiting<S> {
    job: S,
    is_large: bool,
}

struct Group<S, J> {
    id: GroupId,
    /// Cost of the units taken so far, counted from that of the group served least when this one came.
    spent_us: u64,
    /// Jobs started so far.
    n_started: usize,
    to_start: VecDeque<Waiting<S>>,
    jobs: Vec<StartedJob<J>>,
    /// Cost of the units that wait.
    waiting_us: u64,
}

struct StartedJob<J> {
    job: J,
    units: Vec<UnitKind>,
    n_taken: usize,
    /// As a group's.
    spent_us: u64,
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
    /// An empty plan.
    pub fn new(limits: PlanLimits) -> Self {
        Self {
            limits,
            groups: Vec::new(),
            waiting_us: 0,
            batches_planned: 0,
            small_had_turn: false,
            n_large_starting: 0,
        }
    }

    /// Adds a job that is to be started. While it is, a large one takes much memory.
    pub fn submit(&mut self, group: GroupId, job: S, is_large: bool) {
        self.group(group).to_start.push_back(Waiting { job, is_large });
    }

    /// Whether nothing waits, not even what may not be started yet.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Notes that a large job has been started.
    pub fn large_started(&mut self) {
        self.n_large_starting -= 1;
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
        // As many batches as there are workers, or a multiple: all workers are done at the same time.
        let workers = self.limits.n_workers as u64;
        self.batches_planned = self.waiting_us.div_ceil(workers * self.max_batch_us()) * workers;
    }

    /// Takes the next task of a worker; `None` if there is none. Jobs that are no longer wanted are dropped.
    ///
    /// 1. Start a job while there is less than a full batch for every worker, so that batches fill up.
    /// 2. Else encode and start by turns (`has_encoded`: the worker's last task was to encode), so that no job waits to be started behind the
    ///    units of others; but a group that has enough units waiting starts no further job, which bounds the memory that its
    ///    features take.
    pub fn next(&mut self, has_encoded: bool, is_wanted: impl Fn(&J) -> bool) -> Option<Task<S, J>> {
        self.drop_unwanted(is_wanted);
        let has_full_batches = self.waiting_us >= self.full_batches_us();
        if (has_encoded || !has_full_batches)
            && let Some((group, job)) = self.next_start()
        {
            return Some(Task::Start(group, job));
        }
        (self.waiting_us > 0).then(|| Task::Encode(self.take_batch()))
    }

    /// The group of an id; a new one begins where the one served least is.
    fn group(&mut self, id: GroupId) -> &mut Group<S, J> {
        let place = self.groups.iter().position(|group| group.id == id).unwrap_or_else(|| {
            let spent_us = self.groups.iter().map(|group| group.spent_us).min().unwrap_or(0);
            self.groups.push(Group {
                id,
                spent_us,
                n_started: 0,
                to_start: VecDeque::new(),
                jobs: Vec::new(),
                waiting_us: 0,
            });
            self.groups.len() - 1
        });
        &mut self.groups[place]
    }

    /// The most that a batch may cost, unless a single unit costs more.
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
        self.groups.retain(|group| !group.jobs.is_empty() || !group.to_start.is_empty());
    }

    /// The next job to start, of the group that is served least and has not enough units waiting. Half of the workers may start large ones
    /// at once.
    fn next_start(&mut self) -> Option<(GroupId, S)> {
        let enough_us = self.full_batches_us();
        let takes_large = self.n_large_starting < self.limits.n_workers.div_ceil(2);
        let place_of_next = |group: &Group<S, J>| {
            let has_enough = group.waiting_us >= enough_us;
            let place = || group.to_start.iter().position(|next| takes_large || !next.is_large);
            if has_enough { None } else { place() }
        };
        let startable = self.groups.iter_mut().filter_map(|group| Some((place_of_next(group)?, group)));
        let (place, group) = startable.min_by_key(|(_, group)| (group.spent_us, group.n_started))?;
        group.n_started += 1;
        let Waiting { job, is_large } = group.to_start.remove(place)?;
        self.n_large_starting += usize::from(is_large);
        let next = (group.id, job);
        self.drop_empty_groups();
        Some(next)
    }

    /// Takes the units of one call of the encoder.
    ///
    /// 1. Share the cost evenly among the batches that are planned; but while jobs wait to be started, whose units will fill further
    ///    batches, take full ones.
    /// 2. Where there are small groups (a batch holds all that they have) and others, every other batch is of small ones
    ///    alone, so that they do not wait for units of the others in their batch.
    fn take_batch(&mut self) -> Vec<(J, usize)> {
        let max_us = self.max_batch_us();
        let has_more = self.groups.iter().any(|group| !group.to_start.is_empty());
        let even_us = self.waiting_us.div_ceil(self.batches_planned.max(1)).min(max_us);
        let even_us = if has_more { max_us } else { even_us };
        self.batches_planned = self.batches_planned.saturating_sub(1);
        let is_small = |group: &Group<S, J>| group.to_start.is_empty() && group.waiting_us <= max_us;
        let has_units = |group: &&Group<S, J>| group.waiting_us > 0;
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

    /// Takes units of equal model and length, one a turn, until they cost `enough_us`.
    fn take_in_turn(
        &mut self,
        enough_us: u64,
        is_eligible: impl Fn(&Group<S, J>) -> bool,
    ) -> Vec<(J, usize)> {
        let max_us = self.max_batch_us();
        let mut batch = Vec::new();
        let (mut cost_us, mut kind): (u64, Option<UnitKind>) = (0, None);
        while cost_us < enough_us && batch.len() < self.limits.max_batch {
            let fits = |unit: UnitKind| {
                kind.is_none_or(|kind| {
                    (kind.model, kind.n_frames) == (unit.model, unit.n_frames)
                        && cost_us + u64::from(unit.cost_us) <= max_us
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
            group.spent_us += unit_us;
            group.waiting_us -= unit_us;
            self.waiting_us -= unit_us;
            cost_us += unit_us;
            kind = Some(unit);
        }
        self.drop_empty_groups();
        batch
    }

    /// The places of the group and of its job whose turn it is, among those whose next unit fits.
    fn next_turn(
        &self,
        is_eligible: impl Fn(&Group<S, J>) -> bool,
        fits: impl Fn(UnitKind) -> bool,
    ) -> Option<(usize, usize)> {
        let job_of = |group: &Group<S, J>| {
            let jobs = group.jobs.iter().enumerate();
            let fitting = jobs.filter(|(_, job)| job.next_unit().is_some_and(&fits));
            fitting.min_by_key(|(_, job)| job.spent_us).map(|(place, _)| place)
        };
        let groups = self.groups.iter().enumerate().filter(|(_, group)| is_eligible(group));
        let with_job = groups.filter_map(|(place, group)| Some((place, group, job_of(group)?)));
        with_job.min_by_key(|(_, group, _)| group.spent_us).map(|(place, _, job)| (place, job))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: UnitKind = UnitKind { model: 0, n_frames: 160, cost_us: 2_200 };

    /// A piece of 20 seconds of a model that costs a hundred times as much.
    const PIECE: UnitKind = UnitKind { model: 1, n_frames: 2_000, cost_us: 220_000 };

    const SHORTER_PIECE: UnitKind = UnitKind { n_frames: 1_500, ..PIECE };

    type Name = &'static str;

    /// A job that becomes so many units.
    type TestJob = (Name, UnitKind, usize);

    struct Simulation {
        plan: Plan<TestJob, Name>,
        has_encoded: bool,
        /// Time of one worker.
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
            jobs.iter().for_each(|job| self.plan.submit(GroupId(group), *job, false));
        }

        /// Does the next task; starting takes no time here. Whether there was one.
        fn step(&mut self) -> bool {
            match self.plan.next(self.has_encoded, |_| true) {
                Some(Task::Start(group, (name, kind, n))) => {
                    self.has_encoded = false;
                    self.plan.add_units(group, name, vec![kind; n]);
                }
                Some(Task::Encode(units)) => {
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

        /// Works until the units of a name are encoded; the time from now to then.
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

    /// A 2-second clip (two windows) comes while something large is in work. It is encoded after at most the batch that is
    /// being planned and one of its own.
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
        while let Some(Task::Encode(batch)) = plan.next(true, |_| true) {
            batches.push(batch);
        }
        batches.sort_unstable();
        let expected = [vec![("pieces", 0)], vec![("pieces", 1)], vec![("windows", 0), ("windows", 1)]];
        assert_eq!(batches, expected);
    }

    /// The features of a group's recordings take memory from their start to their encoding.
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
        assert_eq!(plan.next(true, |job| *job != "unwanted"), Some(Task::Encode(vec![("wanted", 0)])));
        assert_eq!(plan.next(true, |_| true), None);
    }

    /// Of large jobs half of the workers start one at once; small ones are started meanwhile.
    #[test]
    fn large_jobs_are_not_all_started_at_once() {
        let mut plan: Plan<Name, Name> = Plan::new(PlanLimits { n_workers: 2, max_batch: 6 });
        for (group, name) in ["first", "second", "third"].into_iter().enumerate() {
            plan.submit(GroupId(group as u64), name, true);
        }
        plan.submit(GroupId(2), "small", false);
        let mut next = || plan.next(false, |_| true);
        assert_eq!(next(), Some(Task::Start(GroupId(0), "first")));
        assert_eq!(next(), Some(Task::Start(GroupId(2), "small")));
        assert_eq!(next(), None);
        assert!(!plan.is_empty());
        plan.large_started();
        assert_eq!(plan.next(false, |_| true), Some(Task::Start(GroupId(1), "second")));
    }
}
