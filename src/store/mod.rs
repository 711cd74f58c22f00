//! Enrolled speakers, kept: a database, and an index of their profiles in memory that is exact as of the database's revision.
//!
//! Whoever writes hands over a change and a callback. A thread of the store commits it, brings the index up to date, and only then
//! calls back, whether anybody waits or not. Reading takes the caller's thread.

mod database;
mod error;
mod follow;
mod job;
mod place;
mod postgres;
mod reads;
mod sql;
mod sqlite;
mod statements;
mod transfer;
mod writer;
mod writes;

use std::fs::File;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::embedding::{ModelId, UnitEmbedding};
use crate::speakers::{Address, Enrolment, Found, Identifier, Speaker, Wanted};

pub use error::{OpenError, StoreError};
pub(crate) use place::folder_of;
pub use place::{StoreConfig, StorePlace};
pub use postgres::{Server, ServerError};
pub use reads::{CollectionSummary, PageRequest, SpeakerPage, SpeakerVoice};
pub use transfer::{CheckedImport, Conflict, ExportError, ImportError, ImportRules, Imported};
pub use writes::{Created, Enrolled, NewSpeaker, Transaction};

use database::Database;
use follow::FollowingIndex;
use job::{Job, Task};
use sql::Sql;
use writer::Writer;

/// Changes that may wait for the thread that writes. Each may hold some voices, so they are bounded while the database hangs.
const MAX_WAITING_CHANGES: usize = 1_024;

/// The store of speakers.
pub struct Store {
    database: Arc<dyn Database>,
    index: Arc<FollowingIndex>,
    max_speakers: usize,
    is_available: Arc<AtomicBool>,
    jobs: Mutex<Option<SyncSender<Box<dyn Job>>>>,
    writer: Mutex<Option<JoinHandle<bool>>>,
    /// Whether another process has changed something since the writer's last look.
    others_wrote: Arc<AtomicBool>,
}

impl Store {
    /// Opens the database, if it is there, and loads the profiles of the given models. A file is created at the first write. A server
    /// that does not answer is no error: the store is unavailable until it does.
    pub fn open(place: &StorePlace, max_speakers: usize, models: Vec<ModelId>) -> Result<Self, OpenError> {
        let database: Arc<dyn Database> = match place {
            StorePlace::File(path) => Arc::new(sqlite::Database::open(path)?),
            StorePlace::Memory => Arc::new(sqlite::Database::in_memory()?),
            StorePlace::Server(server) => Arc::new(postgres::Database::new(server.clone())),
        };
        let index = Arc::new(FollowingIndex::new(models));
        let is_available = Arc::new(AtomicBool::new(true));
        let others_wrote = Arc::new(AtomicBool::new(false));
        let writer = Writer {
            database: Arc::clone(&database),
            index: Arc::clone(&index),
            max_speakers,
            others_wrote: Arc::clone(&others_wrote),
            is_available: Arc::clone(&is_available),
        };
        let (jobs, waiting) = sync_channel(MAX_WAITING_CHANGES);
        let store = Self {
            database,
            index,
            max_speakers,
            is_available,
            jobs: Mutex::new(Some(jobs)),
            writer: Mutex::default(),
            others_wrote,
        };
        let could_be_asked = store.database.migrate()?;
        store.is_available.store(could_be_asked, Ordering::Relaxed);
        // Both read the whole file.
        let (checked, loaded) = std::thread::scope(|scope| {
            let check = scope.spawn(|| store.database.check());
            let loaded = store.index.follow(store.database.as_ref());
            (check.join(), loaded)
        });
        checked.unwrap_or_else(|_| {
            Err(store.database.open_error(StoreError::Internal("the check has panicked".into())))
        })?;
        match loaded {
            Err(StoreError::Unavailable { reason }) if matches!(place, StorePlace::Server(_)) => {
                tracing::error!(reason, "the store of speakers is unavailable");
            }
            loaded => drop(loaded.map_err(|error| store.database.open_error(error))?),
        }
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
            Some(jobs) => jobs.try_send(job).err().map(|unsent| match unsent {
                TrySendError::Full(job) => (job, "too many changes wait to be written"),
                TrySendError::Disconnected(job) => (job, "the store is closed"),
            }),
            None => Some((job, "the store is closed")),
        };
        drop(jobs);
        if let Some((job, reason)) = unsent {
            job.finish(Err(StoreError::Unavailable { reason: reason.into() }));
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
        let found = self.read(|sql| reads::speaker(sql, address))?;
        found.ok_or_else(|| StoreError::no_speaker(address))
    }

    /// A page of a collection.
    pub fn speakers(&self, wanted: &PageRequest) -> Result<SpeakerPage, StoreError> {
        Ok(self.read(|sql| reads::speakers(sql, wanted))?.unwrap_or_default())
    }

    /// A speaker's enrolments.
    pub fn enrolments(&self, address: &Address) -> Result<Vec<Enrolment>, StoreError> {
        let found = self.read(|sql| reads::enrolments(sql, address))?;
        found.ok_or_else(|| StoreError::no_speaker(address))
    }

    /// One of a speaker's enrolments.
    pub fn enrolment(&self, address: &Address, id: &str) -> Result<Enrolment, StoreError> {
        let found = self.read(|sql| reads::enrolment(sql, address, id))?;
        found.ok_or_else(|| StoreError::no_speaker(address))
    }

