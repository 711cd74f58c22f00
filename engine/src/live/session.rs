//! A session: audio in, events out, step by step.

use std::borrow::Cow;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use super::events::{LiveEvent, LiveSaid, LiveWarning};
use super::labels::Labels;
use super::transcripts::{LiveTranscriptError, Transcripts};
use super::turns::LiveTurns;
use crate::audio::{
    AudioError, Channel, CompactWaveform, DecodeOptions, RawFormat, RawStream, Recording, SAMPLE_RATE_HZ,
};
use crate::decisions::{LEAST_NAMED_SECONDS, Names};
use crate::diarization::{
    ALIGNED_WINDOWS, Diarization, FEATURE_STEP_SAMPLES, Heard, STEP_SAMPLES, Segmentation, TurnOptions,
    diarize, label, owned_pieces, samples_of, windows,
};
use crate::encoder::normalized;
use crate::front_end::{FrontEnd, Units};
use crate::listening::{HeardRecording, Signal};
use crate::models::segmentation::{FRAME_STEP_SAMPLES, WINDOW_SAMPLES};
use crate::models::{ModelSpec, TurnParameters};
use crate::notation::milliseconds;
use crate::pace::{Cancelled, Pace};
use crate::pipeline::{Pipeline, PipelineError};
use crate::report::{AudioReport, Warning};
use crate::transcript::Transcript;

/// A step leaves this many seconds before the end of the audio to the next step, because the network needs some audio
/// after the speech.
const LOOK_BACK_SECONDS: f64 = 0.5;
const LOOK_BACK_SAMPLES: usize = SAMPLE_RATE_HZ as usize / 2;

/// The seconds between two updates by default.
pub const PARTIAL_SECONDS: f64 = 1.0;

/// The seconds between two updates that a client may ask for.
pub const PARTIAL_SECONDS_RANGE: RangeInclusive<f64> = 0.5..=5.0;

/// Returns the delay, in seconds of audio, after which a sample of speech is part of a turn. Updates come every
/// `partial_seconds`.
pub fn latency_seconds(partial_seconds: f64) -> f64 {
    partial_seconds + LOOK_BACK_SECONDS
}

/// The number of samples in the window that ends with the audio so far.
const LAST_WINDOW_SAMPLES: usize = 5 * SAMPLE_RATE_HZ as usize;

/// The minimum number of windows that a step clusters, if there are as many: four and a half minutes.
const VIEW_WINDOWS: usize = 2 * ALIGNED_WINDOWS;

/// Turns are settled up to this many seconds after the middle of the last regular window. Later windows hardly change them.
const SETTLED_SECONDS: f64 = 1.0;

/// Samples around a piece that its embedding may depend on.
const PIECE_MARGIN_SAMPLES: usize = SAMPLE_RATE_HZ as usize;

/// Seconds of audio after which its quality is judged.
const JUDGED_SECONDS: f64 = 30.0;

/// The options of a session.
#[derive(Clone, Debug)]
pub struct LiveOptions {
    /// The format of the samples.
    pub raw: RawFormat,
    /// The channel, or the mean of all channels.
    pub channel: Channel,
    /// The options for finding turns.
    pub turns: TurnOptions,
    /// The maximum length of the session, in seconds.
    pub max_seconds: f64,
}

/// The purpose of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The step reports what is new.
    Update,
    /// More audio is already waiting, so the step skips optional work and reports only new results.
    CatchUp,
    /// The step settles everything so far.
    Flush,
    /// No more audio comes.
    End,
}

/// Units whose values are already computed.
pub struct Prepared(Vec<(usize, Vec<f32>)>);

impl Units for Prepared {
    fn lengths(&self) -> Vec<usize> {
        self.0.iter().map(|(length, _)| *length).collect()
    }

    fn values(&self, i: usize) -> Cow<'_, [f32]> {
        Cow::Borrowed(&self.0[i].1)
    }
}

