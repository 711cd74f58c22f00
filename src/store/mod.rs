//! Enrolled speakers, kept: a database, and an index of their profiles in memory that is exact as of the database's revision.
//!
//! Whoever writes hands over a change and a callback. A thread of the store commits it, brings the index up to date, and only then
//! calls back, whether anybody waits or not. Reading takes the caller's thread.

mod error;
mod place;
mod sqlite;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;

use crate::embedding::{ModelId, UnitEmbedding};
use crate::speakers::{Address, Enrolment, Found, Index, Speaker, Wanted};

pub use error::{OpenError, StoreError};
pub use place::{StoreConfig, StorePlace};
pub use sqlite::{
    CollectionSummary, Created, Enrolled, NewSpeaker, PageRequest, SpeakerPage, SpeakerVoice, Transaction,
};

use sqlite::{Database, Job, Task, Writer};

/// The store of speakers.
pub struct Store {
    database: Arc<Database>,
    index: Arc<RwLock<Index>>,
    models: Vec<ModelId>,
    is_available: Arc<AtomicBool>,
    jobs: Mutex<Option<Sender<Box<dyn Job>>>>,
    writer: Mutex<Option<JoinHandle<bool>>>,
    /// Whether another process has changed something since the writer's last look.
    others_wrote: Arc<AtomicBool>,
}

impl Store {
    /// Opens the database, if it is there, and loads the profiles of the given models. It is created at the first write.
    pub fn open(place: &StorePlace, max_speakers: usize, models: Vec<ModelId>) -> Result<Self, OpenError> {
        let database = Arc::new(Database::open(place)?);
        let index = Arc::new(RwLock::new(Index::default()));
        let is_available = Arc::new(AtomicBool::new(true));
        let others_wrote = Arc::new(AtomicBool::new(false));
        let writer = Writer {
            database: Arc::clone(&database),
            index: Arc::clone(&index),
            models: models.clone(),
            max_speakers,
            others_wrote: Arc::clone(&others_wrote),
            is_available: Arc::clone(&is_available),
        };
        let (jobs, waiting) = channel();
        let store = Self {
            database,
            index,
            models,
            is_available,
            jobs: Mutex::new(Some(jobs)),
            writer: Mutex::default(),
            others_wrote,
        };
        store.database.migrate()?;
        // Both read the whole file.
        let (checked, loaded) = std::thread::scope(|scope| {
            let check = scope.spawn(|| store.database.check());
            let loaded = store.follow();
            (check.join(), loaded)
        });
        let path = || if let StorePlace::File(path) = place { path.clone() } else { ":memory:".into() };
        checked.unwrap_or_else(|_| {
            Err(OpenError::System { path: path(), reason: "the check has panicked".into() })
        })?;
        loaded.map_err(|error| match error {
            StoreError::Unavailable { reason } => OpenError::Damaged { path: path(), reason },
            error => OpenError::System { path: path(), reason: error.to_string() },
        })?;
        let thread = std::thread::spawn(move || writer.run(&waiting));
        *store.writer.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(store)
    }

