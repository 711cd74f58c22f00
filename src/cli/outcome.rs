//! How commands end.

use std::io::{self, ErrorKind, Write};

/// Exit status of a command that has done its work but for some recordings.
pub(super) const SOME_FAILED: u8 = 1;

/// Exit status of `verify` for different speakers.
pub(super) const DIFFERENT: u8 = 1;

/// Exit status of a command that could not do its work.
pub(super) const COULD_NOT_TELL: u8 = 2;

/// Says something on standard error, if anybody reads it.
pub(super) fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// What was written, unless nobody reads it any more: that is no error.
pub(super) fn ended_by_reader(written: io::Result<()>) -> anyhow::Result<()> {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}
