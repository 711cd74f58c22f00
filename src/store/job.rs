//! A change that waits to be committed, and its callback.

use super::error::StoreError;
use super::writes::Transaction;

/// A change that waits to be committed.
pub(super) trait WaitingChange: Send {
    /// Makes the change. An error undoes it.
    fn run(&mut self, transaction: &Transaction<'_>) -> Result<(), StoreError>;

    /// Reports the outcome after the change is committed or has failed.
    fn finish(self: Box<Self>, committed: Result<(), StoreError>);
}

/// A function that makes the change, and one that receives the outcome.
pub(super) struct CallbackChange<W, T, D> {
    work: Option<W>,
    outcome: Option<Result<T, StoreError>>,
    done: D,
}

impl<W, T, D> CallbackChange<W, T, D> {
    pub(super) fn new(work: W, done: D) -> Self {
        Self { work: Some(work), outcome: None, done }
    }
}

impl<W, T, D> WaitingChange for CallbackChange<W, T, D>
where
    W: FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send,
    T: Send,
    D: FnOnce(Result<T, StoreError>) + Send,
{
    fn run(&mut self, transaction: &Transaction<'_>) -> Result<(), StoreError> {
        let Some(work) = self.work.take() else { return Ok(()) };
        let outcome = work(transaction);
        let status = outcome.as_ref().map(drop).map_err(Clone::clone);
        self.outcome = Some(outcome);
        status
    }

    fn finish(self: Box<Self>, committed: Result<(), StoreError>) {
        let Self { outcome, done, .. } = *self;
        match (committed, outcome) {
            (Err(error), _) => done(Err(error)),
            (Ok(()), Some(outcome)) => done(outcome),
            // The change panicked, which is logged. It is dropped without an answer, like a recording whose worker panics.
            (Ok(()), None) => {}
        }
    }
}
