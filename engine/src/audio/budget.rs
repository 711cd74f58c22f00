//! Limits the cost of decoding a file, regardless of what the file announces.

use super::error::AudioError;
use crate::pace::{Cancelled, Pace};

/// Seconds that may be decoded in excess of the longest recording: delays, padding, and parts that an edit list omits.
const MARGIN_SECONDS: f64 = 1.0;

/// Seconds that are charged for a packet that decodes to nothing and does not state its length.
const EMPTY_PACKET_SECONDS: f64 = 1e-3;

/// Largest number of decoders for a file. Each part of a chained file has a separate decoder.
const MAX_PARTS: usize = 1_000;

/// Limit on the total length of all packets, as a multiple of the file's length. Packets may exceed the file, because
/// some containers omit the first bytes of each packet.
const MAX_COPIES: u64 = 2;

/// Largest number of bytes of packets, or of search steps, between two pauses.
const BYTES_A_SLICE: u64 = 1 << 18;

/// Largest number of seconds of audio between two pauses.
const SECONDS_A_SLICE: f64 = 0.5;

/// The budget of a file. Containers only announce their contents; the budget limits how much of them is decoded.
pub(super) struct Budget<'p> {
    pace: Pace<'p>,
    max_seconds: f64,
    /// Seconds decoded so far, whether heard or not.
    seconds: f64,
    max_bytes: u64,
    /// Bytes of all packets so far.
    bytes: u64,
    n_parts: usize,
    /// Seconds and bytes since the last pause.
    slice: (f64, u64),
}

impl<'p> Budget<'p> {
    /// Creates the budget of a file of `file_len` bytes, for a recording of up to `max_seconds`.
    pub(super) fn new(file_len: usize, max_seconds: f64, pace: Pace<'p>) -> Self {
        let max_bytes = MAX_COPIES * file_len as u64;
        Self { pace, max_seconds, seconds: 0.0, max_bytes, bytes: 0, n_parts: 0, slice: (0.0, 0) }
    }

    /// Rejects a length that exceeds the limit even without everything that may be left out.
    pub(super) fn check_length(&self, seconds: f64) -> Result<(), AudioError> {
        if seconds > self.max_seconds + MARGIN_SECONDS {
            return Err(AudioError::TooLong { max_seconds: self.max_seconds });
        }
        Ok(())
    }

    /// Charges another decoder.
    pub(super) fn take_part(&mut self) -> Result<(), AudioError> {
        self.n_parts += 1;
        if self.n_parts > MAX_PARTS {
            return Err(AudioError::Corrupt(format!("it has more than {MAX_PARTS} parts")));
        }
        Ok(())
    }

    /// Charges another packet of `n_bytes` bytes.
    pub(super) fn take_packet(&mut self, n_bytes: usize) -> Result<(), AudioError> {
        self.bytes += n_bytes as u64;
        if self.bytes > self.max_bytes {
            return Err(AudioError::Corrupt("its tables list more bytes than it holds".into()));
        }
        self.slice.1 += n_bytes as u64 + 1;
        self.pause_after_slice()
    }

    /// Charges decoded audio.
    pub(super) fn take_frames(&mut self, n_frames: usize, sample_rate_hz: u32) -> Result<(), AudioError> {
        self.take_seconds(n_frames as f64 / f64::from(sample_rate_hz.max(1)))
    }

    /// Charges a packet that decoded to nothing, with the length that it should have, if known.
    pub(super) fn take_empty_packet(&mut self, seconds: Option<f64>) -> Result<(), AudioError> {
        self.take_seconds(seconds.unwrap_or(0.0).max(EMPTY_PACKET_SECONDS))
    }

    /// Charges a search through a stretch of bytes.
    pub(super) fn take_search(&mut self) -> Result<(), AudioError> {
        self.slice.1 += BYTES_A_SLICE;
        self.pause_after_slice()
    }

    fn take_seconds(&mut self, seconds: f64) -> Result<(), AudioError> {
        self.seconds += seconds;
        self.check_length(self.seconds)?;
        self.slice.0 += seconds;
        self.pause_after_slice()
    }

    fn pause_after_slice(&mut self) -> Result<(), AudioError> {
        if self.slice.0 >= SECONDS_A_SLICE || self.slice.1 >= BYTES_A_SLICE {
            self.slice = (0.0, 0);
            self.pace.pause().map_err(|Cancelled| AudioError::Cancelled)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_decoded_is_bounded_by_the_limit_and_a_second() {
        let mut budget = Budget::new(100, 2.0, Pace::UNBROKEN);
        for _ in 0..3 {
            budget.take_frames(8_000, 8_000).unwrap();
        }
        assert_eq!(budget.take_frames(1, 8_000), Err(AudioError::TooLong { max_seconds: 2.0 }));
        assert_eq!(budget.check_length(3.0), Ok(()));
        assert!(budget.check_length(3.1).is_err());
    }

    #[test]
    fn packets_without_audio_use_up_the_budget() {
        let mut budget = Budget::new(100, 2.0, Pace::UNBROKEN);
        let taken = (0..10_000).take_while(|_| budget.take_empty_packet(None).is_ok()).count();
        assert!((2_990..=3_010).contains(&taken), "{taken}");
    }

    #[test]
    fn packets_hold_no_more_than_two_copies_of_the_file() {
        let mut budget = Budget::new(100, 2.0, Pace::UNBROKEN);
        assert_eq!((0..10).take_while(|_| budget.take_packet(50).is_ok()).count(), 4);
        let mut budget = Budget::new(100, 2.0, Pace::UNBROKEN);
        assert_eq!((0..2_000).take_while(|_| budget.take_part().is_ok()).count(), MAX_PARTS);
    }

    #[test]
    fn cancelled_work_ends_within_a_second_of_audio() {
        let pause = || Err(Cancelled);
        let mut budget = Budget::new(100, 600.0, Pace::new(&pause));
        let taken = (0..100).take_while(|_| budget.take_frames(800, 8_000).is_ok()).count();
        assert!(taken <= 10, "{taken} tenths of a second");
    }
}
