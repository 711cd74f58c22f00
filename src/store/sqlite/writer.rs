//! The thread that writes. What waits for it together is committed together.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, TransactionBehavior};

use super::follow::follow;
use super::job::Job;
use super::open::{BUSY_TIMEOUT, Database, WriteConnection, check_version, in_one_moment};
use super::statements::TOUCH_STATE;
use super::writes::Transaction;
use crate::embedding::ModelId;
use crate::speakers::Index;
use crate::store::error::StoreError;

/// Changes of one commit at the most.
const MAX_BATCH: usize = 256;

/// Between two tries to write while that fails.
const PROBE_EVERY: Duration = Duration::from_secs(2);

/// Between two tries to empty the write-ahead log of what was removed.
const ERASE_EVERY: Duration = Duration::from_millis(200);

/// How long a process that ends waits for those who read.
const LAST_ERASE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long emptying the log waits for those who read.
const ERASE_TIMEOUT: Duration = Duration::from_millis(50);

/// What the thread that writes works with.
pub(in crate::store) struct Writer {
    pub(in crate::store) database: Arc<Database>,
    pub(in crate::store) index: Arc<RwLock<Index>>,
    pub(in crate::store) models: Vec<ModelId>,
    pub(in crate::store) max_speakers: usize,
    /// Whether a search has seen changes of another process.
    pub(in crate::store) others_wrote: Arc<AtomicBool>,
    /// Whether the last write succeeded.
    pub(in crate::store) is_available: Arc<AtomicBool>,
}

/// What waits for the thread.
struct State {
    connection: Option<WriteConnection>,
    /// Whether the write-ahead log may hold what was removed.
    must_erase: bool,
}