    /// All collections.
    pub fn collections(&self) -> Result<Vec<CollectionSummary>, StoreError> {
        Ok(self.read(reads::collections)?.unwrap_or_default())
    }

    /// The number of enrolments that are not searched, since their models are not loaded, by model.
    pub fn unsearched(&self) -> Result<Vec<(String, usize)>, StoreError> {
        let mut counts = self.read(reads::enrolments_by_model)?.unwrap_or_default();
        counts.retain(|(model, _)| self.index.models().iter().all(|loaded| loaded.fingerprint() != model));
        Ok(counts)
    }

    /// A speaker's voice, as a model knows it.
    pub fn voice(&self, address: &Address, model: &ModelId) -> Result<SpeakerVoice, StoreError> {
        let found = self.read(|sql| reads::voice(sql, address, model))?;
        found.ok_or_else(|| StoreError::no_speaker(address))
    }

    /// The speakers of a collection most like each voice, as of all that is committed.
    pub fn search(&self, probes: &[UnitEmbedding], wanted: &Wanted) -> Result<Vec<Found>, StoreError> {
        self.follow()?;
        Ok(self.search_known(probes, wanted))
    }

    /// As [`Store::search`], as of all that [`Store::follow`] has found. It takes time that grows with the collection, and waits for
    /// no database.
    pub fn search_known(&self, probes: &[UnitEmbedding], wanted: &Wanted) -> Vec<Found> {
        // Whoever follows waits for one of them at the most.
        probes.iter().map(|probe| self.index.get().search(probe, wanted)).collect()
    }

    /// The model of all profiles of a collection, if it is one, as of all that [`Store::follow`] has found.
    pub fn only_model(&self, collection: &Identifier) -> Option<ModelId> {
        self.index.get().only_model(collection).cloned()
    }

    /// Writes all speakers of collections that may be used, or those of one, as lines of JSON, as of one moment. Returns how many there
    /// are. What takes them may be slow: changes go on meanwhile.
    pub fn export(
        &self,
        collection: Option<&Identifier>,
        may_use: &dyn Fn(&Identifier) -> bool,
        out: &mut dyn Write,
    ) -> Result<usize, ExportError> {
        if !self.database.writes_wait_for_reads() {
            return self.export_slowly(collection, may_use, out);
        }
        let mut lines = Vec::new();
        let n = self.export_slowly(collection, may_use, &mut lines)?;
        out.write_all(&lines)?;
        out.flush()?;
        Ok(n)
    }

    /// As fast as the lines are taken.
    fn export_slowly(
        &self,
        collection: Option<&Identifier>,
        may_use: &dyn Fn(&Identifier) -> bool,
        out: &mut dyn Write,
    ) -> Result<usize, ExportError> {
        let (mut exported, mut failure) = (None, None);
        let read =
            self.database.read_long(&mut |sql| match transfer::export(sql, collection, may_use, out) {
                Ok(n) => {
                    exported = Some(n);
                    Ok(())
                }
                Err(ExportError::Store(error)) => Err(error),
                Err(ExportError::Write(error)) => {
                    failure = Some(error);
                    // The connection is of no further use: what it has still to tell nobody takes.
                    Err(StoreError::Unavailable { reason: "an export has ended early".into() })
                }
            });
        if let Some(failure) = failure {
            return Err(failure.into());
        }
        self.note_availability(read)?;
        match exported {
            Some(n) => Ok(n),
            None => transfer::export_nothing(out).map(|()| 0),
        }
    }

    /// An empty file that vanishes when it is closed, where there is room: beside the database, or where the system has such files.
    pub fn temporary_file(&self) -> io::Result<File> {
        match self.database.folder().filter(|folder| folder.is_dir()) {
            Some(folder) => tempfile::tempfile_in(folder),
            None => tempfile::tempfile(),
        }
    }

    /// Brings what is searched up to all that is committed, whoever has done it.
    pub fn follow(&self) -> Result<(), StoreError> {
        let changed = self.note_availability(self.index.follow(self.database.as_ref()))?;
        if changed {
            self.others_wrote.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Most speakers.
    pub fn max_speakers(&self) -> usize {
        self.max_speakers
    }

    /// The number of speakers, as far as the index knows.
    pub fn speaker_count(&self) -> usize {
        self.index.speakers()
    }

    /// Whether another process had the database open at the start, as far as that can be known.
    pub fn has_others(&self) -> bool {
        self.database.has_others()
    }

    /// Why nothing can be kept until somebody sees to it: the file was removed, or replaced by another.
    pub fn check_place(&self) -> Result<(), StoreError> {
        self.note_availability(self.database.check_place())
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

    /// Reads as of one moment; `None` if nothing has been written yet.
    fn read<T>(
        &self,
        mut work: impl FnMut(&dyn Sql) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let mut outcome = None;
        let read = self.database.read(&mut |sql| {
            outcome = Some(work(sql)?);
            Ok(())
        });
        self.note_availability(read)?;
        Ok(outcome)
    }

    /// What became of a read: a failure makes the store unavailable until a write succeeds.
    fn note_availability<T>(&self, outcome: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(StoreError::Unavailable { reason }) = &outcome
            && self.is_available.swap(false, Ordering::Relaxed)
        {
            tracing::error!(reason, "the store of speakers is unavailable");
        }
        outcome
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.close();
    }
}