    /// Makes a change. `done` is called on the store's thread once it is committed and the index shows it, or has failed.
    pub fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
        done: impl FnOnce(Result<T, StoreError>) + Send + 'static,
    ) {
        let job: Box<dyn Job> = Box::new(Task::new(work, done));
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let unsent = match &*jobs {
            Some(jobs) => jobs.send(job).err().map(|unsent| unsent.0),
            None => Some(job),
        };
        if let Some(job) = unsent {
            job.finish(Err(StoreError::Unavailable { reason: "the store is closed".into() }));
        }
    }

    /// As [`Store::write`], and waits.
    pub fn write_and_wait<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (sender, answer) = channel();
        // The receiver is there until it has the answer.
        self.write(work, move |outcome| drop(sender.send(outcome)));
        answer.recv().unwrap_or_else(|_| Err(StoreError::Internal("the change panicked".into())))
    }

    /// A speaker.
    pub fn speaker(&self, address: &Address) -> Result<Speaker, StoreError> {
        let found = self.read(|connection| sqlite::speaker(connection, address))?;
        found.ok_or_else(|| StoreError::no_speaker(address))
    }

    /// A page of a collection.
    pub fn speakers(&self, wanted: &PageRequest) -> Result<SpeakerPage, StoreError> {
        Ok(self.read(|connection| sqlite::speakers(connection, wanted))?.unwrap_or_default())
    }

    /// A speaker's enrolments.
    pub fn enrolments(&self, address: &Address) -> Result<Vec<Enrolment>, StoreError> {
        let found = self.read(|connection| sqlite::enrolments(connection, address))?;
        found.ok_or_else(|| StoreError::no_speaker(address))
    }

    /// One of a speaker's enrolments.
    pub fn enrolment(&self, address: &Address, id: &str) -> Result<Enrolment, StoreError> {
        let found = self.read(|connection| sqlite::enrolment(connection, address, id))?;
        found.ok_or_else(|| StoreError::no_speaker(address))
    }

    /// All collections.
    pub fn collections(&self) -> Result<Vec<CollectionSummary>, StoreError> {
        Ok(self.read(sqlite::collections)?.unwrap_or_default())
    }

    /// The number of enrolments that are not searched, since their models are not loaded, by model.
    pub fn unsearched(&self) -> Result<Vec<(String, usize)>, StoreError> {
        let mut counts = self.read(sqlite::enrolments_by_model)?.unwrap_or_default();
        counts.retain(|(model, _)| self.models.iter().all(|loaded| loaded.fingerprint() != model));
        Ok(counts)
    }

    /// A speaker's voice, as a model knows it.
    pub fn voice(&self, address: &Address, model: &ModelId) -> Result<SpeakerVoice, StoreError> {
        let found = self.read(|connection| sqlite::voice(connection, address, model))?;
        found.ok_or_else(|| StoreError::no_speaker(address))
    }

    /// The speakers of a collection most like each voice, as of all that is committed. It takes time that grows with the
    /// collection.
    pub fn search(&self, probes: &[UnitEmbedding], wanted: &Wanted) -> Result<Vec<Found>, StoreError> {
        self.follow()?;
        // Whoever writes waits for one of them at the most.
        let index = || self.index.read().unwrap_or_else(PoisonError::into_inner);
        Ok(probes.iter().map(|probe| index().search(probe, wanted)).collect())
    }

    /// The number of speakers, as far as the index knows.
    pub fn speaker_count(&self) -> usize {
        self.index.read().unwrap_or_else(PoisonError::into_inner).speakers()
    }

    /// Whether the last write succeeded, and reading has not failed since.
    pub fn is_available(&self) -> bool {
        self.is_available.load(Ordering::Relaxed)
    }

    /// Commits what waits, and ends the thread that writes; later writes fail. Whether all that was removed is erased.
    pub fn close(&self) -> bool {
        *self.jobs.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        // If it panicked, that is logged.
        writer.is_none_or(|writer| writer.join().unwrap_or(false))
    }

    /// Reads as of one moment; a failure makes the store unavailable until a write succeeds.
    fn read<T>(
        &self,
        work: impl FnOnce(&sqlite::Connection) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let outcome = self.database.read(work);
        if let Err(StoreError::Unavailable { reason }) = &outcome
            && self.is_available.swap(false, Ordering::Relaxed)
        {
            tracing::error!(reason, "the store of speakers is unavailable");
        }
        outcome
    }

    /// Brings the index up to what others have written.
    fn follow(&self) -> Result<(), StoreError> {
        let changed = self.read(|connection| sqlite::follow(connection, &self.index, &self.models))?;
        if changed == Some(true) {
            self.others_wrote.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.close();
    }
}
