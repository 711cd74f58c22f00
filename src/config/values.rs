//! Values of flags: bounded numbers and switches.

use std::num::NonZeroUsize;

use clap::ValueEnum;

use crate::calibration::Criterion;

/// The maximum number of workers, which is more than the cores of any machine. Additional threads gain nothing, and each
/// uses memory for its sessions.
pub(super) const MAX_WORKERS: usize = 1_024;

/// The largest queue capacity, in recordings.
pub(super) const MAX_QUEUE_CAPACITY: usize = 65_536;

/// The largest batch, in windows. Batches of more than a few dozen windows are no faster.
pub(super) const MAX_MAX_BATCH: usize = 256;

/// The maximum number of recordings in a request.
pub(super) const MAX_MAX_BATCH_RECORDINGS: usize = 1_024;

/// The maximum number of speakers. A process keeps their profiles in memory for searching, which takes a gigabyte per
/// million speakers.
pub(super) const MAX_MAX_SPEAKERS: usize = 10_000_000;

/// The maximum number of connections, each of which is an open file.
pub(super) const MAX_MAX_CONNECTIONS: usize = 1_048_576;

/// Whether a part of the service is enabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Switch {
    /// Enabled.
    On,
    /// Disabled.
    Off,
}

/// Parses a number above 0.
pub fn positive(text: &str) -> Result<f64, String> {
    bounded(text, |value| value > 0.0, "must be above 0")
}

/// Parses a number of 0 or more.
pub fn not_negative(text: &str) -> Result<f64, String> {
    bounded(text, |value| value >= 0.0, "must not be negative")
}

/// Parses a cosine: a number from -1 to 1.
pub fn cosine(text: &str) -> Result<f64, String> {
    bounded(text, |value| Criterion::THRESHOLDS.contains(&value), "must be from -1 to 1")
}

/// Parses a rate: a number from 0 to 1.
pub fn rate(text: &str) -> Result<f64, String> {
    bounded(text, |value| Criterion::RATES.contains(&value), "must be from 0 to 1")
}

pub(super) fn timeout(text: &str) -> Result<f64, String> {
    bounded(text, |value| value > 0.0 && value <= 86_400.0, "must be above 0 and at most 86400")
}

fn bounded(text: &str, accept: impl Fn(f64) -> bool, rule: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "is not a number".to_owned())?;
    if value.is_finite() && accept(value) { Ok(value) } else { Err(rule.to_owned()) }
}

/// Parses a whole number from 1 to `MAX`.
pub(super) fn count<const MAX: usize>(text: &str) -> Result<NonZeroUsize, String> {
    let value: NonZeroUsize = text.parse().map_err(|_| format!("must be a whole number from 1 to {MAX}"))?;
    if value.get() <= MAX { Ok(value) } else { Err(format!("must be at most {MAX}")) }
}
