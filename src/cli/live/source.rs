//! Streamed audio: a recording that is played, or standard input.

use std::io::{ErrorKind, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::LiveArgs;
use crate::audio::{self, DecodeOptions, Endian, RawFormat, SAMPLE_RATE_HZ, SampleFormat};
use crate::cli::files::RecordingSource;
use crate::pace::Pace;

/// The length of a piece of audio, in seconds.
const CHUNK_SECONDS: f64 = 0.1;

/// A source that delivers audio piece by piece.
pub(super) struct AudioSource {
    raw: RawFormat,
    from: From,
    /// The number of bytes delivered so far.
    n_bytes: usize,
}

enum From {
    /// Samples, and the time at which playback began.
    Recording {
        bytes: Vec<u8>,
        speed: f64,
        begun: Option<Instant>,
    },
    Stdin(std::io::Stdin),
}

impl AudioSource {
    /// Opens a source. A recording is read completely, standard input piece by piece.
    pub(super) fn open(args: &LiveArgs) -> anyhow::Result<Self> {
        if args.file == Path::new("-") {
            return Ok(Self { raw: args.raw(), from: From::Stdin(std::io::stdin()), n_bytes: 0 });
        }
        let path = args.file.display().to_string();
        let file =
            RecordingSource::from_path(&args.file).read().with_context(|| format!("cannot read {path}"))?;
        let options = DecodeOptions {
            channel: args.naming.embedding.options().channel,
            ..DecodeOptions::with_max_seconds(f64::from(u32::MAX))
        };
        let decoded = audio::decode_in_slices::<Vec<f32>>(&file, None, options, Pace::UNBROKEN);
        let samples = decoded.with_context(|| path)?.waveform.into_samples();
        let bytes = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        Ok(Self {
            raw: RawFormat {
                format: SampleFormat::F32(Endian::Little),
                sample_rate_hz: SAMPLE_RATE_HZ,
                channels: 1,
            },
            from: From::Recording { bytes, speed: args.speed, begun: None },
            n_bytes: 0,
        })
    }

    /// Returns the format of the samples.
    pub(super) fn raw(&self) -> RawFormat {
        self.raw
    }

    /// Returns whether the source is a recording. In that case, decoding has already selected the channel.
    pub(super) fn is_recording(&self) -> bool {
        matches!(self.from, From::Recording { .. })
    }

    fn bytes_a_second(&self) -> usize {
        self.raw.format.n_bytes() * usize::from(self.raw.channels) * self.raw.sample_rate_hz as usize
    }

    /// Returns the seconds of audio delivered so far.
    pub(super) fn seconds(&self) -> f64 {
        self.n_bytes as f64 / self.bytes_a_second() as f64
    }

    /// Waits for the next piece. Returns `None` at the end.
    pub(super) fn next(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        let n = (self.bytes_a_second() as f64 * CHUNK_SECONDS) as usize;
        let (seconds, at) = (self.seconds(), self.n_bytes);
        let chunk = match &mut self.from {
            From::Recording { bytes, speed, begun } => {
                if *speed > 0.0 {
                    let due =
                        *begun.get_or_insert_with(Instant::now) + Duration::from_secs_f64(seconds / *speed);
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                }
                bytes[at..(at + n).min(bytes.len())].to_vec()
            }
            From::Stdin(stdin) => {
                let mut chunk = vec![0; n];
                let n_read = loop {
                    match stdin.read(&mut chunk) {
                        Err(error) if error.kind() == ErrorKind::Interrupted => {}
                        read => break read.context("cannot read standard input")?,
                    }
                };
                chunk.truncate(n_read);
                chunk
            }
        };
        self.n_bytes += chunk.len();
        Ok((!chunk.is_empty()).then_some(chunk))
    }
}
