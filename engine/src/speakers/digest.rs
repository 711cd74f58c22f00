//! Digests of enrolled recordings and embeddings, by which repeated enrolments are recognised.

use sha2::{Digest, Sha256};

use crate::audio::{Channel, Endian, RawFormat, SampleFormat};
use crate::pipeline::RecordingOptions;

/// Returns the SHA-256 of a recording's file. Unless the options are the default, it covers the options as well.
pub fn recording_digest(file: &[u8], options: &RecordingOptions) -> [u8; 32] {
    let mut digest = Sha256::new_with_prefix(file);
    if *options != RecordingOptions::default() {
        // A test pins these bytes, because stored digests depend on them.
        digest.update((file.len() as u64).to_le_bytes());
        digest.update(canonical(options));
    }
    digest.finalize().into()
}

/// Returns the options for reading a recording, in the notation that digests have always used.
fn canonical(options: &RecordingOptions) -> String {
    let channel = match options.channel {
        Channel::Mix => "Mix".to_owned(),
        Channel::One(number) => format!("One({number})"),
    };
    let endian = |endian| if endian == Endian::Little { "Little" } else { "Big" };
    let raw = options.raw.map_or_else(
        || "None".to_owned(),
        |RawFormat { format, sample_rate_hz, channels }| {
            let format = match format {
                SampleFormat::U8 => "U8".to_owned(),
                SampleFormat::S8 => "S8".to_owned(),
                SampleFormat::S16(order) => format!("S16({})", endian(order)),
                SampleFormat::S24(order) => format!("S24({})", endian(order)),
                SampleFormat::S32(order) => format!("S32({})", endian(order)),
                SampleFormat::LowBits(n, order) => format!("LowBits({n}, {})", endian(order)),
                SampleFormat::LowBits16(n, order) => format!("LowBits16({n}, {})", endian(order)),
                SampleFormat::F32(order) => format!("F32({})", endian(order)),
                SampleFormat::F64(order) => format!("F64({})", endian(order)),
                SampleFormat::MuLaw => "MuLaw".to_owned(),
                SampleFormat::ALaw => "ALaw".to_owned(),
            };
            format!("Some(RawFormat {{ format: {format}, sample_rate_hz: {sample_rate_hz}, channels: {channels} }})")
        },
    );
    format!("RecordingOptions {{ channel: {channel}, raw: {raw} }}")
}

/// Returns the SHA-256 of an embedding's components as little-endian `f32`, so that base64 and decimal numbers have the
/// same digest. If a component is beyond the range of `f32`, the components are hashed as `f64`.
pub fn embedding_digest(components: &[f64]) -> [u8; 32] {
    let fits = components.iter().all(|c| (*c as f32).is_finite());
    let bytes: Vec<u8> = if fits {
        components.iter().flat_map(|c| (*c as f32).to_le_bytes()).collect()
    } else {
        components.iter().flat_map(|c| c.to_le_bytes()).collect()
    };
    Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_the_same_however_it_is_written() {
        let component = 0.1_f32;
        let decimal: f64 = component.to_string().parse().unwrap();
        assert_ne!(decimal.to_bits(), f64::from(component).to_bits());
        assert_eq!(embedding_digest(&[decimal, 1.0]), embedding_digest(&[f64::from(component), 1.0]));
        assert_ne!(embedding_digest(&[1e300]), embedding_digest(&[1e301]));

        let mix = RecordingOptions::default();
        let left = RecordingOptions { channel: Channel::One(0), raw: None };
        assert_eq!(recording_digest(b"file", &mix), <[u8; 32]>::from(Sha256::digest(b"file")));
        let raw =
            RawFormat { format: SampleFormat::S16(Endian::Little), sample_rate_hz: 16_000, channels: 1 };
        let raw = RecordingOptions { channel: Channel::Mix, raw: Some(raw) };
        let start = |options: &RecordingOptions| {
            let digest = recording_digest(b"file", options);
            u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])
        };
        assert_eq!(
            [start(&left), start(&raw)],
            [0x1d87_e154, 0x130e_fb98],
            "stored digests would no longer be recognised"
        );
    }
}
