//! Decodes the bytes of an audio file into a [`Recording`]: a mono waveform at 16 kHz, with observations made while
//! decoding.
//!
//! This module has a reader for each container, and symphonia and ropus decode the packets. The length of a recording is
//! the length of its decoded audio, even if its header announces another. `truncated` is set only if a container proves
//! that something is missing.
//!
//! # Differences from the original
//!
//! - rubato's FFT resampler replaces soxr, with soxr's cut-off. At 44.1 kHz, the difference is 62 dB below the signal.
//!   Resampling happens block by block while decoding, which limits the memory for ten minutes to 38 MB at any rate and
//!   number of channels.
//! - Samples beyond full scale saturate before voice detection, whereas numpy's cast wraps them around.
//!
//! # Why containers are read here
//!
//! symphonia's readers (0.6) trust the counts and positions in headers, so only its decoders are used. A small header may
//! cost its decoder much memory and time: 5 kB of Vorbis codebooks become tables of 38 GB, an Opus header may list 255
//! streams, and an ALAC cookie may announce frames of any length. `vorbis.rs` and `codec.rs` reject headers that no
//! encoder writes before a decoder sees them.
//!
//! symphonia's Vorbis decoder undoes channel coupling in the wrong order and confuses the classes of channels that share
//! a residue. `vorbis.rs` changes the header so that the result is right. symphonia's IMA ADPCM decoder rounds
//! differences unlike IMA and libsndfile, so this module decodes IMA ADPCM in WAV. Only the core of HE-AAC is decoded.

mod aiff;
mod amr;
mod amr_frames;
mod au;
mod budget;
mod bytes;
mod caf;
mod codec;
mod demux;
mod durations;
mod error;
mod flac;
mod ima_adpcm;
mod matroska;
mod mono_mix;
mod mp4;
mod mpeg;
mod ogg;
mod pcm;
mod raw;
mod raw_stream;
mod recording;
pub mod resample;
mod samples;
mod sniff;
mod stream;
mod vorbis;
mod wav;

pub use codec::is_decoding;
pub use durations::Length;
pub use error::{AudioError, SUPPORTED_FORMATS};
pub use pcm::{Endian, RawFormat, SampleFormat};
pub use raw::from_samples;
pub use raw_stream::RawStream;
pub use recording::{
    Channel, DecodeOptions, MAX_CHANNELS, MAX_MAGNITUDE, Recording, SAMPLE_RATE_HZ, SAMPLE_RATES_HZ, Waveform,
};
pub use samples::{CompactWaveform, Samples};

use budget::Budget;
use codec::catch_decoder;
use demux::Demux;
use sniff::Container;

use crate::pace::Pace;

/// Decodes an audio file, recognised by its content. A damaged file that makes a decoder panic counts as corrupt, like
/// one that makes it fail.
pub fn decode(file: &[u8], options: DecodeOptions) -> Result<Recording, AudioError> {
    decode_in_slices::<Vec<f32>>(file, None, options, Pace::UNBROKEN)
}

/// Decodes samples without a header. Rejects a file that begins like a container, because its header would become noise.
pub fn decode_raw(bytes: &[u8], raw: RawFormat, options: DecodeOptions) -> Result<Recording, AudioError> {
    decode_in_slices::<Vec<f32>>(bytes, Some(raw), options, Pace::UNBROKEN)
}

/// Decodes an audio file, or samples without a header, and pauses at least once per second of audio. The samples are
/// added to an `S` as they are decoded.
pub fn decode_in_slices<S: Samples>(
    file: &[u8],
    raw: Option<RawFormat>,
    options: DecodeOptions,
    pace: Pace<'_>,
) -> Result<Recording<S::Whole>, AudioError> {
    guarded(|| {
        let mut budget = Budget::new(file.len(), options.max_seconds, pace);
        let Length { seconds, .. } = durations::measure(&mut *open(file, raw)?, pace)?;
        // Rejects a file that is too long before decoding it.
        budget.check_length(seconds)?;
        stream::decode::<S>(&mut *open(file, raw)?, options, seconds, &mut budget)
    })
}

/// Returns the decoded length of a file, or of samples without a header, as far as the packets state their lengths.
pub fn measure(file: &[u8], raw: Option<RawFormat>, pace: Pace<'_>) -> Result<Length, AudioError> {
    guarded(|| durations::measure(&mut *open(file, raw)?, pace))
}

/// Returns the number of channels of a file, or of samples without a header. The first packet that can be decoded
/// determines it.
pub fn count_channels(file: &[u8], raw: Option<RawFormat>) -> Result<u16, AudioError> {
    guarded(|| {
        // The budget covers a second of audio, which is enough. The recording's length is not checked.
        let mut budget = Budget::new(file.len(), 0.0, Pace::UNBROKEN);
        stream::count_channels(&mut *open(file, raw)?, &mut budget)
    })
}

fn guarded<T>(work: impl FnOnce() -> Result<T, AudioError>) -> Result<T, AudioError> {
    catch_decoder(work).unwrap_or_else(|| Err(AudioError::Corrupt("it cannot be decoded".into())))
}

/// Returns the reader for a file, chosen by its content.
fn open(file: &[u8], raw: Option<RawFormat>) -> Result<Box<dyn Demux<'_> + '_>, AudioError> {
    if file.is_empty() {
        return Err(AudioError::Corrupt("it is empty".into()));
    }
    if let Some(raw) = raw {
        return Ok(Box::new(raw::demux(file, raw)?));
    }
    Ok(match sniff::recognise(file)? {
        Container::Wav => wav::demux(file)?,
        Container::Aiff => Box::new(aiff::demux(file)?),
        Container::Amr(kind, start) => {
            Box::new(amr_frames::AmrFrames::new("AMR", kind, file[start..].into()))
        }
        Container::Au => Box::new(au::demux(file)?),
        Container::Flac(start) => Box::new(flac::FlacFrames::new(file, start)),
        Container::Ogg => Box::new(ogg::Pages::new(file)),
        Container::Frames(start) => Box::new(mpeg::MpegFrames::new(file.into(), start, false)),
        Container::Caf => caf::demux(file)?,
        Container::Matroska => Box::new(matroska::Elements::new(file)),
        Container::Mp4 => mp4::demux(file)?,
    })
}
