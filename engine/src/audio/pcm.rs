//! Converts uncompressed samples of every kind to `f32`, full scale at ±1, in agreement with libsndfile and librosa.

/// Number of frames that are converted at once.
pub(super) const BLOCK_FRAMES: usize = 4_096;

/// The format of samples without a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawFormat {
    /// The encoding of a sample.
    pub format: SampleFormat,
    /// Sample rate in Hz.
    pub sample_rate_hz: u32,
    /// Number of interleaved channels.
    pub channels: u16,
}

impl RawFormat {
    /// Returns the number of bytes of a frame, which contains a sample of each channel.
    pub(super) fn frame_len(&self) -> usize {
        self.format.n_bytes() * usize::from(self.channels)
    }
}

/// The encoding of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleFormat {
    /// Unsigned 8-bit integers.
    U8,
    /// Signed 8-bit integers.
    S8,
    /// Signed 16-bit integers.
    S16(Endian),
    /// Signed 24-bit integers in three bytes.
    S24(Endian),
    /// Signed 32-bit integers.
    S32(Endian),
    /// Signed integers of the given number of bits at the low end of 32 bits. The other bits repeat the sign.
    LowBits(u16, Endian),
    /// Signed integers of the given number of bits at the low end of 16 bits. The other bits repeat the sign.
    LowBits16(u16, Endian),
    /// Floating-point numbers of 32 bits.
    F32(Endian),
    /// Floating-point numbers of 64 bits.
    F64(Endian),
    /// ITU-T G.711 mu-law.
    MuLaw,
    /// ITU-T G.711 A-law.
    ALaw,
}

/// The byte order of samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endian {
    /// The least significant byte comes first.
    Little,
    /// The most significant byte comes first.
    Big,
}

impl SampleFormat {
    /// Returns the format of signed integers of `n_bytes` bytes.
    pub(super) fn signed(n_bytes: usize, endian: Endian) -> Option<Self> {
        match n_bytes {
            1 => Some(Self::S8),
            2 => Some(Self::S16(endian)),
            3 => Some(Self::S24(endian)),
            4 => Some(Self::S32(endian)),
            _ => None,
        }
    }

    /// Returns the format of floating-point numbers of `n_bits` bits.
    pub(super) fn float(n_bits: u32, endian: Endian) -> Option<Self> {
        match n_bits {
            32 => Some(Self::F32(endian)),
            64 => Some(Self::F64(endian)),
            _ => None,
        }
    }

    /// Returns the format of integers of which only `valid_bits` are used. Standards place the valid bits at the high
    /// end, but files with valid bits at the low end exist, so the samples decide. The valid bits are at the low end if
    /// every sample fits in them and the low bits are not all zero.
    pub(super) fn with_valid_bits(self, valid_bits: u16, data: &[u8]) -> Self {
        match self {
            Self::S32(endian) if (8..32).contains(&valid_bits) => {
                let samples = data.as_chunks::<4>().0.iter().map(|bytes| i32_from(*bytes, endian));
                let is_low = is_at_low_end(samples, 32, valid_bits);
                if is_low { Self::LowBits(valid_bits, endian) } else { self }
            }
            Self::S16(endian) if (8..16).contains(&valid_bits) => {
                let samples = data.as_chunks::<2>().0.iter().map(|bytes| i16_from(*bytes, endian).into());
                let is_low = is_at_low_end(samples, 16, valid_bits);
                if is_low { Self::LowBits16(valid_bits, endian) } else { self }
            }
            _ => self,
        }
    }

    /// Returns the number of bytes of a sample.
    pub fn n_bytes(self) -> usize {
        match self {
            Self::U8 | Self::S8 | Self::MuLaw | Self::ALaw => 1,
            Self::S16(_) | Self::LowBits16(..) => 2,
            Self::S24(_) => 3,
            Self::S32(_) | Self::LowBits(..) | Self::F32(_) => 4,
            Self::F64(_) => 8,
        }
    }

