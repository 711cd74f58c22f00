//! Stores enrolled speakers in a database, with an index of their profiles in memory. The index always corresponds
//! exactly to a revision of the database.
//!
//! A caller that writes hands over a change and a callback. The writer thread commits the change and updates the index.
//! Only then does it call back, whether or not the caller still waits. Reads run on the caller's thread.
//!
//! # Writing
//!
//! One thread has the only connection that writes. It takes all waiting changes, makes each in a savepoint and commits them
//! together, which turns many fsyncs into one. Each change raises a revision in its transaction and marks the speakers it
//! changes; removals are recorded for the last 100,000 changes. `follow` reads what has changed since a revision. The writer
//! calls it after each commit, and every search compares the revision first, so several processes on one file, or replicas
//! on one server, see each other's changes. The index applies all of a change or nothing. If a revision goes backwards or
//! the tables are new (a restored backup, another server), the index is rebuilt.
//!
//! # SQLite
//!
//! Only SQLite opens the file: closing any other descriptor of it would drop this process's locks (POSIX), and another
//! process could end the write-ahead log. The file is created under another name and linked into place. Before each commit
//! the writer checks that the file is still the one it opened (device and inode), because SQLite would go on writing to a
//! removed file, or write its log over another one. Readers use connections that cannot write and change no file when they
//! close. At start the file is checked (header, `quick_check`) while it is loaded. After a removal, the write-ahead log is
//! emptied into the file, where SQLite overwrites freed pages.
//!
//! # PostgreSQL
//!
//! The store stays synchronous: a connection has its own runtime on the thread that uses it, and every wait has a time
//! limit. Writers lock the row of the revision first, so they run one after another and revisions are committed in order.
//! Statements are planned once, by index only (`enable_seqscan = off`), because plans made for empty tables would stay. The
//! database part of a search runs on a thread that may block, the comparison on a worker, so a hanging database blocks no
//! worker.
//!
//! Everything above the connections is written once, over `Sql`: execute, query, and one statement for many sets of values,
//! which PostgreSQL receives without a round trip for each.
//!
//! # Imports and the index
//!
//! An import is spooled into a file and checked completely before the transaction begins, then read again, a few hundred
//! speakers at a time.
//!
//! The index holds profiles as rows of `f32`, and for each row a sketch with one byte per component. A search computes
//! bounds of the cosine with every row from the sketches, which are a quarter of the memory to read. It then computes the
//! exact cosine only for the rows that could be among the best. The result equals that of a full scan. Rows lie in
//! blocks, so memory grows without copies. The last row replaces a removed one.

mod database;
mod error;
mod follow;
mod place;
mod postgres;
mod reads;
mod sql;
mod sqlite;
mod statements;
mod transfer;
mod writer;
mod writes;

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::embedding::{ModelId, UnitEmbedding};
use crate::speakers::{Address, Enrolment, Found, Identifier, SearchOptions, Speaker};

pub use error::{OpenError, StoreError};
pub(crate) use place::folder_of;
pub use place::{StoreConfig, StorePlace};
pub use postgres::{PostgresServer, ServerError};
pub use reads::{CollectionSummary, PageRequest, SpeakerPage, SpeakerVoice};
pub use transfer::{CheckedImport, Conflict, ExportError, ImportError, ImportRules, Imported};
pub use writes::{Created, Enrolled, NewSpeaker, Transaction};

use database::{Database, Reading};
use follow::FollowingIndex;
use sql::Sql;
use writer::{WaitingChange, Writer};

/// The maximum number of changes that may wait for the writer thread. Each may hold several voices, so this bounds memory
/// while the database hangs.
const MAX_WAITING_CHANGES: usize = 1_024;

/// The speaker store.
pub struct Store {
    database: Arc<dyn Database>,
    index: Arc<FollowingIndex>,
    max_speakers: usize,
    is_available: Arc<AtomicBool>,
    jobs: Mutex<Option<SyncSender<WaitingChange>>>,
    writer: Mutex<Option<JoinHandle<bool>>>,
    /// Whether another process has changed the database since the writer last checked.
    others_wrote: Arc<AtomicBool>,
}

