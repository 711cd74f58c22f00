//! A decoded recording of several speakers -> [`Heard`], in two steps: windows for the segmentation network, then pieces for the encoder. What
//! runs the two is the caller's.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use crate::audio::{self, CompactWaveform, DecodeOptions, Recording, SAMPLE_RATE_HZ};
use crate::diarization::{
    Diarization, Heard, Segmentation, TurnOptions, diarize, pieces, samples_of, spoken_seconds, windows,
};
use crate::encoder::normalized;
use crate::front_end::{FrontEnd, Units};
use crate::models::segmentation::{FIRST_FRAME_CENTRE, FRAME_STEP_SAMPLES};
use crate::models::{ModelSpec, TurnParameters};
use crate::pace::{Cancelled, Pace};
use crate::pipeline::{Pipeline, PipelineError, RecordingOptions, report_of};
use crate::report::{AudioReport, Warning};
use crate::speech::detector::{DETECTOR_WINDOW_SAMPLES, voice_flags};
use crate::speech::level::{gain_to, level_of};

/// Samples between two pauses of the analysis: half a minute.
const SAMPLES_A_SLICE: usize = 1_000 * DETECTOR_WINDOW_SAMPLES;

/// Added to the power of a frame, so that the level of digital silence is finite: -120 dB.
const SILENCE_POWER: f32 = 1e-12;

/// The voice detector hears so much more speech than the network where a recording is noise or music, rather than speech.
const NOISE_RATIO: f64 = 4.0;

/// A decoded recording, ready for the segmentation network.
pub struct Listening {
    sound: Sound,
    known: Known,
    windows: Vec<Range<usize>>,
}

/// A segmented recording, ready for the encoder.
pub struct Listened {
    sound: Sound,
    known: Known,
    segmentation: Segmentation,
    pieces: Vec<Range<usize>>,
}

/// A recording with its segmentation and embeddings, ready to be clustered.
pub struct HeardRecording {
    heard: Heard,
    known: Known,
}

/// The samples, and how units are made of them.
struct Sound {
    samples: Arc<CompactWaveform>,
    front_end: Arc<FrontEnd>,
    /// What raises the recording to the level that encoders of raised recordings take.
    gain: f32,
    parameters: TurnParameters,
    /// The level of each frame of the segmentation network.
    levels_db: Vec<f32>,
}

/// Facts about a recording for its report.
struct Known {
    report: AudioReport,
    /// Speech by the voice detector.
    detected_seconds: f64,
    is_clipped: bool,
    is_truncated: bool,
    channels_cancel: bool,
}

impl Listening {
    /// Decodes a recording within the pipeline's limit for turns.
    pub fn decode(
        pipeline: &Pipeline,
        bytes: &[u8],
        options: RecordingOptions,
        pace: Pace<'_>,
    ) -> Result<Recording<CompactWaveform>, PipelineError> {
        let RecordingOptions { channel, raw } = options;
        let options = DecodeOptions { max_seconds: pipeline.limits().max_turns_seconds, channel };
        Ok(audio::decode_in_slices::<CompactWaveform>(bytes, raw, options, pace)?)
    }

    /// Looks at a recording for a model.
    pub fn new(
        pipeline: &Pipeline,
        spec: &ModelSpec,
        recording: Recording<CompactWaveform>,
        pace: Pace<'_>,
    ) -> Result<Self, Cancelled> {
        let samples = &recording.waveform;
        let slices = || (0..samples.len()).step_by(SAMPLES_A_SLICE);
        let slice = |start: usize| samples.read(start..(start + SAMPLES_A_SLICE).min(samples.len()));
        let mut energy = 0.0;
        for start in slices() {
            energy += slice(start).iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>();
            pace.pause()?;
        }
        let level_dbfs = level_of(energy, samples.len());
        let gain = gain_to(level_dbfs);
        let levels_db = frame_levels_db(samples, pace)?;
        let mut n_voiced = 0;
        for start in slices() {
            n_voiced +=
                voice_flags(&slice(start), gain, pace)?.into_iter().filter(|is_voiced| *is_voiced).count();
        }
        let report = report_of(&recording, level_dbfs);
        let windows = windows(samples.len());
        let sound = Sound {
            front_end: Arc::clone(pipeline.front_end()),
            gain,
            parameters: if report.is_narrowband() { spec.narrowband_turns } else { spec.turns },
            levels_db,
            samples: Arc::new(recording.waveform),
        };
        let known = Known {
            report,
            detected_seconds: (n_voiced * DETECTOR_WINDOW_SAMPLES) as f64 / f64::from(SAMPLE_RATE_HZ),
            is_clipped: recording.clipped,
            is_truncated: recording.truncated,
            channels_cancel: recording.channels_cancel,
        };
        Ok(Self { sound, known, windows })
    }

