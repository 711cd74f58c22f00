//! Bytes of an audio file -> [`Recording`]: a mono waveform at 16 kHz, with what was noticed while decoding.
//!
//! Containers are read here, a file each; packets are decoded by symphonia's decoders and by ropus. A recording is as long as
//! what decodes: no header's promise is taken for a length, and `truncated` is said only where a container proves that
//! something is missing.

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
pub use raw::of_samples;
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

/// Decodes an audio file, recognised by its content. A damaged file that makes a decoder panic is as corrupt as one that makes
/// it fail.
pub fn decode(file: &[u8], options: DecodeOptions) -> Result<Recording, AudioError> {
    decode_in_slices::<Vec<f32>>(file, None, options, Pace::UNBROKEN)
}

/// Decodes samples without a header. A file that begins as a container does is refused: its header would become noise.
pub fn decode_raw(bytes: &[u8], raw: RawFormat, options: DecodeOptions) -> Result<Recording, AudioError> {
    decode_in_slices::<Vec<f32>>(bytes, Some(raw), options, Pace::UNBROKEN)
}

/// Decodes an audio file, or samples without a header, and pauses at least once for each second of audio. The samples go where the
/// caller wants them, as they come.
pub fn decode_in_slices<S: Samples>(
    file: &[u8],
    raw: Option<RawFormat>,
    options: DecodeOptions,
    pace: Pace<'_>,
) -> Result<Recording<S::Whole>, AudioError> {
    guarded(|| {
        let mut budget = Budget::new(file.len(), options.max_seconds, pace);
        let Length { seconds, .. } = durations::measure(&mut *open(file, raw)?, pace)?;
        // Before any of it is decoded.
        budget.check_length(seconds)?;
        stream::decode::<S>(&mut *open(file, raw)?, options, seconds, &mut budget)
    })
}

/// How much a file, or samples without a header, would decode to, so far as its packets say how long they are.
pub fn measure(file: &[u8], raw: Option<RawFormat>, pace: Pace<'_>) -> Result<Length, AudioError> {
    guarded(|| durations::measure(&mut *open(file, raw)?, pace))
}

/// How many channels a file, or samples without a header, has: those of the first packet that decodes.
pub fn count_channels(file: &[u8], raw: Option<RawFormat>) -> Result<u16, AudioError> {
    guarded(|| {
        // A second of it is enough, and no length is too long.
        let mut budget = Budget::new(file.len(), 0.0, Pace::UNBROKEN);
        stream::count_channels(&mut *open(file, raw)?, &mut budget)
    })
}

fn guarded<T>(work: impl FnOnce() -> Result<T, AudioError>) -> Result<T, AudioError> {
    catch_decoder(work).unwrap_or_else(|| Err(AudioError::Corrupt("it cannot be decoded".into())))
}

/// The reader of a file, by its content.
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
        Container::Amr(kind, start) => Box::new(amr_frames::Frames::new("AMR", kind, file[start..].into())),
        Container::Au => Box::new(au::demux(file)?),
        Container::Flac(start) => Box::new(flac::Frames::new(file, start)),
        Container::Ogg => Box::new(ogg::Pages::new(file)),
        Container::Frames(start) => Box::new(mpeg::Frames::new(file.into(), start, false)),
        Container::Caf => caf::demux(file)?,
        Container::Matroska => Box::new(matroska::Elements::new(file)),
        Container::Mp4 => mp4::demux(file)?,
    })
}
