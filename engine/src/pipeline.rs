//! The stages that turn the bytes of an audio file into an [`Embedding`], in order.

use std::ops::{Range, RangeInclusive};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::audio::{
    self, AudioError, Channel, DecodeOptions, RawFormat, Recording, SAMPLE_RATE_HZ, Waveform,
};
use crate::compare::fall_into_two_voices;
use crate::embedding::{Embedding, ModelId};
use crate::encoder::{self, EncoderError, Session, mean_embedding};
use crate::front_end::{Features, FrontEnd};
use crate::models::Model;
use crate::pace::{Cancelled, Pace};
use crate::report::{AudioReport, Warning};
use crate::speech::{Utterance, level};

/// Seconds by which a segment may end after the recording, because clients round times.
const ROUNDING_SECONDS: f64 = 0.05;

/// Turns recordings into the input of one model's encoder. Create it once and share it.
pub struct Pipeline {
    model: ModelId,
    limits: PipelineLimits,
    front_end: Arc<FrontEnd>,
    several_speakers: bool,
}

/// Limits on the duration of audio and speech.
#[derive(Clone, Copy, Debug)]
pub struct PipelineLimits {
    /// The longest accepted recording, in seconds.
    pub max_audio_seconds: f64,
    /// The least accepted speech, in seconds; 0 accepts any amount.
    pub min_speech_seconds: f64,
    /// The longest accepted recording for diarization, in seconds.
    pub max_turns_seconds: f64,
}

/// Options for decoding a recording.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordingOptions {
    /// The channel to use.
    pub channel: Channel,
    /// The format of the samples, if they have no header.
    pub raw: Option<RawFormat>,
}

/// The results to compute for a recording besides its embedding.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The embeddings of windows.
    pub partials: Option<WantedPartials>,
    /// Stretches, in seconds, to embed separately instead of the whole recording.
    pub segments: Option<Vec<Range<f64>>>,
    /// Whether the report lists the stretches of speech.
    pub speech: bool,
    /// The time after which the client no longer waits for the result, if known.
    pub deadline: Option<Deadline>,
}

/// The time after which the client no longer waits for a recording's result.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    /// The time for a recording of zero length.
    pub at: Instant,
    /// Seconds added for each second of the recording.
    pub for_each_second: f64,
}

impl Deadline {
    /// Returns the deadline of a recording that lasts `seconds`.
    pub fn for_recording(&self, seconds: f64) -> Instant {
        let more = (seconds * self.for_each_second).clamp(0.0, MAX_MORE_SECONDS);
        self.at + Duration::from_secs_f64(more)
    }
}

/// A bound in seconds, above the time that any recording adds to its deadline.
const MAX_MORE_SECONDS: f64 = 1e6;

/// The window embeddings to compute.
#[derive(Clone, Debug)]
pub struct WantedPartials {
    /// Windows per second; `None` means the model's own rate.
    pub rate: Option<f64>,
    /// The number of windows still allowed, shared by the recordings of a request.
    pub left: Arc<AtomicUsize>,
}

impl WantedPartials {
    /// The rates that can be requested, in windows per second. At the lowest rate, Resemblyzer's windows leave no gap.
    pub const RATES: RangeInclusive<f64> = 0.625..=16.0;
}

/// A recording or a segment of it, ready for the encoder.
#[derive(Clone, Debug)]
pub struct Analysis {
    /// The input of the encoder.
    pub features: Features,
    /// Start and end of each unit of the features, in seconds of the recording. A unit may span pauses that were cut out.
    pub unit_seconds: Vec<Range<f64>>,
    /// The report on the recording.
    pub report: AudioReport,
    /// The windows of partials with the start and end of each. `None` if partials are not wanted or are the units.
    pub other_windows: Option<(Features, Vec<Range<f64>>)>,
}

