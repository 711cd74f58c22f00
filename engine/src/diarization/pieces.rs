//! Pieces in which one voice is heard alone, and the local speakers that they belong to. Each piece is embedded once.

use std::ops::Range;

use super::windows::{Segmentation, WINDOW_FRAMES, alone, frame_of, speakers};
use crate::models::segmentation::MAX_LOCAL_SPEAKERS;

/// The number of feature frames of the shortest piece, and of the longest silence that a piece may span.
const MIN_FRAMES: usize = 20;
const MAX_GAP_FRAMES: usize = 20;

/// A stretch in which the nearest window hears one and the same local speaker alone.
struct Stretch {
    frames: Range<usize>,
    window: usize,
    speaker: usize,
    /// Whether only silence has followed it so far.
    is_open: bool,
}

/// Returns the pieces of a recording, in feature frames and in order. In a piece, the window with the nearest middle
/// hears one local speaker alone, apart from short silences. A piece longer than `max_frames` is cut into equal parts.
pub fn pieces(segmentation: &Segmentation, max_frames: usize) -> Vec<Range<usize>> {
    owned_pieces(segmentation, max_frames).into_iter().map(|(_, piece)| piece).collect()
}

/// Returns the same pieces, each with the window whose middle is nearest.
pub(crate) fn owned_pieces(segmentation: &Segmentation, max_frames: usize) -> Vec<(usize, Range<usize>)> {
    let mut stretches: Vec<Stretch> = Vec::new();
    for (t, window) in segmentation.owners() {
        let frame = frame_of(t) - segmentation.first_frame(window) as isize;
        let active = segmentation.frames(window)[frame.clamp(0, WINDOW_FRAMES as isize - 1) as usize];
        let Some(speaker) = alone(active) else {
            if let Some(last) = stretches.last_mut() {
                last.is_open &= active == 0;
            }
            continue;
        };
        match stretches.last_mut() {
            Some(last)
                if last.is_open
                    && (last.window, last.speaker) == (window, speaker)
                    && t - last.frames.end <= MAX_GAP_FRAMES =>
            {
                last.frames.end = t + 1;
            }
            _ => stretches.push(Stretch { frames: t..t + 1, window, speaker, is_open: true }),
        }
    }
    let long_enough = stretches.into_iter().filter(|stretch| stretch.frames.len() >= MIN_FRAMES);
    let parts = |Stretch { frames, window, .. }| {
        equal_parts(frames, max_frames).map(move |part| (window, part)).collect::<Vec<_>>()
    };
    long_enough.flat_map(parts).collect()
}

fn equal_parts(frames: Range<usize>, max_frames: usize) -> impl Iterator<Item = Range<usize>> {
    let (start, length) = (frames.start, frames.len());
    let n = length.div_ceil(max_frames);
    (0..n).map(move |i| start + length * i / n..start + length * (i + 1) / n)
}

/// A speaker of one window.
pub(super) struct LocalSpeaker {
    /// The window.
    pub(super) window: usize,
    /// The speaker's number in the window.
    pub(super) number: usize,
    /// For each piece in which the window hears this speaker alone, the piece and the number of such feature frames.
    pub(super) alone: Vec<(usize, usize)>,
}

impl LocalSpeaker {
    /// Returns the number of feature frames of pieces in which this speaker is heard alone.
    pub(super) fn clean_frames(&self) -> usize {
        self.alone.iter().map(|(_, frames)| frames).sum()
    }
}

/// Returns all local speakers that are heard at all, window by window.
pub(super) fn local_speakers(segmentation: &Segmentation, pieces: &[Range<usize>]) -> Vec<LocalSpeaker> {
    let mut found = Vec::new();
    let mut first_piece = 0;
    for window in 0..segmentation.n_windows() {
        let frames = segmentation.frames(window);
        let first = segmentation.first_frame(window) as isize;
        let is_within = |t: &usize| (first..first + WINDOW_FRAMES as isize).contains(&frame_of(*t));
        // Pieces that end before this window also end before all later windows.
        while pieces.get(first_piece).is_some_and(|piece| frame_of(piece.end - 1) < first) {
            first_piece += 1;
        }
        let mut alone_in: [Vec<(usize, usize)>; MAX_LOCAL_SPEAKERS] = Default::default();
        for (piece, range) in pieces.iter().enumerate().skip(first_piece) {
            if frame_of(range.start) >= first + WINDOW_FRAMES as isize {
                break;
            }
            let mut counts = [0; MAX_LOCAL_SPEAKERS];
            for t in range.clone().filter(is_within) {
                if let Some(speaker) = alone(frames[(frame_of(t) - first) as usize]) {
                    counts[speaker] += 1;
                }
            }
            for (of_speaker, count) in alone_in.iter_mut().zip(counts).filter(|(_, count)| *count > 0) {
                of_speaker.push((piece, count));
            }
        }
        let heard = frames.iter().fold(0, |heard, active| heard | active);
        for number in speakers(heard) {
            let alone = std::mem::take(&mut alone_in[number]);
            found.push(LocalSpeaker { window, number, alone });
        }
    }
    found
}
