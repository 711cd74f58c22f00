//! The progress of a download: a bar on a terminal, otherwise a log line for each tenth.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The progress of one request.
pub(super) enum FetchProgress {
    Bar(ProgressBar),
    Log { total: Option<u64>, next_tenth: u64 },
}

impl FetchProgress {
    /// Starts at `position` of `total` bytes, if the total is known.
    pub(super) fn begin(position: u64, total: Option<u64>) -> Self {
        if !std::io::stderr().is_terminal() {
            tracing::info!(position_bytes = position, total_bytes = total, "fetching the model");
            return Self::Log {
                total,
                next_tenth: total.map_or(0, |total| position * 10 / total.max(1) + 1),
            };
        }
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr()).with_style(style(total));
        bar.set_message("Fetching the model");
        bar.set_position(position);
        bar.reset_eta();
        Self::Bar(bar)
    }

    /// Updates the number of bytes received.
    pub(super) fn reached(&mut self, position: u64) {
        match self {
            Self::Bar(bar) => bar.set_position(position),
            Self::Log { total: Some(total), next_tenth } if position * 10 >= *total * *next_tenth => {
                let percent = position * 100 / (*total).max(1);
                tracing::info!(percent, position_bytes = position, "fetching the model");
                *next_tenth = position * 10 / (*total).max(1) + 1;
            }
            Self::Log { .. } => {}
        }
    }

    /// Ends the display after the last byte.
    pub(super) fn end(self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

fn style(total: Option<u64>) -> ProgressStyle {
    let template = match total {
        Some(_) => "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta} left",
        None => "{msg} {spinner} {bytes} {bytes_per_sec}",
    };
    ProgressStyle::with_template(template).expect("the template is one of the two above")
}
