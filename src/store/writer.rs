//! The writer thread. It commits all waiting changes together.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::database::{Database, Writable};
use super::error::StoreError;
use super::follow::FollowingIndex;
use super::job::WaitingChange;
use super::reads::now;
use super::statements::TOUCH_STATE;
use super::writes::Transaction;

/// The maximum number of changes in one commit.
const MAX_BATCH: usize = 256;

/// How often the thread tries to write while writing fails.
const PROBE_EVERY: Duration = Duration::from_secs(2);

/// How often the thread tries to empty the write-ahead log of removed data.
const ERASE_EVERY: Duration = Duration::from_millis(200);

/// How long a process that ends waits for readers.
const LAST_ERASE_TIMEOUT: Duration = Duration::from_secs(2);

/// How often a process that ends tries to empty the log.
const LAST_ERASE_EVERY: Duration = Duration::from_millis(50);

/// The dependencies of the writer thread.
pub(super) struct Writer {
    pub(super) database: Arc<dyn Database>,
    pub(super) index: Arc<FollowingIndex>,
    pub(super) max_speakers: usize,
    /// Whether a search has read changes of another process.
    pub(super) others_wrote: Arc<AtomicBool>,
    /// Whether the last write succeeded.
    pub(super) is_available: Arc<AtomicBool>,
}

/// The state of the writer thread.
struct WriterState {
    connection: Option<Box<dyn Writable>>,
    /// Whether removed data may not be overwritten yet.
    must_erase: bool,
}

