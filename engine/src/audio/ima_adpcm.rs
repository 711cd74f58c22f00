//! Decodes IMA ADPCM in WAV files.
//!
//! Sources: IMA, *Recommended Practices for Enhancing Digital Audio Compatibility*, 1992, and Microsoft's *Multimedia
//! Data Standards Update*, 1994.
//!
//! According to these, a difference is a sum of shifted steps, each rounded down separately. If a decoder rounds in
//! another way, its errors add up until the end of a block.

use super::bytes::Bytes;

const STEPS: [i32; 89] = [
    7, 8, 9, 10, 11, 12, 13, 14, 16, 17, 19, 21, 23, 25, 28, 31, 34, 37, 41, 45, 50, 55, 60, 66, 73, 80, 88,
    97, 107, 118, 130, 143, 157, 173, 190, 209, 230, 253, 279, 307, 337, 371, 408, 449, 494, 544, 598, 658,
    724, 796, 876, 963, 1_060, 1_166, 1_282, 1_411, 1_552, 1_707, 1_878, 2_066, 2_272, 2_499, 2_749, 3_024,
    3_327, 3_660, 4_026, 4_428, 4_871, 5_358, 5_894, 6_484, 7_132, 7_845, 8_630, 9_493, 10_442, 11_487,
    12_635, 13_899, 15_289, 16_818, 18_500, 20_350, 22_385, 24_623, 27_086, 29_794, 32_767,
];

/// Change of the index into [`STEPS`] for each code without its sign.
const MOVES: [i32; 8] = [-1, -1, -1, -1, 2, 4, 6, 8];

/// Length in bytes of a channel's header, and of a group of its codes. Channels alternate after each group.
const WORD: usize = 4;

/// The state of a channel.
struct AdpcmChannel {
    sample: i32,
    step: i32,
}

impl AdpcmChannel {
    fn next(&mut self, code: u8) -> f32 {
        let step = STEPS[self.step as usize];
        let parts = [(4, step), (2, step >> 1), (1, step >> 2)];
        let of_bits: i32 = parts.iter().filter(|(bit, _)| code & bit != 0).map(|(_, part)| part).sum();
        let difference = (step >> 3) + of_bits;
        let moved = if code & 8 == 0 { self.sample + difference } else { self.sample - difference };
        self.sample = moved.clamp(i16::MIN.into(), i16::MAX.into());
        self.step = (self.step + MOVES[usize::from(code & 7)]).clamp(0, STEPS.len() as i32 - 1);
        self.value()
    }

    fn value(&self) -> f32 {
        self.sample as f32 / 32_768.0
    }
}

/// Decodes a block into interleaved samples. Returns `None` if the block is shorter than its header.
pub(super) fn decode(block: &[u8], n_channels: usize, n_frames: usize, samples: &mut Vec<f32>) -> Option<()> {
    let header = |i: usize| {
        let sample = Bytes(block).u16_le(i * WORD)?.cast_signed();
        let step = Bytes(block).u8(i * WORD + 2)?.min(STEPS.len() as u8 - 1);
        Some(AdpcmChannel { sample: sample.into(), step: step.into() })
    };
    let mut channels: Vec<AdpcmChannel> = (0..n_channels).map(header).collect::<Option<_>>()?;
    samples.resize(n_frames * n_channels, 0.0);
    for (sample, channel) in samples.iter_mut().zip(&channels) {
        *sample = channel.value();
    }
    let mut begin = 1;
    for words in block.get(n_channels * WORD..)?.chunks_exact(n_channels * WORD) {
        for (i, (channel, word)) in channels.iter_mut().zip(words.chunks_exact(WORD)).enumerate() {
            for (j, code) in word.iter().flat_map(|byte| [byte & 15, byte >> 4]).enumerate() {
                let value = channel.next(code);
                if let Some(sample) = samples.get_mut((begin + j) * n_channels + i) {
                    *sample = value;
                }
            }
        }
        begin += 2 * WORD;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sums_of_shifted_steps() {
        // From sample 0 and step 16, the first code adds 16/8 + 16/4 and selects the previous step (14). The second code
        // subtracts 14/8 + 14 + 14/2 + 14/4 and moves 8 steps up.
        let block = [0, 0, 8, 0, 0xf1, 0, 0, 0];
        let mut samples = Vec::new();
        decode(&block, 1, 3, &mut samples).unwrap();
        assert_eq!(
            samples.iter().map(|s| (s * 32_768.0) as i32).collect::<Vec<_>>(),
            [0, 6, 6 - (1 + 14 + 7 + 3)]
        );
        assert!(decode(&block[..3], 1, 3, &mut samples).is_none());
    }

    #[test]
    fn channels_take_turns_by_words() {
        let block = [1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0x44, 0x44, 0x44, 0x44];
        let mut samples = Vec::new();
        decode(&block, 2, 9, &mut samples).unwrap();
        assert_eq!(samples.len(), 18);
        assert!(samples.iter().step_by(2).all(|s| (s * 32_768.0) as i32 == 1), "{samples:?}");
        assert!(samples[1..].chunks(2).map(|pair| pair[0]).is_sorted_by(|a, b| a < b), "{samples:?}");
    }
}
