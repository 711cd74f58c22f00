//! Work that pauses. It has its own thread, which runs only while a worker waits for it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use crate::pace::Cancelled;

/// Work that has paused or has not begun. Dropping it cancels the work.
pub(super) struct Sliced<T> {
    resume: SyncSender<()>,
    slices: Receiver<Outcome<T>>,
}

/// The outcome of a slice.
pub(super) enum Slice<T> {
    /// More work is left.
    Paused(Sliced<T>),
    /// The work has ended; `None` if it panicked or was cancelled before it began.
    Done(Option<T>),
}

/// A message from the work to the worker that waits for it.
enum Outcome<T> {
    Paused,
    Done(T),
}

/// The work's side, which lets the worker continue with other work.
pub(super) struct GiveWay<T> {
    resumed: Receiver<()>,
    slices: Sender<Outcome<T>>,
}

impl<T> GiveWay<T> {
    /// Pauses until a worker waits for this work again.
    pub(super) fn pause(&self) -> Result<(), Cancelled> {
        self.slices.send(Outcome::Paused).map_err(|_| Cancelled)?;
        self.resumed.recv().map_err(|_| Cancelled)
    }
}

impl<T: Send + 'static> Sliced<T> {
    /// Creates work that begins with its first slice. If the system has no thread to spare, the work is dropped.
    pub(super) fn new(work: impl FnOnce(&GiveWay<T>) -> T + Send + 'static) -> Self {
        let ((resume, resumed), (sender, slices)) = (sync_channel(1), channel());
        let give_way = GiveWay { resumed, slices: sender };
        let thread = std::thread::Builder::new().name("slices".into()).spawn(move || {
            if give_way.resumed.recv().is_ok()
                && let Some(done) = unpanicked(|| work(&give_way))
            {
                // After a cancellation, no worker waits for the result.
                let _ = give_way.slices.send(Outcome::Done(done));
            }
        });
        if let Err(error) = thread {
            tracing::error!(%error, "no thread can be started for a long recording");
        }
        Self { resume, slices }
    }

    /// Runs a slice and waits until it ends.
    pub(super) fn run(self) -> Slice<T> {
        // If the work has no thread, receiving fails as well.
        let _ = self.resume.send(());
        match self.slices.recv() {
            Ok(Outcome::Paused) => Slice::Paused(self),
            Ok(Outcome::Done(done)) => Slice::Done(Some(done)),
            Err(_) => Slice::Done(None),
        }
    }
}

/// Runs work that may panic because of a bug. The panic hook has then reported the panic.
pub(super) fn unpanicked<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_goes_on_where_it_paused() {
        let mut sliced =
            Sliced::new(|give_way: &GiveWay<usize>| (0..3).filter(|_| give_way.pause().is_ok()).count());
        for slice in 0..3 {
            let Slice::Paused(paused) = sliced.run() else { panic!("slice {slice} ended it") };
            sliced = paused;
        }
        assert!(matches!(sliced.run(), Slice::Done(Some(3))));
    }

    #[test]
    fn dropping_it_cancels_the_work() {
        let (ended, has_ended) = channel();
        let sliced = Sliced::new(move |give_way: &GiveWay<()>| ended.send(give_way.pause()).unwrap());
        let Slice::Paused(paused) = sliced.run() else { panic!("it did not pause") };
        drop(paused);
        assert_eq!(has_ended.recv(), Ok(Err(Cancelled)));
    }

    #[test]
    fn a_panic_ends_it() {
        let sliced = Sliced::<()>::new(|_| panic!("expected in this test"));
        assert!(matches!(sliced.run(), Slice::Done(None)));
    }
}
