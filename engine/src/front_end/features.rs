//! The features of an utterance, and the units that an encoder embeds separately.

use std::borrow::Cow;
use std::ops::Range;

use half::f16;
use half::slice::HalfFloatSliceExt;

use ndarray::{Array2, ArrayView2, Axis, CowArray, Ix2, concatenate};

/// The inputs of an encoder, each as a row of values.
pub trait Units: Send + Sync {
    /// Returns the length of each unit, in frames of the encoder's input. Units of equal length can share a call of the
    /// encoder.
    fn lengths(&self) -> Vec<usize>;

    /// Returns the values of unit `i`.
    ///
    /// # Panics
    /// Panics if unit `i` does not exist.
    fn values(&self, i: usize) -> Cow<'_, [f32]>;
}

/// The features of an utterance: frames of bands, and at least one unit that refers to them.
#[derive(Clone, Debug)]
pub struct Features {
    frames: Frames,
    units: Vec<Unit>,
}

/// Frames, `[frames, bands]`, in standard layout.
#[derive(Clone, Debug)]
enum Frames {
    Single(Array2<f32>),
    /// In 16 bits, features that wait for the encoder need half the memory.
    Half(Array2<f16>),
}

/// The input of one embedding: a window or a piece of an utterance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// The unit's frames.
    pub frames: Range<usize>,
    /// The utterance's samples that the frames cover. They may extend past its end, where zeros follow.
    pub samples: Range<usize>,
    /// Whether each band's mean over the unit is subtracted before the encoder receives the frames.
    pub is_centred: bool,
}

impl Features {
    /// Creates features from frames, `[frames, bands]`, and the units that refer to them.
    ///
    /// # Panics
    /// Panics if a unit extends past the frames.
    pub fn new(frames: Array2<f32>, units: Vec<Unit>) -> Self {
        let frames =
            if frames.is_standard_layout() { frames } else { frames.as_standard_layout().into_owned() };
        Self::of(Frames::Single(frames), units)
    }

    /// Like [`Features::new`], with frames in 16 bits.
    pub(super) fn in_half_precision(frames: Array2<f16>, units: Vec<Unit>) -> Self {
        Self::of(Frames::Half(frames), units)
    }

    fn of(frames: Frames, units: Vec<Unit>) -> Self {
        let features = Self { frames, units };
        let n_frames = features.n_frames();
        let is_within = |unit: &Unit| unit.frames.end <= n_frames;
        assert!(features.units.iter().all(is_within), "units lie within {n_frames} frames");
        features
    }

    /// Returns features without frames and units.
    pub fn none() -> Self {
        Self { frames: Frames::Single(Array2::zeros((0, 0))), units: Vec::new() }
    }

    /// Joins features in their order, with the units of all.
    ///
    /// # Panics
    /// Panics if their numbers of bands differ.
    pub fn concatenate(mut all: Vec<Features>) -> Self {
        if all.len() < 2 {
            return all.pop().unwrap_or_else(Self::none);
        }
        let mut units = Vec::new();
        let mut begin = 0;
        for features in &all {
            units.extend(features.units.iter().map(|unit| Unit {
                frames: unit.frames.start + begin..unit.frames.end + begin,
                ..unit.clone()
            }));
            begin += features.n_frames();
        }
        let halves: Option<Vec<ArrayView2<'_, f16>>> = all.iter().map(Features::halves).collect();
        let frames = if let Some(halves) = halves {
            Frames::Half(concatenate(Axis(0), &halves).expect("all have the same bands"))
        } else {
            let frames: Vec<_> = all.iter().map(Features::frames).collect();
            let frames: Vec<ArrayView2<'_, f32>> = frames.iter().map(|frames| frames.view()).collect();
            Frames::Single(concatenate(Axis(0), &frames).expect("all have the same bands"))
        };
        Self::of(frames, units)
    }

    fn halves(&self) -> Option<ArrayView2<'_, f16>> {
        match &self.frames {
            Frames::Half(frames) => Some(frames.view()),
            Frames::Single(_) => None,
        }
    }

    /// Returns the number of frames.
    pub fn n_frames(&self) -> usize {
        match &self.frames {
            Frames::Single(frames) => frames.nrows(),
            Frames::Half(frames) => frames.nrows(),
        }
    }

    /// Returns all frames: `[frames, bands]`.
    pub fn frames(&self) -> CowArray<'_, f32, Ix2> {
        match &self.frames {
            Frames::Single(frames) => frames.view().into(),
            Frames::Half(frames) => frames.mapv(f32::from).into(),
        }
    }

    /// Returns the units, in the order of their starts.
    pub fn units(&self) -> &[Unit] {
        &self.units
    }

    /// Returns the same frames with other units.
    pub(super) fn with_units(&self, units: Vec<Unit>) -> Self {
        Self::of(self.frames.clone(), units)
    }

    /// Returns the values of a range of frames, frame after frame.
    pub(super) fn values_of(&self, Range { start, end }: Range<usize>) -> Cow<'_, [f32]> {
        const STANDARD: &str = "the constructor brings them into this order";

        match &self.frames {
            Frames::Single(frames) => {
                let n = frames.ncols();
                Cow::Borrowed(&frames.as_slice().expect(STANDARD)[start * n..end * n])
            }
            Frames::Half(frames) => {
                let n = frames.ncols();
                let mut values = vec![0.0; (end - start) * n];
                frames.as_slice().expect(STANDARD)[start * n..end * n].convert_to_f32_slice(&mut values);
                Cow::Owned(values)
            }
        }
    }
}

impl Units for Features {
    fn lengths(&self) -> Vec<usize> {
        self.units.iter().map(|unit| unit.frames.len()).collect()
    }

    /// Returns the values frame after frame.
    fn values(&self, i: usize) -> Cow<'_, [f32]> {
        let Unit { frames, is_centred, .. } = &self.units[i];
        let values = self.values_of(frames.clone());
        if !is_centred {
            return values;
        }
        let mut values = values.into_owned();
        subtract_means(&mut values, frames.len());
        values.into()
    }
}

/// Subtracts each band's mean over all frames. `values` contains `n_frames` frames, one after the other.
pub(super) fn subtract_means(values: &mut [f32], n_frames: usize) {
    let n_bands = values.len() / n_frames;
    let mut sums = vec![0.0_f64; n_bands];
    for frame in values.chunks(n_bands) {
        sums.iter_mut().zip(frame).for_each(|(sum, band)| *sum += f64::from(*band));
    }
    let means: Vec<f32> = sums.iter().map(|sum| (sum / n_frames as f64) as f32).collect();
    for frame in values.chunks_mut(n_bands) {
        frame.iter_mut().zip(&means).for_each(|(band, mean)| *band -= mean);
    }
}
