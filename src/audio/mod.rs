//! Bytes of an audio file -> [`Recording`]: a mono waveform at 16 kHz, with what was noticed while decoding.
//!
//! Containers are read here, a file each; packets are decoded by symphonia's decoders and by ropus. A recording is as long as
//! what decodes: no header's promise is taken for a length, and `truncated` is said only where a container proves that
//! something is missing.

mod aiff;
mod au;
mod bytes;
mod caf;
mod codec;
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
mod recording;
pub mod resample;
mod sniff;
mod stream;
mod vorbis;
mod wav;

pub use codec::is_decoding;
pub use error::{AudioError, SUPPORTED_FORMATS};
pub use pcm::{Endian, SampleFormat};
pub use raw::{RawFormat, decode_raw, of_samples};
pub use recording::{
    Channel, DecodeOptions, MAX_CHANNELS, MAX_MAGNITUDE, Recording, SAMPLE_RATE_HZ, SAMPLE_RATES_HZ, Waveform,
};

use codec::catch_decoder;
use mono_mix::MonoMix;
use sniff::Container;

/// Decodes an audio file, recognised by its content. A damaged file that makes a decoder panic is as corrupt as one that makes
/// it fail.
pub fn decode(file: &[u8], options: DecodeOptions) -> Result<Recording, AudioError> {
    if file.is_empty() {
        return Err(AudioError::Corrupt("it is empty".into()));
    }
    let container = sniff::recognise(file)?;
    catch_decoder(|| decode_container(file, container, options))
        .unwrap_or_else(|| Err(AudioError::Corrupt("it cannot be decoded".into())))
}

fn decode_container(
    file: &[u8],
    container: Container,
    options: DecodeOptions,
) -> Result<Recording, AudioError> {
    match container {
        Container::Wav => wav::decode(file, options),
        Container::Aiff => aiff::decode(file, options),
        Container::Au => au::decode(file, options),
        Container::Flac(start) => flac::demux(file, start)?.decode(options),
        Container::Ogg => ogg::demux(file)?.decode(options),
        Container::Frames(start) => mpeg::demux(file, start)?.decode(options),
        Container::Caf => match caf::demux(file)? {
            caf::Content::Packets(stream) => stream.decode(options),
            caf::Content::Mpeg { data, truncated } => decode_frames(data, truncated, options),
            caf::Content::Samples { format, sample_rate_hz, channels, data, truncated } => {
                decode_samples(data, RawFormat { format, sample_rate_hz, channels }, truncated, options)
            }
        },
        Container::Matroska => match matroska::demux(file)? {
            matroska::Content::Packets(stream) => stream.decode(options),
            matroska::Content::Samples { format, sample_rate_hz, channels, data, truncated } => {
                decode_samples(&data, RawFormat { format, sample_rate_hz, channels }, truncated, options)
            }
        },
        Container::Mp4 => match mp4::demux(file)? {
            mp4::Content::Packets(stream) => stream.decode(options),
            mp4::Content::Mpeg { data, truncated } => decode_frames(&data, truncated, options),
            mp4::Content::Samples { format, sample_rate_hz, channels, data, truncated } => {
                decode_samples(&data, RawFormat { format, sample_rate_hz, channels }, truncated, options)
            }
        },
    }
}

fn decode_samples(
    data: &[u8],
    samples: RawFormat,
    truncated: bool,
    options: DecodeOptions,
) -> Result<Recording, AudioError> {
    let mut mono = MonoMix::new(samples.channels, samples.sample_rate_hz, options)?;
    samples.format.push(data, &mut mono)?;
    mono.finish(truncated)
}

/// Decodes MPEG audio that another container holds.
fn decode_frames(data: &[u8], truncated: bool, options: DecodeOptions) -> Result<Recording, AudioError> {
    let start =
        mpeg::find_start(data).ok_or_else(|| AudioError::Corrupt("it holds no audio frames".into()))?;
    let mut stream = mpeg::demux(data, start)?;
    stream.truncated |= truncated;
    stream.decode(options)
}
