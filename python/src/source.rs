//! Recordings as passed by Python.

use std::path::{Path, PathBuf};

use numpy::PyReadonlyArray1;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;

use voice_embedding_engine::audio::{self, Channel, DecodeOptions, MAX_MAGNITUDE, Recording, Samples};
use voice_embedding_engine::pace::Pace;

use crate::errors::{RecordingFailure, value_error};

/// A recording: a file, its bytes, or samples of one channel with their rate in Hz.
#[derive(FromPyObject)]
pub(crate) enum Source<'py> {
    Bytes(PyBackedBytes),
    Samples((PyReadonlyArray1<'py, f32>, u32)),
    File(PathBuf),
}

/// A recording that can be read without Python's lock.
pub(crate) enum Readable<'a> {
    Bytes(&'a [u8]),
    Samples(&'a [f32], u32),
    File(&'a Path),
}

impl Source<'_> {
    pub(crate) fn readable(&self) -> PyResult<Readable<'_>> {
        Ok(match self {
            Self::Bytes(bytes) => Readable::Bytes(bytes),
            Self::Samples((samples, sample_rate_hz)) => Readable::Samples(finite(samples)?, *sample_rate_hz),
            Self::File(path) => Readable::File(path),
        })
    }

    pub(crate) fn path(&self) -> Option<&Path> {
        if let Self::File(path) = self { Some(path) } else { None }
    }
}

impl Readable<'_> {
    pub(crate) fn decode<S: Samples>(
        &self,
        options: DecodeOptions,
    ) -> Result<Recording<S::Whole>, RecordingFailure> {
        let decode = |bytes| audio::decode_in_slices::<S>(bytes, None, options, Pace::UNBROKEN);
        Ok(match self {
            Self::Bytes(bytes) => decode(bytes)?,
            Self::Samples(samples, sample_rate_hz) => {
                audio::from_samples::<S>(samples, *sample_rate_hz, options)?
            }
            Self::File(path) => decode(&std::fs::read(path)?)?,
        })
    }
}

/// Returns the samples of an array without copying them. Rejects values that are not finite or too large.
pub(crate) fn finite<'a>(samples: &'a PyReadonlyArray1<'_, f32>) -> PyResult<&'a [f32]> {
    let samples = samples.as_slice()?;
    // A comparison with a not-a-number is false.
    if samples.iter().all(|sample| sample.abs() <= MAX_MAGNITUDE) {
        return Ok(samples);
    }
    Err(value_error("the samples hold infinite, not-a-number or absurdly large values"))
}

/// Returns the options for decoding a recording of up to `max_seconds`.
pub(crate) fn options(number: Option<u16>, max_seconds: f64) -> DecodeOptions {
    DecodeOptions { max_seconds, channel: channel(number) }
}

/// Returns the mean of all channels for `None`, or the channel with a number.
pub(crate) fn channel(number: Option<u16>) -> Channel {
    number.map_or(Channel::Mix, Channel::One)
}