impl Store {
    /// Opens the database, if it exists, and loads the profiles of the given models. A file is created at the first
    /// write. If a server does not respond, this is not an error: the store is unavailable until it does.
    pub fn open(place: &StorePlace, max_speakers: usize, models: Vec<ModelId>) -> Result<Self, OpenError> {
        let database: Arc<dyn Database> = match place {
            StorePlace::File(path) => Arc::new(sqlite::FileDatabase::open(path)?),
            StorePlace::Memory => Arc::new(sqlite::MemoryDatabase::open()?),
            StorePlace::Server(server) => Arc::new(postgres::PostgresDatabase::new(server.clone())),
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
            must_erase: Cell::default(),
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
        // Both read the whole file, so they run in parallel.
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

    /// Makes a change. Calls `done` on the writer thread once the change is committed and visible in the index, or has failed.
    /// If `work` panics, `done` is dropped.
    pub fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
        done: impl FnOnce(Result<T, StoreError>) + Send + 'static,
    ) {
        let change: WaitingChange = Box::new(|transaction| {
            let outcome = transaction.and_then(work);
            let status = outcome.as_ref().map(drop).map_err(Clone::clone);
            let finish = |committed: Result<(), StoreError>| done(committed.and(outcome));
            (status, Box::new(finish))
        });
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let unsent = match &*jobs {
            Some(jobs) => jobs.try_send(change).err().map(|unsent| match unsent {
                TrySendError::Full(change) => (change, "too many changes wait to be written"),
                TrySendError::Disconnected(change) => (change, "the store is closed"),
            }),
            None => Some((change, "the store is closed")),
        };
        drop(jobs);
        if let Some((change, reason)) = unsent {
            writer::reject(change, StoreError::Unavailable { reason: reason.into() });
        }
    }

    /// Like [`Store::write`], but waits for the outcome.
    pub fn write_and_wait<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (sender, answer) = channel();
        // The receiver exists until it has received the outcome.
        self.write(work, move |outcome| drop(sender.send(outcome)));
        answer.recv().unwrap_or_else(|_| Err(StoreError::Internal("the change panicked".into())))
    }

    /// Returns a speaker.
    pub fn speaker(&self, address: &Address) -> Result<Speaker, StoreError> {
        let found = self.read(|sql| reads::speaker(sql, address))?;
        found.ok_or_else(|| StoreError::no_speaker(address))
    }

    /// Returns a page of a collection's speakers.
    pub fn speakers(&self, wanted: &PageRequest) -> Result<SpeakerPage, StoreError> {
        Ok(self.read(|sql| reads::speakers(sql, wanted))?.unwrap_or_default())
    }

    /// Returns a speaker's enrolments.
    pub fn enrolments(&self, address: &Address) -> Result<Vec<Enrolment>, StoreError> {
        let found = self.read(|sql| reads::enrolments(sql, address))?;
        found.ok_or_else(|| StoreError::no_speaker(address))
    }

    /// Returns one of a speaker's enrolments.
    pub fn enrolment(&self, address: &Address, id: &str) -> Result<Enrolment, StoreError> {
        let found = self.read(|sql| reads::enrolment(sql, address, id))?;
        found.ok_or_else(|| StoreError::no_speaker(address))
    }

    /// Returns all collections.
    pub fn collections(&self) -> Result<Vec<CollectionSummary>, StoreError> {
        Ok(self.read(reads::collections)?.unwrap_or_default())
    }

    /// Returns the number of enrolments that are not searched because their model is not loaded, by model.
    pub fn unsearched(&self) -> Result<Vec<(String, usize)>, StoreError> {
        let mut counts = self.read(reads::enrolments_by_model)?.unwrap_or_default();
        counts.retain(|(model, _)| self.index.models().iter().all(|loaded| loaded.fingerprint() != model));
        Ok(counts)
    }

    /// Returns a speaker's voice for a model.
    pub fn voice(&self, address: &Address, model: &ModelId) -> Result<SpeakerVoice, StoreError> {
        let found = self.read(|sql| reads::voice(sql, address, model))?;
        found.ok_or_else(|| StoreError::no_speaker(address))
    }