/// The audio of a session.
enum SampleSource {
    Open(Box<RawStream>),
    /// `None` if no audio came.
    Ended(Option<Recording<CompactWaveform>>),
}

/// A piece near the end of the audio, whose embedding may be used again.
struct Piece {
    frames: Range<usize>,
    /// The number of samples that existed when it was embedded.
    n_samples: usize,
    unit: Vec<f32>,
}

/// The intermediate results of a step.
struct Step {
    purpose: Purpose,
    /// The starts of the windows for the network, the regular windows first.
    starts: Vec<usize>,
    n_regular: usize,
    /// The pieces to embed.
    new: Vec<Range<usize>>,
}

/// A session.
///
/// A step has three parts, between which the networks run: [`LiveSession::begin`], [`LiveSession::segmented`] and
/// [`LiveSession::embedded`]. [`LiveSession::conclude`] follows the last step.
pub struct LiveSession {
    options: LiveOptions,
    parameters: TurnParameters,
    front_end: Arc<FrontEnd>,
    source: SampleSource,
    signal: Signal,
    /// The segmentation of the regular windows, one every five seconds.
    segmentation: Segmentation,
    /// The window that ends with the audio so far, and the network's output for it.
    last_window: Option<(usize, Vec<f32>)>,
    /// The pieces that no later window changes, and their embeddings.
    pieces: Vec<Range<usize>>,
    units: Vec<Vec<f32>>,
    /// The number of windows whose pieces are in `pieces`.
    n_owners: usize,
    /// The pieces after those, as of the last step.
    late: Vec<Piece>,
    step: Option<Step>,
    turns: LiveTurns,
    labels: Labels,
    transcripts: Transcripts,
    warned: Vec<LiveWarning>,
}

impl LiveSession {
    /// Opens a session for a model. Checks the rate, the number of channels and the selected channel.
    pub fn new(pipeline: &Pipeline, spec: &ModelSpec, options: LiveOptions) -> Result<Self, AudioError> {
        let decode = DecodeOptions { max_seconds: options.max_seconds, channel: options.channel };
        let source = RawStream::new(options.raw, decode)?;
        let is_narrowband = AudioReport::is_narrowband_rate(options.raw.sample_rate_hz);
        Ok(Self {
            parameters: spec.turns_of(is_narrowband),
            front_end: Arc::clone(pipeline.front_end()),
            source: SampleSource::Open(Box::new(source)),
            options,
            signal: Signal::default(),
            segmentation: Segmentation::new(0),
            last_window: None,
            pieces: Vec::new(),
            units: Vec::new(),
            n_owners: 0,
            late: Vec::new(),
            step: None,
            turns: LiveTurns::default(),
            labels: Labels::default(),
            transcripts: Transcripts::default(),
            warned: Vec::new(),
        })
    }

    /// Returns the seconds of audio so far.
    pub fn seconds(&self) -> f64 {
        match &self.source {
            SampleSource::Open(stream) => stream.seconds(),
            SampleSource::Ended(recording) => recording.as_ref().map_or(0.0, |whole| whole.duration_seconds),
        }
    }

