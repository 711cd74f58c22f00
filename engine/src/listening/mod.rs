//! Turns a decoded recording of several speakers into [`Heard`] in two steps: windows for the segmentation network, then
//! pieces for the encoder. The caller runs network and encoder.

mod signal;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use crate::audio::{self, CompactWaveform, DecodeOptions, Recording};
use crate::diarization::{
    Diarization, Heard, Segmentation, TurnOptions, diarize, pieces, samples_of, spoken_seconds, windows,
};
use crate::encoder::normalized;
use crate::front_end::{FrontEnd, Units};
use crate::models::{ModelSpec, TurnParameters};
use crate::pace::{Cancelled, Pace};
use crate::pipeline::{Pipeline, PipelineError, RecordingOptions, report_of};
use crate::report::{AudioReport, Warning};

pub(crate) use signal::Signal;

/// Ratio of the speech that the voice detector finds to that of the network above which a recording is noise or music
/// rather than speech.
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
    /// Seconds of speech that the voice detector finds.
    detected_seconds: f64,
}

/// The samples of a recording and the parameters for cutting and analysing them.
struct Sound {
    samples: Arc<CompactWaveform>,
    front_end: Arc<FrontEnd>,
    parameters: TurnParameters,
    signal: Signal,
}

/// The segmentation, the pieces in feature frames, the embedding of each piece, and the model's parameters for turns.
type HeardPieces = (Segmentation, Vec<Range<usize>>, Vec<Vec<f32>>, TurnParameters);

/// Facts about a recording for its report.
struct Known {
    report: AudioReport,
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

    /// Measures the recording's signal and cuts it into windows, with the parameters of a model.
    pub fn new(
        pipeline: &Pipeline,
        spec: &ModelSpec,
        recording: Recording<CompactWaveform>,
        pace: Pace<'_>,
    ) -> Result<Self, Cancelled> {
        let mut signal = Signal::default();
        signal.advance(&recording.waveform, true, pace)?;
        let known = Known::new(&recording, &signal);
        let windows = windows(recording.waveform.len());
        let sound = Sound {
            front_end: Arc::clone(pipeline.front_end()),
            parameters: spec.turns_of(known.report.is_narrowband()),
            signal,
            samples: Arc::new(recording.waveform),
        };
        Ok(Self { sound, known, windows })
    }

    /// Returns the input of the segmentation network.
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
            return Err(PipelineError::no_speech(&known.report, known.channels_cancel));
        }
        let pieces = pieces(&segmentation, sound.parameters.max_piece_frames);
        Ok(Listened { sound, known, segmentation, pieces })
    }
}

impl Listened {
    /// Returns the pieces to embed. There are none if all speech overlaps.
    pub fn pieces(&self) -> impl Units + use<> {
        let Sound { samples, front_end, .. } = &self.sound;
        let places = self.pieces.iter().map(samples_of).collect();
        Pieces { samples: Arc::clone(samples), front_end: Arc::clone(front_end), places }
    }

    /// Continues with the embedding of each piece, and drops the samples.
    pub fn conclude(self, units: Vec<Vec<f32>>) -> HeardRecording {
        let Self { sound: Sound { parameters, signal, .. }, known, segmentation, pieces } = self;
        let units = units.into_iter().map(normalized).collect();
        HeardRecording::of_known(known, signal, (segmentation, pieces, units, parameters))
    }
}

impl Known {
    fn new<W>(recording: &Recording<W>, signal: &Signal) -> Self {
        Self {
            report: report_of(recording, signal.level_dbfs()),
            is_clipped: recording.clipped,
            is_truncated: recording.truncated,
            channels_cancel: recording.channels_cancel,
        }
    }
}

impl HeardRecording {
    /// Creates the recording from windows and pieces that were computed one after the other while the audio arrived.
    pub(crate) fn new<W>(recording: &Recording<W>, signal: Signal, heard: HeardPieces) -> Self {
        Self::of_known(Known::new(recording, &signal), signal, heard)
    }

    fn of_known(
        known: Known,
        signal: Signal,
        (segmentation, pieces, units, parameters): HeardPieces,
    ) -> Self {
        let detected_seconds = signal.detected_seconds();
        let levels_db = signal.into_levels_db();
        let heard = Heard { segmentation, pieces, units, levels_db, parameters };
        Self { heard, known, detected_seconds }
    }

    /// Returns whether the recording is noise or music: the voice detector finds far more speech than the turns contain.
    pub(crate) fn is_noise(detected_seconds: f64, speech_seconds: f64) -> bool {
        detected_seconds > NOISE_RATIO * speech_seconds
    }

    fn report(&self, speech_seconds: f64) -> AudioReport {
        let Known { report, is_clipped, is_truncated, .. } = &self.known;
        let mut report = AudioReport { speech_seconds, windows: self.heard.pieces.len(), ..report.clone() };
        let is_noise = Self::is_noise(self.detected_seconds, speech_seconds);
        report.warnings = Warning::that_apply(&report, *is_clipped, *is_truncated, is_noise);
        report
    }

    /// Returns the length of the recording, in seconds.
    pub fn duration_seconds(&self) -> f64 {
        self.known.report.duration_seconds
    }

    /// Determines turns and speakers, and the report on the recording. Fails if there is no speech.
    pub fn diarize(
        &self,
        options: &TurnOptions,
        pace: Pace<'_>,
    ) -> Result<(Diarization, AudioReport), PipelineError> {
        let (found, report) = self.diarize_any(options, pace)?;
        if found.turns.is_empty() {
            return Err(PipelineError::no_speech(&self.known.report, self.known.channels_cancel));
        }
        Ok((found, report))
    }

    /// Like [`HeardRecording::diarize`], but returns no turns if there is no speech.
    pub fn diarize_any(
        &self,
        options: &TurnOptions,
        pace: Pace<'_>,
    ) -> Result<(Diarization, AudioReport), PipelineError> {
        let found = diarize(&self.heard, options, pace)?;
        let report = self.report(spoken_seconds(&found.turns).0);
        Ok((found, report))
    }
}

/// Windows of samples, as units for the segmentation network.
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

/// Pieces of a recording as units for the encoder. Their features are computed on request.
struct Pieces {
    samples: Arc<CompactWaveform>,
    front_end: Arc<FrontEnd>,
    /// The range of each piece, in samples.
    places: Vec<Range<usize>>,
}

impl Units for Pieces {
    fn lengths(&self) -> Vec<usize> {
        self.places.iter().map(|piece| self.front_end.piece_frames(piece.len())).collect()
    }

    fn values(&self, i: usize) -> Cow<'_, [f32]> {
        self.front_end.piece_values(&self.samples, self.places[i].clone()).into()
    }
}