    /// The input of the segmentation network.
    pub fn windows(&self) -> impl Units + use<> {
        Windows { samples: Arc::clone(&self.sound.samples), windows: self.windows.clone() }
    }

    /// Continues with the network's output for each window.
    pub fn segmented(self, outputs: &[Vec<f32>]) -> Result<Listened, PipelineError> {
        let Self { sound, known, windows } = self;
        let mut segmentation = Segmentation::new(sound.samples.len());
        for (window, output) in windows.iter().zip(outputs) {
            segmentation.push(window.start, output);
        }
        if !segmentation.has_speech() {
            return Err(PipelineError::NoSpeech { channels_cancel: known.channels_cancel });
        }
        let pieces = pieces(&segmentation, sound.parameters.max_piece_frames);
        Ok(Listened { sound, known, segmentation, pieces })
    }
}

impl Listened {
    /// The pieces to embed. There are none if all speech overlaps.
    pub fn pieces(&self) -> impl Units + use<> {
        let Sound { samples, front_end, gain, .. } = &self.sound;
        let places = self.pieces.iter().map(samples_of).collect();
        Pieces { samples: Arc::clone(samples), front_end: Arc::clone(front_end), gain: *gain, places }
    }

    /// Continues with the embedding of each piece, and drops the samples.
    pub fn heard(self, units: Vec<Vec<f32>>) -> HeardRecording {
        let Self { sound: Sound { parameters, levels_db, .. }, known, segmentation, pieces } = self;
        let units = units.into_iter().map(normalized).collect();
        HeardRecording { heard: Heard { segmentation, pieces, units, levels_db, parameters }, known }
    }
}

impl HeardRecording {
    /// Length of the recording, in seconds.
    pub fn duration_seconds(&self) -> f64 {
        self.known.report.duration_seconds
    }

    /// Turns and speakers, and the report on the recording.
    pub fn diarize(
        &self,
        options: &TurnOptions,
        pace: Pace<'_>,
    ) -> Result<(Diarization, AudioReport), PipelineError> {
        let found = diarize(&self.heard, options, pace)?;
        let Known { detected_seconds, report, is_clipped, is_truncated, channels_cancel } = &self.known;
        if found.turns.is_empty() {
            return Err(PipelineError::NoSpeech { channels_cancel: *channels_cancel });
        }
        let mut report = report.clone();
        report.speech_seconds = spoken_seconds(&found.turns).0;
        report.windows = self.heard.pieces.len();
        let is_noise = *detected_seconds > NOISE_RATIO * report.speech_seconds;
        report.warnings = Warning::that_apply(&report, *is_clipped, *is_truncated, is_noise);
        Ok((found, report))
    }
}

/// The level of each frame of the segmentation network, in dB.
fn frame_levels_db(samples: &CompactWaveform, pace: Pace<'_>) -> Result<Vec<f32>, Cancelled> {
    /// Frames between two pauses of the analysis: half a minute.
    const FRAMES_A_SLICE: usize = 1_800;

    let first = FIRST_FRAME_CENTRE - FRAME_STEP_SAMPLES / 2;
    let n_frames = samples.len().saturating_sub(first) / FRAME_STEP_SAMPLES;
    let mut levels = Vec::with_capacity(n_frames);
    while levels.len() < n_frames {
        let n = FRAMES_A_SLICE.min(n_frames - levels.len());
        let start = first + levels.len() * FRAME_STEP_SAMPLES;
        let slice = samples.read(start..start + n * FRAME_STEP_SAMPLES);
        levels.extend(slice.chunks(FRAME_STEP_SAMPLES).map(|frame| {
            let power = frame.iter().map(|sample| sample * sample).sum::<f32>() / frame.len() as f32;
            10.0 * (power + SILENCE_POWER).log10()
        }));
        pace.pause()?;
    }
    Ok(levels)
}

/// Windows of samples.
struct Windows {
    samples: Arc<CompactWaveform>,
    windows: Vec<Range<usize>>,
}

impl Units for Windows {
    fn lengths(&self) -> Vec<usize> {
        self.windows.iter().map(ExactSizeIterator::len).collect()
    }

    fn values(&self, i: usize) -> Cow<'_, [f32]> {
        self.samples.read(self.windows[i].clone()).into()
    }
}

/// Pieces, whose features are computed when they are asked for.
struct Pieces {
    samples: Arc<CompactWaveform>,
    front_end: Arc<FrontEnd>,
    gain: f32,
    /// Where each is, in samples.
    places: Vec<Range<usize>>,
}

impl Units for Pieces {
    fn lengths(&self) -> Vec<usize> {
        self.places.iter().map(|piece| self.front_end.piece_frames(piece.len())).collect()
    }

    fn values(&self, i: usize) -> Cow<'_, [f32]> {
        self.front_end.piece_values(&self.samples, self.places[i].clone(), self.gain).into()
    }
}