    /// Takes the next bytes of audio.
    ///
    /// # Errors
    /// If the bytes are not samples, or if the session exceeds its maximum length.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), AudioError> {
        match &mut self.source {
            SampleSource::Open(stream) => stream.push(bytes),
            SampleSource::Ended(_) => Err(AudioError::Corrupt("the session has ended".into())),
        }
    }

    /// Takes the text of a list of parts of a transcript, in JSON.
    pub fn push_transcript(&mut self, segments: &str) -> Result<(), LiveTranscriptError> {
        self.transcripts.push(segments)
    }

    fn samples(&self) -> Option<&CompactWaveform> {
        match &self.source {
            SampleSource::Open(stream) => Some(stream.samples()),
            SampleSource::Ended(recording) => recording.as_ref().map(|whole| &whole.waveform),
        }
    }

    fn n_samples(&self) -> usize {
        self.samples().map_or(0, CompactWaveform::len)
    }

    /// Begins a step, and returns the input of the segmentation network.
    pub fn begin(
        &mut self,
        purpose: Purpose,
        pace: Pace<'_>,
    ) -> Result<(Prepared, Vec<LiveEvent>), PipelineError> {
        let mut events = Vec::new();
        if purpose == Purpose::End
            && let SampleSource::Open(stream) = &mut self.source
        {
            let (raw, options) = (self.options.raw, DecodeOptions::with_max_seconds(0.0));
            let ended = RawStream::new(raw, DecodeOptions { channel: self.options.channel, ..options })?;
            let stream = std::mem::replace(&mut **stream, ended);
            let recording = stream.finish()?;
            if recording.as_ref().is_some_and(|recording| recording.truncated) {
                events.push(LiveWarning::Truncated.event());
            }
            self.source = SampleSource::Ended(recording);
        }
        let has_ended = purpose == Purpose::End;
        let mut signal = std::mem::take(&mut self.signal);
        let advanced = self.samples().map_or(Ok(()), |samples| signal.advance(samples, has_ended, pace));
        self.signal = signal;
        advanced?;
        let n_samples = self.n_samples();
        self.segmentation.n_samples = n_samples;
        let first = self.segmentation.n_windows() * STEP_SAMPLES;
        let regular = (first..).step_by(STEP_SAMPLES).take_while(|start| start + WINDOW_SAMPLES <= n_samples);
        let mut starts: Vec<usize> = regular.collect();
        let n_regular = starts.len();
        let n_regular_in_all = self.segmentation.n_windows() + n_regular;
        let last = last_range(purpose, n_samples, n_regular_in_all);
        let mut ranges: Vec<Range<usize>> =
            starts.iter().map(|start| *start..start + WINDOW_SAMPLES).collect();
        if let Some(last) = last {
            starts.push(last.start);
            ranges.push(last);
        }
        let values = |range: &Range<usize>| {
            let samples = self.samples().map_or_else(Vec::new, |samples| samples.read(range.clone()));
            (range.len(), samples)
        };
        let prepared = Prepared(ranges.iter().map(values).collect());
        self.step = Some(Step { purpose, starts, n_regular, new: Vec::new() });
        Ok((prepared, events))
    }

    /// Continues a step with the network's output for each window, and returns the input of the encoder.
    pub fn segmented(&mut self, outputs: Vec<Vec<f32>>) -> Prepared {
        let step = self.step.as_mut().expect("a step has begun");
        let mut outputs = outputs.into_iter();
        for (start, output) in step.starts.iter().zip(outputs.by_ref().take(step.n_regular)) {
            self.segmentation.push(*start, &output);
        }
        self.last_window = step.starts.get(step.n_regular).copied().zip(outputs.next());
        let (base, view) = self.view();
        let base_frames = base * STEP_SAMPLES / FEATURE_STEP_SAMPLES;
        let late = owned_pieces(&view, self.parameters.max_piece_frames);
        let late = late.into_iter().filter(|(owner, _)| owner + base >= self.n_owners);
        let late: Vec<Range<usize>> = late.map(|(_, piece)| shifted(&piece, base_frames)).collect();
        let n_samples = self.n_samples();
        // An embedding is used again, unless it was computed from less audio.
        let is_whole = |piece: &Piece| {
            piece.n_samples == n_samples
                || samples_of(&piece.frames).end + PIECE_MARGIN_SAMPLES <= piece.n_samples
        };
        self.late.retain(|piece| is_whole(piece) && late.contains(&piece.frames));
        let is_new = |piece: &&Range<usize>| !self.late.iter().any(|known| known.frames == **piece);
        let new: Vec<Range<usize>> = late.iter().filter(is_new).cloned().collect();
        let values = |piece: &Range<usize>| {
            let samples = samples_of(piece);
            let whole = self.samples().expect("pieces are made of samples");
            (self.front_end.piece_frames(samples.len()), self.front_end.piece_values(whole, samples))
        };
        let prepared = Prepared(new.iter().map(values).collect());
        self.step.as_mut().expect("a step has begun").new = new;
        prepared
    }

    /// Returns the number of the first of the last windows, and these windows as those of a recording that begins there.
    fn view(&self) -> (usize, Segmentation) {
        let base = self.segmentation.n_windows().saturating_sub(VIEW_WINDOWS);
        let base = base.min(self.n_owners) / ALIGNED_WINDOWS * ALIGNED_WINDOWS;
        let mut view = self.segmentation.since_window(base);
        if let Some((start, output)) = &self.last_window {
            view.push(start - base * STEP_SAMPLES, output);
        }
        (base, view)
    }

    /// Ends a step with the embedding of each piece, and returns the new events.
    pub fn embedded(&mut self, units: Vec<Vec<f32>>, pace: Pace<'_>) -> Result<Vec<LiveEvent>, Cancelled> {
        let Step { purpose, n_regular, new, .. } = self.step.take().expect("a step has begun");
        let n_samples = self.n_samples();
        let piece = |(frames, unit)| Piece { frames, n_samples, unit: normalized(unit) };
        self.late.extend(new.into_iter().zip(units).map(piece));
        self.late.sort_by_key(|piece| piece.frames.start);
        self.keep_what_is_certain();
        let events = self.events(purpose, n_regular > 0, pace)?;
        self.forget();
        Ok(events)
    }

    /// Moves pieces from `late` to `pieces`: those of all windows except the last regular one. No later window changes
    /// them.
    fn keep_what_is_certain(&mut self) {
        let n_certain = self.segmentation.n_windows().saturating_sub(1);
        if n_certain <= self.n_owners {
            return;
        }
        let (base, view) = self.view();
        let base_frames = base * STEP_SAMPLES / FEATURE_STEP_SAMPLES;
        let owners = owned_pieces(&view, self.parameters.max_piece_frames);
        for (owner, piece) in owners {
            if (self.n_owners..n_certain).contains(&(owner + base)) {
                let frames = shifted(&piece, base_frames);
                let place = self.late.iter().position(|late| late.frames == frames);
                let Piece { frames, unit, .. } = self.late.remove(place.expect("it was embedded"));
                self.pieces.push(frames);
                self.units.push(unit);
            }
        }
        self.n_owners = n_certain;
    }

    /// Frees samples that are no longer needed.
    fn forget(&mut self) {
        let SampleSource::Open(stream) = &mut self.source else { return };
        // The pieces of the window before the last may still need to be embedded.
        let windows = (self.segmentation.n_windows().saturating_sub(2) * STEP_SAMPLES)
            .saturating_sub(PIECE_MARGIN_SAMPLES);
        stream.forget_before(windows.min(self.signal.needed_from()));
    }

    /// Returns the start of the last minutes, in seconds, and the last minutes, ready for clustering.
    fn heard(&self) -> (f64, Heard) {
        let (base, segmentation) = self.view();
        let base_samples = base * STEP_SAMPLES;
        let base_frames = base_samples / FEATURE_STEP_SAMPLES;
        let first = self.pieces.partition_point(|piece| piece.start < base_frames);
        let certain = self.pieces[first..].iter().zip(&self.units[first..]);
        let late = self.late.iter().map(|piece| (&piece.frames, &piece.unit));
        let (pieces, units) = certain
            .chain(late)
            .map(|(frames, unit)| (frames.start - base_frames..frames.end - base_frames, unit.clone()))
            .unzip();
        let levels_db = self.signal.levels_db().get(base_samples / FRAME_STEP_SAMPLES..);
        let heard = Heard {
            segmentation,
            pieces,
            units,
            levels_db: levels_db.unwrap_or_default().to_vec(),
            parameters: self.parameters,
        };
        (base_samples as f64 / f64::from(SAMPLE_RATE_HZ), heard)
    }

    fn events(
        &mut self,
        purpose: Purpose,
        has_new_window: bool,
        pace: Pace<'_>,
    ) -> Result<Vec<LiveEvent>, Cancelled> {
        let (offset, heard) = self.heard();
        let now = self.n_samples() as f64 / f64::from(SAMPLE_RATE_HZ);
        let found = diarize(&heard, &self.options.turns, pace)?;
        let before: Vec<(Range<f64>, usize)> = self.turns.since(offset).collect();
        let joined_from = self.parameters.joined_from;
        let labels = self.labels.assign(&found, &before, offset, joined_from).to_vec();
        let mut events = Vec::new();
        if has_new_window {
            for (from, into) in self.labels.absorbed(&found, &before, offset) {
                self.turns.merge(from, into);
                events.push(LiveEvent::Merged { from: label(from), into: label(into) });
            }
        }
        let turn = |turn: &crate::diarization::Turn| {
            (turn.seconds.start + offset..turn.seconds.end + offset, labels[turn.speaker])
        };
        let turns = found.turns.iter().map(turn).collect();
        let last_middle = self.segmentation.n_windows() * STEP_SAMPLES;
        let (horizon, settle_until) = match purpose {
            Purpose::Flush | Purpose::End => (now, now),
            Purpose::Update => (now - LOOK_BACK_SECONDS, settled_by(last_middle)),
            Purpose::CatchUp => {
                let settled = settled_by(last_middle);
                (settled, settled)
            }
        };
        events.extend(self.turns.update(turns, horizon, settle_until.min(horizon)));
        if purpose == Purpose::Flush {
            events.push(LiveEvent::Flushed { at: milliseconds(now) });
        }
        self.warn(now, &mut events);
        Ok(events)
    }

    fn warn(&mut self, now: f64, events: &mut Vec<LiveEvent>) {
        let SampleSource::Open(stream) = &self.source else { return };
        if now < JUDGED_SECONDS {
            return;
        }
        let level_dbfs = self.signal.level_dbfs();
        let is_noise = HeardRecording::is_noise(self.signal.detected_seconds(), self.turns.settled_seconds());
        let warnings = [
            (LiveWarning::Noise, is_noise),
            (LiveWarning::Clipped, stream.is_clipped()),
            (LiveWarning::LowLevel, Warning::is_low_level(level_dbfs)),
        ];
        for (warning, applies) in warnings {
            if applies && !self.warned.contains(&warning) {
                self.warned.push(warning);
                events.push(warning.event());
            }
        }
    }

    /// Returns the voices to search for among enrolled speakers, if any of them may have another name by now.
    pub fn due_search(&mut self) -> Option<Diarization> {
        self.labels.due_search(LEAST_NAMED_SECONDS)
    }

    /// Takes the names of the voices that were searched for, and returns the changes as events.
    pub fn name(&mut self, names: &Names) -> Vec<LiveEvent> {
        self.labels.name(names)
    }

    /// Returns the transcripts whose turns are settled, with speakers.
    pub fn settled_transcripts(&mut self) -> Vec<LiveEvent> {
        let mut events = Vec::new();
        let until = match &self.source {
            SampleSource::Open(_) => self.turns.settled_until(),
            SampleSource::Ended(_) => f64::INFINITY,
        };
        let mut turns = None;
        while let Some(transcript) = self.transcripts.next_before(until) {
            let turns = turns.get_or_insert_with(|| self.turns.all());
            let said = |said: crate::transcript::Said| {
                let number = said.speaker.map(|number| self.labels.resolve(number));
                let named = number.and_then(|number| self.labels.name_of(number));
                LiveSaid {
                    start: milliseconds(said.seconds.start),
                    end: milliseconds(said.seconds.end),
                    text: said.text,
                    label: number.map(label),
                    speaker: named.and_then(|named| named.speaker.clone()),
                    name: named.map(|named| named.name.clone()),
                }
            };
            let segments = transcript.assign_speakers(turns).into_iter().map(said).collect();
            events.push(LiveEvent::Transcript { segments });
        }
        events
    }

    /// Ends the session after the last step. Returns the whole recording, ready for clustering, or a report if no audio
    /// came. Also returns the transcript of the recording.
    pub fn conclude(self) -> (Result<HeardRecording, AudioReport>, Option<Transcript>) {
        let SampleSource::Ended(Some(recording)) = self.source else {
            let RawFormat { sample_rate_hz, channels, .. } = self.options.raw;
            return (Err(AudioReport::empty_report(sample_rate_hz, channels)), None);
        };
        let mut segmentation = self.segmentation;
        if let Some((start, output)) = &self.last_window {
            segmentation.push(*start, output);
        }
        let (mut pieces, mut units) = (self.pieces, self.units);
        for Piece { frames, unit, .. } in self.late {
            pieces.push(frames);
            units.push(unit);
        }
        let transcript = self.transcripts.whole(recording.duration_seconds);
        let heard =
            HeardRecording::new(&recording, self.signal, (segmentation, pieces, units, self.parameters));
        (Ok(heard), transcript)
    }
}

