//! Tables of similarities, in colours where there is a terminal.

use std::fmt;

use anstyle::{AnsiColor, Color, Style};

/// Below the threshold by less than this, a similarity is neither one nor the other.
const CLOSE: f64 = 0.05;

/// How a similarity is shown: green above the threshold, yellow close below, as it is otherwise.
#[derive(Clone, Copy)]
pub(super) struct Paint(Style);

impl Paint {
    pub(super) fn of(similarity: f64, threshold: f64) -> Self {
        let colour = match similarity {
            similarity if similarity > threshold => Some(AnsiColor::Green),
            similarity if similarity > threshold - CLOSE => Some(AnsiColor::Yellow),
            _ => None,
        };
        Self(Style::new().fg_color(colour.map(Color::Ansi)))
    }
}

/// Begins the colour; with `#`, ends it.
impl fmt::Display for Paint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