/// The reason that a recording has no embedding.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The bytes are not a recording.
    #[error(transparent)]
    Audio(#[from] AudioError),
    /// The voice detector finds no speech.
    #[error("No speech was found in the audio{}{}", length_and_level(*.found), cancelling_hint(*.channels_cancel))]
    NoSpeech {
        /// The length in seconds and the level in dBFS, unless the recording is empty.
        found: Option<(f64, f64)>,
        /// Whether the channels cancel each other in their mean.
        channels_cancel: bool,
    },
    /// The recording contains less speech than [`PipelineLimits::min_speech_seconds`].
    #[error("The audio holds {speech_seconds:.2} seconds of speech; at least {min_seconds} are needed")]
    TooShort {
        /// The duration of the speech found.
        speech_seconds: f64,
        /// The limit.
        min_seconds: f64,
    },
    /// A segment begins or ends after the end of the recording.
    #[error("segments[{index}] ends at {end} s, but the recording is {duration_seconds:.3} s long")]
    SegmentPastEnd {
        /// The segment's index in the list.
        index: usize,
        /// The segment's end, in seconds.
        end: f64,
        /// Length of the recording.
        duration_seconds: f64,
    },
    /// The segments together are longer than a recording may be.
    #[error("The segments together are {seconds:.0} s long; at most {max_seconds} are allowed")]
    SegmentsTooLong {
        /// The total length of the segments.
        seconds: f64,
        /// [`PipelineLimits::max_audio_seconds`].
        max_seconds: f64,
    },
    /// The request needs more windows than [`WantedPartials::left`] allows.
    #[error("There are too many partials; ask for a lower rate, or for fewer recordings")]
    TooManyPartials,
    /// The work was cancelled because no client waits for its result any more.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// The encoder failed. The recording is not the cause.
    #[error(transparent)]
    Encoder(#[from] EncoderError),
}

fn length_and_level(found: Option<(f64, f64)>) -> String {
    match found {
        None => String::new(),
        Some((seconds, f64::NEG_INFINITY)) => format!(": {seconds:.1} s of digital silence"),
        Some((seconds, dbfs)) => format!(": {seconds:.1} s at a level of {dbfs:.0} dBFS"),
    }
}

fn cancelling_hint(channels_cancel: bool) -> &'static str {
    if channels_cancel { "; its channels cancel each other, take one of them with `channel`" } else { "" }
}

impl Analysis {
    /// Takes the features out for the encoder: first those of the units, then those of partials.
    pub fn take_features(&mut self) -> Vec<Features> {
        let own = std::mem::replace(&mut self.features, Features::none());
        let other =
            self.other_windows.as_mut().map(|(windows, _)| std::mem::replace(windows, Features::none()));
        std::iter::once(own).chain(other).collect()
    }
}

impl Wanted {
    /// Deducts the windows of an analysis from those still allowed, if partials are wanted.
    fn take_partials(&self, analysis: &Analysis) -> Result<(), PipelineError> {
        let Some(partials) = &self.partials else { return Ok(()) };
        let n = analysis.other_windows.as_ref().map_or(analysis.unit_seconds.len(), |(_, times)| times.len());
        let taken =
            partials.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(n));
        taken.map(drop).map_err(|_| PipelineError::TooManyPartials)
    }
}

impl Default for PipelineLimits {
    /// Allows at most ten minutes of audio and any amount of speech.
    fn default() -> Self {
        Self { max_audio_seconds: 600.0, min_speech_seconds: 0.0, max_turns_seconds: 7_200.0 }
    }
}

impl Pipeline {
    /// Creates a pipeline and prepares everything that does not depend on a recording.
    pub fn new(model: &Model, limits: PipelineLimits) -> Self {
        let spec = &model.spec;
        let front_end = Arc::new(FrontEnd::new(spec.front_end));
        Self { model: model.id.clone(), limits, front_end, several_speakers: spec.several_speakers }
    }

    /// Returns the model that the pipeline serves.
    pub fn model(&self) -> &ModelId {
        &self.model
    }

    /// Decodes an audio file, or samples without a header, into a recording within the limit.
    pub fn decode(&self, bytes: &[u8], options: RecordingOptions) -> Result<Recording, PipelineError> {
        self.decode_in_slices(bytes, options, Pace::UNBROKEN)
    }