/// Returns the window that ends with the audio so far, if it is needed in addition to the regular windows.
fn last_range(purpose: Purpose, n_samples: usize, n_regular: usize) -> Option<Range<usize>> {
    if n_samples == 0 {
        return None;
    }
    let all = windows(n_samples);
    match purpose {
        // This is the last window of a recording that ends here.
        Purpose::Flush | Purpose::End => all.get(n_regular).cloned(),
        // Before the first regular window, the window contains all audio.
        Purpose::Update if n_regular == 0 => all.first().cloned(),
        // The last regular window reaches as far as a step reports.
        Purpose::Update
            if n_samples - (n_regular - 1) * STEP_SAMPLES - WINDOW_SAMPLES <= LOOK_BACK_SAMPLES =>
        {
            None
        }
        Purpose::Update => Some(n_samples - LAST_WINDOW_SAMPLES..n_samples),
        Purpose::CatchUp => None,
    }
}

/// Returns the time before which turns are settled, in seconds. `last_middle` is the sample in the middle of the last
/// regular window.
fn settled_by(last_middle: usize) -> f64 {
    if last_middle == 0 {
        return 0.0;
    }
    last_middle as f64 / f64::from(SAMPLE_RATE_HZ) + SETTLED_SECONDS
}

fn shifted(range: &Range<usize>, by: usize) -> Range<usize> {
    range.start + by..range.end + by
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::{Endian, SampleFormat};
    use crate::diarization::SpeakerCount;
    use crate::listening::Listening;
    use crate::models::segmentation::{CLASSES, n_frames};
    use crate::models::{Model, campplus, resemblyzer};
    use crate::pipeline::{PipelineLimits, RecordingOptions};
    use crate::pseudo_random::PseudoRandom;

    const RAW: RawFormat =
        RawFormat { format: SampleFormat::S16(Endian::Little), sample_rate_hz: 16_000, channels: 1 };

    /// Returns stretches of three "voices", which are tones of different pitch, and pauses.
    fn conversation(seconds: usize, random: &mut PseudoRandom) -> Vec<u8> {
        let mut samples: Vec<i16> = Vec::new();
        while samples.len() < seconds * 16_000 {
            let voice = (random.share() * 4.0) as usize;
            let n = 4_000 + (random.share() * 60_000.0) as usize;
            let pitch = [0.0, 0.05, 0.11, 0.23][voice];
            samples.extend(
                (0..n).map(|i| ((i as f64 * pitch).sin() * 6_000.0 + (random.share() - 0.5) * 200.0) as i16),
            );
        }
        samples.truncate(seconds * 16_000 + 77);
        samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()
    }

    /// Replaces the segmentation network, and tells speakers apart by zero crossings. As in the network's output, a
    /// speaker's number differs from window to window.
    fn segment(window: &[f32]) -> Vec<f32> {
        let turn = (window.iter().map(|sample| sample.abs()).sum::<f32>() * 1e3) as usize % 3;
        let frame = |i: usize| {
            let samples = &window[(i * FRAME_STEP_SAMPLES).min(window.len() - 1)..];
            let samples = &samples[..samples.len().min(990)];
            let level = samples.iter().map(|sample| sample.abs()).fold(0.0, f32::max);
            let crossings = samples.windows(2).filter(|pair| pair[0] * pair[1] < 0.0).count();
            let voice = if level < 0.02 { 0 } else { 1 + (crossings / 18 + turn) % 3 };
            (0..CLASSES).map(move |class| if class == voice { -0.01 } else { -6.0 })
        };
        (0..n_frames(window.len().max(991))).flat_map(frame).collect()
    }

    /// Replaces the encoder, and returns the mean of the features.
    fn embed(dimension: usize, values: &[f32]) -> Vec<f32> {
        let bands = values.len().min(40);
        (0..dimension)
            .map(|i| values.iter().skip(i % bands).step_by(bands).sum::<f32>() / values.len() as f32 + 1e-3)
            .collect()
    }

    fn run(units: &dyn Units, network: impl Fn(&[f32]) -> Vec<f32>) -> Vec<Vec<f32>> {
        (0..units.lengths().len()).map(|i| network(&units.values(i))).collect()
    }

    fn step(session: &mut LiveSession, purpose: Purpose) -> Vec<LiveEvent> {
        let (windows, mut events) = session.begin(purpose, Pace::UNBROKEN).unwrap();
        let pieces = session.segmented(run(&windows, segment));
        let units = run(&pieces, |values| embed(16, values));
        events.extend(session.embedded(units, Pace::UNBROKEN).unwrap());
        events
    }

    fn pipeline(spec: ModelSpec) -> (Pipeline, ModelSpec) {
        let model = Model::new(Arc::new(spec), Vec::new());
        (Pipeline::new(&model, PipelineLimits::default()), (*model.spec).clone())
    }

    fn options(count: SpeakerCount) -> LiveOptions {
        let turns = TurnOptions { count, overlap: true };
        LiveOptions { raw: RAW, channel: Channel::Mix, turns, max_seconds: 7_200.0 }
    }

    /// The result equals that of the file, however the audio is split and whenever a step is made.
    #[test]
    fn the_end_is_what_the_file_gives() {
        let mut random = PseudoRandom(11);
        let lengths = [1, 7, 10, 19, 45, 700];
        for (i, seconds) in lengths.into_iter().enumerate() {
            let spec = if i % 2 == 0 { campplus::spec() } else { resemblyzer::spec() };
            let (pipeline, spec) = pipeline(spec);
            let bytes = conversation(seconds, &mut random);
            let recording = RecordingOptions { raw: Some(RAW), ..RecordingOptions::default() };
            let decoded = Listening::decode(&pipeline, &bytes, recording, Pace::UNBROKEN).unwrap();
            let listening = Listening::new(&pipeline, &spec, decoded, Pace::UNBROKEN).unwrap();
            let outputs = run(&listening.windows(), segment);
            let listened = listening.segmented(&outputs).unwrap();
            let units = run(&listened.pieces(), |values| embed(16, values));
            let options = options(SpeakerCount::default());
            let from_file = listened.conclude(units).diarize(&options.turns, Pace::UNBROKEN).unwrap();

            let mut session = LiveSession::new(&pipeline, &spec, options.clone()).unwrap();
            let mut left = &bytes[..];
            while !left.is_empty() {
                let n = (random.share().powi(4) * 300_000.0) as usize + 1;
                let (piece, later) = left.split_at(n.min(left.len()));
                session.push(piece).unwrap();
                left = later;
                let purpose = [Purpose::Update, Purpose::Update, Purpose::CatchUp, Purpose::Flush];
                step(&mut session, purpose[(random.share() * 3.1) as usize]);
            }
            step(&mut session, Purpose::End);
            let heard = session.conclude().0.unwrap();
            let of_session = heard.diarize(&options.turns, Pace::UNBROKEN).unwrap();
            assert_eq!(of_session, from_file, "{seconds} s");
        }
    }

    #[test]
    fn every_turn_is_settled_once_and_labels_are_not_used_again() {
        let mut random = PseudoRandom(2);
        let (pipeline, spec) = pipeline(campplus::spec());
        let bytes = conversation(400, &mut random);
        let mut session = LiveSession::new(&pipeline, &spec, options(SpeakerCount::Exactly(3))).unwrap();
        let mut events = Vec::new();
        for second in bytes.chunks(32_000) {
            session.push(second).unwrap();
            events.extend(step(&mut session, Purpose::Update));
        }
        events.extend(step(&mut session, Purpose::End));
        let (mut settled, mut merged, mut last_end) = (Vec::new(), Vec::new(), 0.0_f64);
        for event in &events {
            match event {
                LiveEvent::Turn { id, label, start, end, settled: is_settled } => {
                    assert!(!settled.contains(id) && !merged.contains(label) && start <= end, "{event:?}");
                    if *is_settled {
                        settled.push(*id);
                        last_end = last_end.max(*end);
                    }
                }
                LiveEvent::Merged { from, into } => {
                    assert_ne!(from, into);
                    merged.push(from.clone());
                }
                _ => {}
            }
        }
        let ids: std::collections::BTreeSet<u64> = events
            .iter()
            .filter_map(|event| if let LiveEvent::Turn { id, .. } = event { Some(*id) } else { None })
            .collect();
        assert_eq!(settled.len(), ids.len(), "all are settled in the end");
        assert!(ids.len() > 20 && last_end > 390.0, "{} {last_end}", ids.len());
        let SampleSource::Ended(Some(recording)) = &session.source else { panic!("it has ended") };
        assert!(recording.waveform.len() >= 400 * 16_000);
    }

    #[test]
    fn silence_and_nothing_are_sessions_too() {
        let (pipeline, spec) = pipeline(campplus::spec());
        let mut session = LiveSession::new(&pipeline, &spec, options(SpeakerCount::default())).unwrap();
        assert_eq!(step(&mut session, Purpose::Flush), [LiveEvent::Flushed { at: 0.0 }]);
        assert_eq!(step(&mut session, Purpose::End), []);
        let report = session.conclude().0.err().unwrap();
        assert_eq!((report.duration_seconds, report.sample_rate_hz), (0.0, 16_000));

        let mut session = LiveSession::new(&pipeline, &spec, options(SpeakerCount::default())).unwrap();
        let mut events = Vec::new();
        for _ in 0..60 {
            session.push(&vec![0; 32_000]).unwrap();
            events.extend(step(&mut session, Purpose::Update));
        }
        session.push(&[0]).unwrap();
        events.extend(step(&mut session, Purpose::End));
        assert_eq!(events, [LiveWarning::LowLevel.event(), LiveWarning::Truncated.event()]);
        let heard = session.conclude().0.ok().unwrap();
        let (found, report) = heard.diarize_any(&TurnOptions::default(), Pace::UNBROKEN).unwrap();
        assert!(found.turns.is_empty() && found.speakers.is_empty());
        assert_eq!((report.duration_seconds, report.speech_seconds), (60.0, 0.0));
    }
}