impl Writer {
    /// Does jobs until there can be no more, and then erases; whether all that was removed is erased.
    pub(in crate::store) fn run(self, jobs: &Receiver<Box<dyn Job>>) -> bool {
        // What an earlier process has removed may still be there.
        let mut state = State { connection: None, must_erase: self.database.has_log() };
        loop {
            let patience = if state.must_erase { ERASE_EVERY } else { PROBE_EVERY };
            match jobs.recv_timeout(patience) {
                Ok(first) => {
                    let batch = std::iter::once(first).chain(jobs.try_iter()).take(MAX_BATCH).collect();
                    self.commit(&mut state, batch);
                }
                Err(RecvTimeoutError::Timeout) => self.wait_no_longer(&mut state),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.look_at_others(&mut state);
        self.database.close_readers();
        let deadline = Instant::now() + LAST_ERASE_TIMEOUT;
        self.erase(&mut state);
        while state.must_erase && Instant::now() < deadline {
            std::thread::sleep(ERASE_TIMEOUT);
            self.erase(&mut state);
        }
        if state.must_erase {
            tracing::error!("what was removed is still in the write-ahead log, which cannot be emptied");
        }
        !state.must_erase
    }

    /// Commits changes together, and answers them.
    fn commit(&self, state: &mut State, mut batch: Vec<Box<dyn Job>>) {
        let committed = self.try_commit(state, |transaction| {
            batch.iter_mut().try_for_each(|job| in_savepoint(transaction, job.as_mut()))
        });
        batch.into_iter().for_each(|job| job.finish(committed.clone()));
        self.erase(state);
    }

    fn try_commit(
        &self,
        state: &mut State,
        work: impl FnOnce(&Transaction<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let outcome = self.transact(state, work);
        let was_available = self.is_available.swap(outcome.is_ok(), Ordering::Relaxed);
        match &outcome {
            Ok(()) if !was_available => tracing::info!("the store of speakers is available again"),
            Err(error) if was_available => tracing::error!(?error, "the store of speakers is unavailable"),
            Ok(()) | Err(_) => {}
        }
        if outcome.is_err() {
            // A new one may be better: this one may have been opened while the file could not be written.
            state.connection = None;
        }
        outcome
    }

    fn transact(
        &self,
        state: &mut State,
        work: impl FnOnce(&Transaction<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        if state.connection.is_none() {
            state.connection = Some(self.database.open_for_writing()?);
        }
        let Some(connection) = &state.connection else { return Ok(()) };
        let has_removed = connection.with(|connection| {
            let sql = rusqlite::Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
            let transaction = Transaction {
                connection: &sql,
                now: milliseconds_since_1970(),
                max_speakers: self.max_speakers,
                has_removed: Cell::new(false),
            };
            check_version(&sql)?;
            // What others have removed meanwhile is erased with what is removed here.
            if follow(&sql, &self.index, &self.models)? {
                self.others_wrote.store(true, Ordering::Relaxed);
            }
            work(&transaction)?;
            let has_removed = transaction.has_removed.get();
            sql.commit()?;
            // If it fails, the next search tries again; what is committed stays so.
            if let Err(error) = in_one_moment(connection, |now| follow(now, &self.index, &self.models)) {
                tracing::error!(?error, "the index of speakers cannot follow the store");
            }
            Ok::<_, StoreError>(has_removed)
        })?;
        let others_wrote = self.others_wrote.swap(false, Ordering::Relaxed);
        state.must_erase |= (has_removed || others_wrote) && connection.has_file();
        Ok(())
    }

    /// What is done while nobody waits: looks whether the store is available again, and erases.
    fn wait_no_longer(&self, state: &mut State) {
        if !self.is_available.load(Ordering::Relaxed) {
            let touched = |transaction: &Transaction<'_>| {
                transaction.connection.execute(TOUCH_STATE, []).map(drop).map_err(StoreError::from)
            };
            // Its outcome is kept as the store's state.
            let _ = self.try_commit(state, touched);
        }
        self.look_at_others(state);
        self.erase(state);
    }

    /// Whoever else has removed something may have ended before it was erased.
    fn look_at_others(&self, state: &mut State) {
        let followed = self.database.read(|connection| follow(connection, &self.index, &self.models));
        let others_wrote =
            self.others_wrote.swap(false, Ordering::Relaxed) || matches!(followed, Ok(Some(true)));
        state.must_erase |= others_wrote && self.database.has_log();
    }

    /// Moves the write-ahead log into the database, where removed rows are overwritten, and empties it. While somebody reads an
    /// older state that cannot be done; it is tried again.
    fn erase(&self, state: &mut State) {
        if !state.must_erase {
            return;
        }
        if state.connection.is_none() && self.database.exists() {
            state.connection = self.database.open_for_writing().ok();
        }
        let Some(connection) = &state.connection else { return };
        let checkpoint = |connection: &Connection| {
            connection.busy_timeout(ERASE_TIMEOUT)?;
            let is_busy = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0));
            connection.busy_timeout(BUSY_TIMEOUT)?;
            is_busy
        };
        state.must_erase = connection.with(checkpoint).unwrap_or(true);
    }
}

/// Makes a change, and undoes it if it fails; an error is one of the store itself.
fn in_savepoint(transaction: &Transaction<'_>, job: &mut dyn Job) -> Result<(), StoreError> {
    transaction.connection.execute_batch("SAVEPOINT change")?;
    let has_removed = transaction.has_removed.get();
    match catch_unwind(AssertUnwindSafe(|| job.run(transaction))) {
        Ok(Ok(())) => Ok(transaction.connection.execute_batch("RELEASE change")?),
        Ok(Err(error @ StoreError::Unavailable { .. })) => Err(error),
        // SQLite has undone everything.
        _ if transaction.connection.is_autocommit() => {
            Err(StoreError::Unavailable { reason: "the transaction was rolled back".into() })
        }
        Ok(Err(_)) | Err(_) => {
            transaction.has_removed.set(has_removed);
            Ok(transaction.connection.execute_batch("ROLLBACK TO change; RELEASE change")?)
        }
    }
}

fn milliseconds_since_1970() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