    /// Like [`Pipeline::decode`], but pauses between slices.
    pub fn decode_in_slices(
        &self,
        bytes: &[u8],
        options: RecordingOptions,
        pace: Pace<'_>,
    ) -> Result<Recording, PipelineError> {
        let RecordingOptions { channel, raw } = options;
        let options = DecodeOptions { max_seconds: self.limits.max_audio_seconds, channel };
        Ok(audio::decode_in_slices::<Vec<f32>>(bytes, raw, options, pace)?)
    }

    /// Returns the limits on the duration of audio and speech.
    pub fn limits(&self) -> PipelineLimits {
        self.limits
    }

    /// Returns the front end, which computes features.
    pub fn front_end(&self) -> &Arc<FrontEnd> {
        &self.front_end
    }

    /// Runs the stages between decoder and encoder: level, voice detection, spectrogram, windows.
    pub fn analyse(&self, recording: Recording) -> Result<Analysis, PipelineError> {
        self.analyse_part(recording, &Wanted::default(), 0.0, Pace::UNBROKEN)
    }

    /// Analyses the whole recording or each of its wanted segments, in slices. A segment without speech yields an error
    /// in the list.
    pub fn analyse_wanted(
        &self,
        recording: Recording,
        wanted: &Wanted,
        pace: Pace<'_>,
    ) -> Result<Vec<Result<Analysis, PipelineError>>, PipelineError> {
        let Some(segments) = &wanted.segments else {
            let analysis = self.analyse_part(recording, wanted, 0.0, pace)?;
            wanted.take_partials(&analysis)?;
            return Ok(vec![Ok(analysis)]);
        };
        let duration_seconds = recording.duration_seconds;
        let past_end = segments.iter().position(|segment| segment.end > duration_seconds + ROUNDING_SECONDS);
        if let Some(index) = past_end {
            return Err(PipelineError::SegmentPastEnd { index, end: segments[index].end, duration_seconds });
        }
        let seconds = segments.iter().map(|segment| segment.end - segment.start).sum();
        let max_seconds = self.limits.max_audio_seconds;
        if seconds > max_seconds {
            return Err(PipelineError::SegmentsTooLong { seconds, max_seconds });
        }
        let samples = recording.waveform.samples();
        let sample_at =
            |seconds: f64| ((seconds * f64::from(SAMPLE_RATE_HZ)).round() as usize).min(samples.len());
        let cut = |segment: &Range<f64>| {
            let (start, end) = (sample_at(segment.start), sample_at(segment.end));
            let waveform = Waveform::new(samples[start..end.max(start)].to_vec())
                .map_err(|_| PipelineError::NoSpeech { found: None, channels_cancel: false })?;
            let part = Recording {
                waveform,
                duration_seconds: (end - start) as f64 / f64::from(SAMPLE_RATE_HZ),
                sample_rate_hz: recording.sample_rate_hz,
                channels: recording.channels,
                clipped: recording.clipped,
                truncated: recording.truncated,
                channels_cancel: recording.channels_cancel,
            };
            self.analyse_part(part, wanted, segment.start, pace)
        };
        let mut analyses = Vec::with_capacity(segments.len());
        for segment in segments {
            let part = cut(segment);
            pace.pause()?;
            part.iter().try_for_each(|analysis| wanted.take_partials(analysis))?;
            analyses.push(part);
        }
        Ok(analyses)
    }

