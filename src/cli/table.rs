//! Colours of similarities in tables, if the output is a terminal.

use std::fmt;

use anstyle::{AnsiColor, Color, Style};

/// A similarity that falls short of the threshold by less than this is borderline.
const CLOSE: f64 = 0.05;

/// The colour of a similarity: green above the threshold, yellow just below it, otherwise none.
#[derive(Clone, Copy)]
pub(super) struct Paint(Style);

impl Paint {
    pub(super) fn for_similarity(similarity: f64, threshold: f64) -> Self {
        let colour = match similarity {
            similarity if similarity > threshold => Some(AnsiColor::Green),
            similarity if similarity > threshold - CLOSE => Some(AnsiColor::Yellow),
            _ => None,
        };
        Self(Style::new().fg_color(colour.map(Color::Ansi)))
    }
}

/// Starts the colour or, with `#`, ends it.
impl fmt::Display for Paint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