impl Writer {
    /// Runs jobs until the channel is closed, and then erases. Returns whether all removed data is erased.
    pub(super) fn run(self, jobs: &Receiver<Box<dyn WaitingChange>>) -> bool {
        // Data that an earlier process removed may still be in the log.
        let mut state = WriterState { connection: None, must_erase: self.database.may_hold_removed() };
        loop {
            let patience = if state.must_erase { ERASE_EVERY } else { PROBE_EVERY };
            match jobs.recv_timeout(patience) {
                Ok(first) => {
                    let batch = std::iter::once(first).chain(jobs.try_iter()).take(MAX_BATCH).collect();
                    self.survive(&mut state, |state| self.commit(state, batch));
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.survive(&mut state, |state| self.wait_no_longer(state));
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.look_at_others(&mut state);
        self.database.close_readers();
        let deadline = Instant::now() + LAST_ERASE_TIMEOUT;
        self.erase(&mut state);
        while state.must_erase && Instant::now() < deadline {
            std::thread::sleep(LAST_ERASE_EVERY);
            self.erase(&mut state);
        }
        if state.must_erase {
            tracing::error!("the write-ahead log cannot be emptied and still contains removed data");
        }
        !state.must_erase
    }

    /// Continues after a panic (a bug, which the panic hook has logged). Without this thread, every later change would be lost.
    fn survive(&self, state: &mut WriterState, work: impl FnOnce(&mut WriterState)) {
        if catch_unwind(AssertUnwindSafe(|| work(state))).is_err() {
            self.is_available.store(false, Ordering::Relaxed);
            state.connection = None;
            tracing::error!("the thread that writes speakers has panicked and continues");
        }
    }

    /// Commits changes together, and reports their outcomes.
    fn commit(&self, state: &mut WriterState, mut batch: Vec<Box<dyn WaitingChange>>) {
        let committed = self.try_commit(state, |transaction| {
            transaction.sql.batch("SAVEPOINT change")?;
            batch.iter_mut().try_for_each(|job| behind_savepoint(transaction, job.as_mut()))
        });
        for job in batch {
            // A panic (a bug, which the panic hook has logged) costs a single response.
            let _ = catch_unwind(AssertUnwindSafe(|| job.finish(committed.clone())));
        }
        self.erase(state);
    }

    fn try_commit(
        &self,
        state: &mut WriterState,
        work: impl FnMut(&Transaction<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let outcome = self.transact(state, work);
        let was_available = self.is_available.swap(outcome.is_ok(), Ordering::Relaxed);
        match &outcome {
            Ok(()) if !was_available => tracing::info!("the store of speakers is available again"),
            Err(error) if was_available => tracing::error!(?error, "the store of speakers is unavailable"),
            Ok(()) | Err(_) => {}
        }
        if outcome.is_err() {
            // A new connection may work: this one may have been opened while the file was not writable.
            state.connection = None;
        }
        outcome
    }

    fn transact(
        &self,
        state: &mut WriterState,
        mut work: impl FnMut(&Transaction<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        if state.connection.is_none() {
            state.connection = Some(self.database.open_for_writing()?);
        }
        let Some(connection) = &state.connection else { return Ok(()) };
        let mut has_removed = false;
        connection.write(&mut |sql| {
            let transaction = Transaction {
                sql,
                now: now(),
                max_speakers: self.max_speakers,
                has_removed: Cell::new(false),
            };
            // Data that other processes have removed meanwhile is erased together with this process's removals.
            if self.index.is_behind(sql)? {
                self.others_wrote.store(true, Ordering::Relaxed);
            }
            work(&transaction)?;
            has_removed = transaction.has_removed.get();
            Ok(())
        })?;
        // If this fails, the next search tries again. Committed changes remain.
        if let Err(error) = self.index.follow(connection.as_ref()) {
            tracing::error!(?error, "the index of speakers cannot be updated from the store");
            state.connection = None;
        }
        let others_wrote = self.others_wrote.swap(false, Ordering::Relaxed);
        state.must_erase |= has_removed || others_wrote;
        Ok(())
    }

    /// Runs if no change has arrived for a while: checks whether the store is available again, and erases.
    fn wait_no_longer(&self, state: &mut WriterState) {
        if !self.is_available.load(Ordering::Relaxed) {
            // The outcome is kept as the store's state.
            let _ = self.try_commit(state, |transaction| transaction.sql.execute(TOUCH_STATE, &[]).map(drop));
        }
        self.look_at_others(state);
        self.erase(state);
    }

    /// Checks for changes of other processes. A process that removed data may have ended before it erased the data.
    fn look_at_others(&self, state: &mut WriterState) {
        let followed = self.index.follow(self.database.as_ref());
        let others_wrote = self.others_wrote.swap(false, Ordering::Relaxed) || matches!(followed, Ok(true));
        state.must_erase |= others_wrote && self.database.may_hold_removed();
    }

    /// Overwrites removed data. This is impossible while a reader uses an older state, and is then tried again later.
    fn erase(&self, state: &mut WriterState) {
        if !state.must_erase {
            return;
        }
        if state.connection.is_none() && self.database.may_hold_removed() {
            state.connection = self.database.open_for_writing().ok();
        }
        let Some(connection) = &state.connection else { return };
        state.must_erase = !connection.erase();
    }
}

/// Makes a change, and rolls it back to the savepoint if it fails. In both cases, a savepoint is set afterwards. A returned
/// error is an error of the store itself.
fn behind_savepoint(transaction: &Transaction<'_>, job: &mut dyn WaitingChange) -> Result<(), StoreError> {
    let has_removed = transaction.has_removed.get();
    match catch_unwind(AssertUnwindSafe(|| job.run(transaction))) {
        Ok(Ok(())) => transaction.sql.batch("RELEASE SAVEPOINT change; SAVEPOINT change"),
        Ok(Err(error @ StoreError::Unavailable { .. })) => Err(error),
        // The database has rolled back the whole transaction.
        _ if !transaction.sql.is_in_transaction() => {
            Err(StoreError::Unavailable { reason: "the transaction was rolled back".into() })
        }
        Ok(Err(_)) | Err(_) => {
            transaction.has_removed.set(has_removed);
            transaction.sql.batch("ROLLBACK TO SAVEPOINT change")
        }
    }
}
