//! Exit statuses and messages of commands.

use std::io::{self, ErrorKind, Write};

/// Exit status of a command that failed for some recordings only.
pub(super) const SOME_FAILED: u8 = 1;

/// Exit status of `verify` for different speakers.
pub(super) const DIFFERENT: u8 = 1;

/// Exit status of a command that could not do its work.
pub(super) const COULD_NOT_TELL: u8 = 2;

/// Prints a line on standard error. If standard error is closed, the line is lost.
pub(super) fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Returns the result of a write. A reader that has closed the output is not an error.
pub(super) fn ended_by_reader(written: io::Result<()>) -> anyhow::Result<()> {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}
