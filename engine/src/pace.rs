//! Divides long work into slices. Between slices, other work can run, and cancelled work ends.

/// The work was cancelled because its result is no longer needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the work was cancelled")]
pub struct Cancelled;

/// The pause that long work makes between two slices. A slice covers at most one second of audio while decoding, and
/// takes a few milliseconds everywhere else.
#[derive(Clone, Copy)]
pub struct Pace<'a> {
    pause: Option<&'a dyn Fn() -> Result<(), Cancelled>>,
}

impl<'a> Pace<'a> {
    /// A pace for work in one piece, which cannot be cancelled.
    pub const UNBROKEN: Self = Self { pause: None };

    /// Creates a pace. `pause` returns when it is this work's turn again, and returns an error if the work was cancelled.
    pub fn new(pause: &'a dyn Fn() -> Result<(), Cancelled>) -> Self {
        Self { pause: Some(pause) }
    }

    /// Lets other work run.
    pub fn pause(self) -> Result<(), Cancelled> {
        self.pause.map_or(Ok(()), |pause| pause())
    }
}
