//! Long work in slices: where it lets other work take its turn, and where it ends once it is cancelled.

/// The work was cancelled: nobody waits for its result any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the work was cancelled")]
pub struct Cancelled;

/// What long work calls between two slices. A slice covers at most one second of audio while decoding, and takes a few
/// milliseconds everywhere else.
#[derive(Clone, Copy)]
pub struct Pace<'a> {
    pause: Option<&'a dyn Fn() -> Result<(), Cancelled>>,
}

impl<'a> Pace<'a> {
    /// Work in one piece, which cannot be cancelled.
    pub const UNBROKEN: Self = Self { pause: None };

    /// `pause` returns when it is this work's turn again, and says whether the work is still wanted.
    pub fn new(pause: &'a dyn Fn() -> Result<(), Cancelled>) -> Self {
        Self { pause: Some(pause) }
    }

    /// Lets other work take its turn.
    pub fn pause(self) -> Result<(), Cancelled> {
        self.pause.map_or(Ok(()), |pause| pause())
    }
}