    /// Converts whole samples and appends them to `to`. An incomplete last sample is ignored.
    pub(super) fn convert(self, data: &[u8], to: &mut Vec<f32>) {
        let scale = |bits: u16| 1.0 / (1_u64 << (bits - 1)) as f32;
        match self {
            Self::U8 => convert(data, to, |[b]| (f32::from(b) - 128.0) / 128.0),
            Self::S8 => convert(data, to, |[b]| f32::from(b.cast_signed()) / 128.0),
            Self::S16(Endian::Little) => convert(data, to, |b| f32::from(i16::from_le_bytes(b)) / 32_768.0),
            Self::S16(Endian::Big) => convert(data, to, |b| f32::from(i16::from_be_bytes(b)) / 32_768.0),
            Self::S24(Endian::Little) => {
                convert(data, to, |[a, b, c]| (i32::from_le_bytes([0, a, b, c]) >> 8) as f32 / 8_388_608.0);
            }
            Self::S24(Endian::Big) => {
                convert(data, to, |[a, b, c]| (i32::from_be_bytes([a, b, c, 0]) >> 8) as f32 / 8_388_608.0);
            }
            Self::S32(endian) => convert(data, to, |b| i32_from(b, endian) as f32 / 2_147_483_648.0),
            Self::LowBits(bits, endian) => convert(data, to, |b| i32_from(b, endian) as f32 * scale(bits)),
            Self::LowBits16(bits, endian) => {
                convert(data, to, |b| f32::from(i16_from(b, endian)) * scale(bits));
            }
            Self::F32(Endian::Little) => convert(data, to, f32::from_le_bytes),
            Self::F32(Endian::Big) => convert(data, to, f32::from_be_bytes),
            Self::F64(Endian::Little) => convert(data, to, |b| f64::from_le_bytes(b) as f32),
            Self::F64(Endian::Big) => convert(data, to, |b| f64::from_be_bytes(b) as f32),
            Self::MuLaw => convert(data, to, |[b]| f32::from(mu_law(b)) / 32_768.0),
            Self::ALaw => convert(data, to, |[b]| f32::from(a_law(b)) / 32_768.0),
        }
    }
}

fn convert<const BYTES: usize>(data: &[u8], to: &mut Vec<f32>, value: impl Fn([u8; BYTES]) -> f32) {
    to.extend(data.as_chunks().0.iter().map(|sample| value(*sample)));
}

fn i32_from(bytes: [u8; 4], endian: Endian) -> i32 {
    match endian {
        Endian::Little => i32::from_le_bytes(bytes),
        Endian::Big => i32::from_be_bytes(bytes),
    }
}

fn i16_from(bytes: [u8; 2], endian: Endian) -> i16 {
    match endian {
        Endian::Little => i16::from_le_bytes(bytes),
        Endian::Big => i16::from_be_bytes(bytes),
    }
}

/// Returns whether some low bit is set and every sample fits in the low `valid_bits`.
fn is_at_low_end(samples: impl Iterator<Item = i32>, container_bits: u16, valid_bits: u16) -> bool {
    let low_mask = (1 << (container_bits - valid_bits)) - 1;
    // The loop has no branches, so that it uses vector instructions for hundreds of megabytes.
    let (bits, least, most) = samples.fold((0, i32::MAX, i32::MIN), |(bits, least, most), sample| {
        (bits | sample, sample.min(least), sample.max(most))
    });
    let limit = 1_i64 << (valid_bits - 1);
    bits & low_mask != 0 && i64::from(least) >= -limit && i64::from(most) < limit
}

/// Converts a mu-law byte to 16 bits. Source: ITU-T G.711.
fn mu_law(byte: u8) -> i16 {
    const BIAS: i16 = 0x84;
    let byte = !byte;
    let magnitude = ((i16::from(byte & 0x0f) << 3) + BIAS) << ((byte & 0x70) >> 4);
    if byte & 0x80 == 0 { magnitude - BIAS } else { BIAS - magnitude }
}

/// Converts an A-law byte to 16 bits. Source: ITU-T G.711.
fn a_law(byte: u8) -> i16 {
    let byte = byte ^ 0x55;
    let mantissa = i16::from(byte & 0x0f) << 4;
    let magnitude = match (byte & 0x70) >> 4 {
        0 => mantissa + 8,
        exponent => (mantissa + 0x108) << (exponent - 1),
    };
    if byte & 0x80 == 0 { -magnitude } else { magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn companded_samples_are_those_of_g_711() {
        for (byte, expected) in
            [(0xff, 0), (0x7f, 0), (0x80, 32_124), (0x00, -32_124), (0xf0, 120), (0x8f, 16_764)]
        {
            assert_eq!(mu_law(byte), expected, "mu-law {byte:#x}");
        }
        for (byte, expected) in [(0xd5, 8), (0x55, -8), (0xaa, 32_256), (0x2a, -32_256), (0x80, 5_504)] {
            assert_eq!(a_law(byte), expected, "A-law {byte:#x}");
        }
    }

    #[test]
    fn the_samples_decide_where_the_valid_bits_are() {
        let data = |samples: &[i32]| samples.iter().flat_map(|s| s.to_le_bytes()).collect::<Vec<u8>>();
        let s32 = SampleFormat::S32(Endian::Little);
        let cases = [
            ("at the high end", vec![0x7f_ff00, -0x100, 0x1234_5600], s32),
            ("at the low end", vec![0x7f_ffff, -1, 0x12_3456], SampleFormat::LowBits(24, Endian::Little)),
            ("32 bits after all", vec![0x7fff_ffff, 1], s32),
            ("silence", vec![0, 0], s32),
        ];
        for (name, samples, expected) in cases {
            assert_eq!(s32.with_valid_bits(24, &data(&samples)), expected, "{name}");
        }
    }
}