    /// Like [`Pipeline::analyse`], for a part that begins at `begins_at` seconds of a longer recording.
    fn analyse_part(
        &self,
        recording: Recording,
        wanted: &Wanted,
        begins_at: f64,
        pace: Pace<'_>,
    ) -> Result<Analysis, PipelineError> {
        let mut report = report_of(&recording, level::level_dbfs(recording.waveform.samples()));
        let utterance = Utterance::detect(recording.waveform, self.front_end.pauses(), pace)?;
        let utterance =
            utterance.ok_or_else(|| PipelineError::no_speech(&report, recording.channels_cancel))?;
        report.speech_seconds = utterance.speech_seconds();
        let min_seconds = self.limits.min_speech_seconds;
        if report.speech_seconds < min_seconds {
            return Err(PipelineError::TooShort { speech_seconds: report.speech_seconds, min_seconds });
        }

        let features = self.front_end.features(&utterance, pace)?;
        report.windows = features.units().len();
        let is_noise = self.front_end.hardly_moves(&utterance, &features);
        report.warnings = Warning::that_apply(&report, recording.clipped, recording.truncated, is_noise);
        let moved = |range: Range<f64>| range.start + begins_at..range.end + begins_at;
        let times = |features: &Features| -> Vec<Range<f64>> {
            let seconds =
                features.units().iter().map(|unit| utterance.seconds_in_recording(unit.samples.clone()));
            seconds.map(moved).collect()
        };
        report.speech_segments = wanted.speech.then(|| utterance.stretches_seconds().map(moved).collect());
        let other_windows = wanted
            .partials
            .as_ref()
            .map(|partials| self.front_end.partials(&utterance, &features, partials.rate, pace))
            .transpose()?
            .flatten()
            .map(|windows| {
                let times = times(&windows);
                (windows, times)
            });
        let unit_seconds = times(&features);
        Ok(Analysis { features, unit_seconds, report, other_windows })
    }

    /// Runs all stages on the calling thread, with a session of the same model.
    pub fn embed(
        &self,
        session: &mut Session,
        bytes: &[u8],
    ) -> Result<(Embedding, AudioReport), PipelineError> {
        self.embed_recording(session, self.decode(bytes, RecordingOptions::default())?)
    }

    /// Like [`Pipeline::embed`], for a decoded recording.
    pub fn embed_recording(
        &self,
        session: &mut Session,
        recording: Recording,
    ) -> Result<(Embedding, AudioReport), PipelineError> {
        let Analysis { features, report, .. } = self.analyse(recording)?;
        let units = encoder::embed_units(session, &features)?;
        Ok(self.conclude(&units, report)?)
    }

    /// Computes the embedding of a recording from those of its units, and completes its report.
    pub fn conclude(
        &self,
        units: &[Vec<f32>],
        mut report: AudioReport,
    ) -> Result<(Embedding, AudioReport), EncoderError> {
        let embedding = mean_embedding(&self.model, units)?;
        if self.several_speakers && fall_into_two_voices(units) {
            report.warnings.push(Warning::SeveralSpeakers);
        }
        Ok((embedding, report))
    }
}

/// Returns the report on a recording before its analysis.
pub(crate) fn report_of<W>(recording: &Recording<W>, level_dbfs: f64) -> AudioReport {
    let Recording { duration_seconds, sample_rate_hz, channels, .. } = *recording;
    AudioReport { duration_seconds, level_dbfs, ..AudioReport::empty_report(sample_rate_hz, channels) }
}

impl PipelineError {
    /// Returns the error for a recording, described by its report, in which no speech was found.
    pub(crate) fn no_speech(report: &AudioReport, channels_cancel: bool) -> Self {
        Self::NoSpeech { found: Some((report.duration_seconds, report.level_dbfs)), channels_cancel }
    }

    /// Returns the error code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Audio(AudioError::Unsupported(_)) => "unsupported_audio",
            Self::Audio(AudioError::Corrupt(_)) => "corrupt_audio",
            Self::Audio(AudioError::TooLong { .. }) => "audio_too_long",
            Self::Audio(AudioError::NoSuchChannel { .. })
            | Self::SegmentPastEnd { .. }
            | Self::TooManyPartials
            | Self::SegmentsTooLong { .. } => "validation_error",
            Self::NoSpeech { .. } => "no_speech",
            Self::TooShort { .. } => "audio_too_short",
            // No client waits for the result of a cancelled recording.
            Self::Encoder(_) | Self::Cancelled(_) | Self::Audio(AudioError::Cancelled) => "internal",
        }
    }
}
