//! Progress of a command on standard error: a bar on a terminal, otherwise a line at intervals.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use super::outcome::say;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The interval between two lines if there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// The progress of a command.
pub(super) struct Progress {
    begun: Instant,
    n_files: u64,
    n_failed: u64,
    audio_seconds: f64,
    shown: Shown,
}

enum Shown {
    Bar(ProgressBar),
    Lines { next: Instant },
    Nothing,
}

fn style(count: Option<u64>) -> ProgressStyle {
    let template = match count {
        Some(_) => "{bar:30} {pos}/{len} files, {msg}, {eta} left",
        None => "{spinner} {pos} files, {msg}",
    };
    ProgressStyle::with_template(template).expect("the templates are checked by the tests")
}

impl Progress {
    /// Starts the display. If the number of files is known, the bar shows the time left.
    pub(super) fn begin(is_quiet: bool, count: impl FnOnce() -> Option<u64>) -> Self {
        let begun = Instant::now();
        let shown = if is_quiet {
            Shown::Nothing
        } else if std::io::stderr().is_terminal() {
            let count = count();
            Shown::Bar(
                ProgressBar::with_draw_target(count, ProgressDrawTarget::stderr()).with_style(style(count)),
            )
        } else {
            Shown::Lines { next: begun + LINE_EVERY }
        };
        Self { begun, n_files: 0, n_failed: 0, audio_seconds: 0.0, shown }
    }

    /// Counts a recording that has succeeded.
    pub(super) fn embedded(&mut self, audio_seconds: f64) {
        self.audio_seconds += audio_seconds;
        self.count_recording();
    }

    /// Counts a recording that has failed, and prints the reason.
    pub(super) fn failed(&mut self, name: &str, code: &str, reason: &str) {
        self.failed_with(name, &format!("{code}: {reason}"));
    }

    /// Like [`Self::failed`], for reasons that already contain the code.
    pub(super) fn failed_with(&mut self, name: &str, reason: &str) {
        self.n_failed += 1;
        self.print(&format!("{name}: {reason}"));
        self.count_recording();
    }

    /// Prints a line above the bar.
    fn print(&self, line: &str) {
        match &self.shown {
            Shown::Bar(bar) => bar.suspend(|| say(line)),
            Shown::Lines { .. } | Shown::Nothing => say(line),
        }
    }

    /// Returns the number of failed recordings.
    pub(super) fn n_failed(&self) -> u64 {
        self.n_failed
    }

    /// Ends the display with a summary line.
    pub(super) fn finish(self) {
        let line = self.line();
        match self.shown {
            Shown::Bar(bar) => {
                bar.finish_and_clear();
                say(&line);
            }
            Shown::Lines { .. } => say(&line),
            Shown::Nothing => {}
        }
    }

    fn count_recording(&mut self) {
        self.n_files += 1;
        let line = self.line();
        let (n_files, rate) = (self.n_files, self.rate());
        match &mut self.shown {
            Shown::Bar(bar) => {
                bar.set_position(n_files);
                bar.set_message(rate);
            }
            Shown::Lines { next } if Instant::now() >= *next => {
                *next = Instant::now() + LINE_EVERY;
                say(&line);
            }
            Shown::Lines { .. } | Shown::Nothing => {}
        }
    }

    fn rate(&self) -> String {
        format!("{:.0} s of audio a second", self.audio_seconds / self.begun.elapsed().as_secs_f64())
    }

    fn line(&self) -> String {
        let failed = if self.n_failed > 0 { format!(", {} failed", self.n_failed) } else { String::new() };
        let files = if self.n_files == 1 { "file" } else { "files" };
        format!("{} {files}{failed}, {:.0} s of audio, {}", self.n_files, self.audio_seconds, self.rate())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_can_be_drawn() {
        for count in [None, Some(3)] {
            let bar =
                ProgressBar::with_draw_target(count, ProgressDrawTarget::hidden()).with_style(style(count));
            bar.set_position(2);
            assert_eq!(bar.position(), 2);
        }
    }
}
