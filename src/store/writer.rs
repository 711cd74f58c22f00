//! The writer thread. It commits all waiting changes together.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::database::{Database, Reading};
use super::error::StoreError;
use super::follow::FollowingIndex;
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

/// A change that waits to be committed. It receives the transaction, or why there is none. It returns whether it has
/// succeeded, and a function that answers it. An error undoes it.
pub(super) type WaitingChange =
    Box<dyn FnOnce(Result<&Transaction<'_>, StoreError>) -> (Result<(), StoreError>, Finish) + Send>;

/// Answers a change. Receives whether the commit has succeeded.
pub(super) type Finish = Box<dyn FnOnce(Result<(), StoreError>)>;

/// Answers a change that is not made.
pub(super) fn reject(change: WaitingChange, error: StoreError) {
    let (_, finish) = change(Err(error));
    // The change already has the error.
    finish(Ok(()));
}

/// The dependencies of the writer thread.
pub(super) struct Writer {
    pub(super) database: Arc<dyn Database>,
    pub(super) index: Arc<FollowingIndex>,
    pub(super) max_speakers: usize,
    /// Whether a search has read changes of another process.
    pub(super) others_wrote: Arc<AtomicBool>,
    /// Whether the last write succeeded.
    pub(super) is_available: Arc<AtomicBool>,
    /// Whether removed data may not be overwritten yet.
    pub(super) must_erase: Cell<bool>,
}

impl Writer {
    /// Runs jobs until the channel is closed, and then erases. Returns whether all removed data is erased.
    pub(super) fn run(self, jobs: &Receiver<WaitingChange>) -> bool {
        // Data that an earlier process removed may still be in the log.
        self.must_erase.set(self.database.may_hold_removed());
        loop {
            let patience = if self.must_erase.get() { ERASE_EVERY } else { PROBE_EVERY };
            match jobs.recv_timeout(patience) {
                Ok(first) => {
                    let batch = std::iter::once(first).chain(jobs.try_iter()).take(MAX_BATCH).collect();
                    self.survive(|| self.commit(batch));
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.survive(|| self.wait_no_longer());
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.look_at_others();
        self.database.close_readers();
        let deadline = Instant::now() + LAST_ERASE_TIMEOUT;
        self.erase();
        if self.must_erase.get() {
            tracing::info!("waiting for readers of the database, which keep removed data from being erased");
        }
        while self.must_erase.get() && Instant::now() < deadline {
            std::thread::sleep(LAST_ERASE_EVERY);
            self.erase();
        }
        if self.must_erase.get() {
            tracing::error!("the write-ahead log cannot be emptied and still contains removed data");
        }
        self.database.close_writer();
        !self.must_erase.get()
    }

    /// Continues after a panic (a bug, which the panic hook has logged). Without this thread, every later change would be lost.
    fn survive(&self, work: impl FnOnce()) {
        if catch_unwind(AssertUnwindSafe(work)).is_err() {
            self.is_available.store(false, Ordering::Relaxed);
            self.database.close_writer();
            tracing::error!("the thread that writes speakers has panicked and continues");
        }
    }

    /// Commits changes together, and reports their outcomes.
    fn commit(&self, batch: Vec<WaitingChange>) {
        let mut batch = batch.into_iter();
        let mut made = Vec::new();
        let committed = self.try_commit(|transaction| {
            transaction.sql.batch("SAVEPOINT change")?;
            batch.try_for_each(|change| behind_savepoint(transaction, change, &mut made))
        });
        // A panic (a bug, which the panic hook has logged) costs a single response.
        for finish in made {
            let _ = catch_unwind(AssertUnwindSafe(|| finish(committed.clone())));
        }
        if let Err(error) = committed {
            for change in batch {
                let _ = catch_unwind(AssertUnwindSafe(|| reject(change, error.clone())));
            }
        }
        self.erase();
    }

    fn try_commit(
        &self,
        work: impl FnMut(&Transaction<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let outcome = self.transact(work);
        let was_available = self.is_available.swap(outcome.is_ok(), Ordering::Relaxed);
        match &outcome {
            Ok(()) if !was_available => tracing::info!("the store of speakers is available again"),
            Err(error) if was_available => tracing::error!(?error, "the store of speakers is unavailable"),
            Ok(()) | Err(_) => {}
        }
        if outcome.is_err() {
            // A new connection may work: this one may have been opened while the file was not writable.
            self.database.close_writer();
        }
        outcome
    }

    fn transact(
        &self,
        mut work: impl FnMut(&Transaction<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut has_removed = false;
        self.database.write(&mut |sql| {
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
        if let Err(error) = self.index.update(self.database.as_ref(), Reading::AfterWrite) {
            tracing::error!(?error, "the index of speakers cannot be updated from the store");
            self.database.close_writer();
        }
        let others_wrote = self.others_wrote.swap(false, Ordering::Relaxed);
        self.must_erase.set(self.must_erase.get() || has_removed || others_wrote);
        Ok(())
    }

    /// Runs if no change has arrived for a while: checks whether the store is available again, and erases.
    fn wait_no_longer(&self) {
        if !self.is_available.load(Ordering::Relaxed) {
            // The outcome is kept as the store's state.
            let _ = self.try_commit(|transaction| transaction.sql.execute(TOUCH_STATE, &[]).map(drop));
        }
        self.look_at_others();
        self.erase();
    }

    /// Checks for changes of other processes. A process that removed data may have ended before it erased the data.
    fn look_at_others(&self) {
        let followed = self.index.follow(self.database.as_ref());
        let others_wrote = self.others_wrote.swap(false, Ordering::Relaxed) || matches!(followed, Ok(true));
        let may_hold_others = others_wrote && self.database.may_hold_removed();
        self.must_erase.set(self.must_erase.get() || may_hold_others);
    }

    /// Overwrites removed data. This is impossible while a reader uses an older state, and is then tried again later.
    fn erase(&self) {
        self.must_erase.set(self.must_erase.get() && !self.database.erase());
    }
}

/// Makes a change, and rolls it back to the savepoint if it fails. In both cases, a savepoint is set afterwards. A returned
/// error is an error of the store itself. A change that panics is dropped without an answer, like a recording whose worker
/// panics.
fn behind_savepoint(
    transaction: &Transaction<'_>,
    change: WaitingChange,
    made: &mut Vec<Finish>,
) -> Result<(), StoreError> {
    let has_removed = transaction.has_removed.get();
    let status = catch_unwind(AssertUnwindSafe(|| change(Ok(transaction)))).map(|(status, finish)| {
        made.push(finish);
        status
    });
    match status {
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