    /// Searches a collection for the speakers most similar to each voice, including all committed changes.
    pub fn search(&self, probes: &[UnitEmbedding], wanted: &SearchOptions) -> Result<Vec<Found>, StoreError> {
        self.follow()?;
        Ok(self.search_known(probes, wanted))
    }

    /// Like [`Store::search`], but includes only the changes that [`Store::follow`] has read. The time grows with the
    /// collection. The search never waits for the database.
    pub fn search_known(&self, probes: &[UnitEmbedding], wanted: &SearchOptions) -> Vec<Found> {
        // The index is locked for each probe separately, so that a follower waits for at most one of them.
        probes.iter().map(|probe| self.index.get().search(probe, wanted)).collect()
    }

    /// Returns the model of a collection, if all its profiles are of one model. Includes the changes that
    /// [`Store::follow`] has read.
    pub fn only_model(&self, collection: &Identifier) -> Option<ModelId> {
        self.index.get().only_model(collection).cloned()
    }

    /// Writes all speakers of the permitted collections, or those of one collection, as lines of JSON, as of a single
    /// moment. Returns their number. If `out` is slow, changes are still made meanwhile.
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

    /// Writes as fast as `out` accepts the lines.
    fn export_slowly(
        &self,
        collection: Option<&Identifier>,
        may_use: &dyn Fn(&Identifier) -> bool,
        out: &mut dyn Write,
    ) -> Result<usize, ExportError> {
        let (mut exported, mut failure) = (None, None);
        let read = self.database.read(Reading::Long, &mut |sql| match transfer::export(
            sql, collection, may_use, out,
        ) {
            Ok(n) => {
                exported = Some(n);
                Ok(())
            }
            Err(ExportError::Store(error)) => Err(error),
            Err(ExportError::Write(error)) => {
                failure = Some(error);
                // The rest of the response is not read, so the connection cannot be used again.
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

    /// Creates an empty file that vanishes when it is closed. It is beside the database or, if there is no such folder,
    /// where the system keeps temporary files.
    pub fn temporary_file(&self) -> io::Result<File> {
        match self.database.folder().filter(|folder| folder.is_dir()) {
            Some(folder) => tempfile::tempfile_in(folder),
            None => tempfile::tempfile(),
        }
    }

    /// Brings the index up to date with all committed changes, including those of other processes.
    pub fn follow(&self) -> Result<(), StoreError> {
        let changed = self.note_availability(self.index.follow(self.database.as_ref()))?;
        if changed {
            self.others_wrote.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Returns the maximum number of speakers.
    pub fn max_speakers(&self) -> usize {
        self.max_speakers
    }

    /// Returns the number of speakers in the index.
    pub fn speaker_count(&self) -> usize {
        self.index.speakers()
    }

    /// Returns whether another process had the database open at the start, as far as this can be known.
    pub fn has_others(&self) -> bool {
        self.database.has_others()
    }

    /// Returns an error if nothing can be stored until an operator intervenes: the file was removed, or replaced by another.
    pub fn check_place(&self) -> Result<(), StoreError> {
        self.note_availability(self.database.check_place())
    }

    /// Returns whether the last write succeeded and no read has failed since.
    pub fn is_available(&self) -> bool {
        self.is_available.load(Ordering::Relaxed)
    }

    /// Commits waiting changes and ends the writer thread; later writes fail. Returns whether all removed data is erased.
    pub fn close(&self) -> bool {
        *self.jobs.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A panic of the thread has already been logged.
        writer.is_none_or(|writer| writer.join().unwrap_or(false))
    }

    /// Reads a consistent state. Returns `None` if nothing has been written yet.
    fn read<T>(
        &self,
        mut work: impl FnMut(&dyn Sql) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let mut outcome = None;
        let read = self.database.read(Reading::Consistent, &mut |sql| {
            outcome = Some(work(sql)?);
            Ok(())
        });
        self.note_availability(read)?;
        Ok(outcome)
    }

    /// Notes the outcome of a read. A failure makes the store unavailable until a write succeeds.
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
