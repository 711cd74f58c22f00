//! Processes recordings of several speakers on the queue's workers. A recording is decoded, segmented window by window
//! and embedded piece by piece.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{Span, info_span};

use super::embedder::{
    Admission, EmbedError, EmbedderModel, RecordingWork, SegmentationNetwork, Timings, failed,
};
use crate::audio::{Length, SAMPLE_RATE_HZ};
use crate::encoder::EncoderError;
use crate::front_end::Units;
use crate::listening::{HeardRecording, Listening};
use crate::pace::Pace;
use crate::pipeline::{Deadline, PipelineError, RecordingOptions};
use crate::queue::{Estimate, Started};

/// Seconds of audio in all windows for each second of the recording, because windows overlap by half.
const WINDOW_OVERLAP: f64 = 2.0;

/// The options for a recording of several speakers.
#[derive(Clone, Default)]
pub struct WantedTurns {
    /// Called with the length of the recording, in seconds, once it is known.
    pub on_length: Option<Arc<dyn Fn(f64) + Send + Sync>>,
    /// The time when the caller stops waiting, if it is known.
    pub deadline: Option<Deadline>,
}

impl fmt::Debug for WantedTurns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WantedTurns").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

/// A recording after the networks, and the time that each stage took.
pub struct Hearing {
    /// The recording after the networks.
    pub recording: HeardRecording,
    /// The time that each stage took.
    pub timings: Timings,
}

impl Admission {
    /// Queues a recording of several speakers, in the same way as [`Admission::embed`].
    pub fn hear<R: AsRef<[u8]> + Send + 'static, E: From<EmbedError> + Send + 'static>(
        &self,
        model: &Arc<EmbedderModel>,
        network: SegmentationNetwork,
        wanted: WantedTurns,
        n_bytes: usize,
        unpack: impl FnOnce() -> Result<(R, RecordingOptions), E> + Send + 'static,
        done: impl FnOnce(Result<Hearing, E>) + Send + 'static,
    ) {
        let (model, request, submitted) = (Arc::clone(model), Span::current(), Instant::now());
        let work = move || HearingWork { model, network, request, wanted, queue: submitted.elapsed() };
        self.submit(None, n_bytes, work, unpack, done);
    }
}

/// The work on a recording of several speakers.
struct HearingWork {
    model: Arc<EmbedderModel>,
    network: SegmentationNetwork,
    request: Span,
    wanted: WantedTurns,
    /// The time in the queue.
    queue: Duration,
}

impl RecordingWork for HearingWork {
    type Outcome = Hearing;

    fn max_seconds(&self) -> f64 {
        self.model.pipeline.limits().max_turns_seconds
    }

    /// Estimates the work as if the whole recording were speech.
    fn estimate(&self, length: Length) -> Option<Estimate> {
        let deadline = self.wanted.deadline.as_ref()?.for_recording(length.seconds);
        let n_samples = length.seconds * WINDOW_OVERLAP * f64::from(SAMPLE_RATE_HZ);
        let windows_us = n_samples * f64::from(self.network.sample_cost_ns) / 1e3;
        let encode_us = self.model.frame_us(length.seconds);
        Some(Estimate { cost_us: (length.decode_us + windows_us + encode_us) as u64, deadline })
    }

    fn start<R: AsRef<[u8]>, E: From<EmbedError> + Send + 'static>(
        self,
        unpacked: Result<(R, RecordingOptions), E>,
        done: impl FnOnce(Result<Hearing, E>) + Send + 'static,
        pace: Pace<'_>,
    ) -> Started {
        let listening = unpacked
            .and_then(|(bytes, options)| Ok(self.listen(bytes, options, pace).map_err(EmbedError::from)?));
        let (listening, timings) = match listening {
            Ok(listening) => listening,
            Err(error) => return failed(done, error),
        };
        let Self { model, network, request, .. } = self;
        let span = info_span!(parent: &request, "segment");
        let begun = Instant::now();
        let windows = listening.windows();
        let next = move |outputs: Result<Vec<Vec<f32>>, EncoderError>| {
            drop(span);
            let listened =
                outputs.map_err(PipelineError::from).and_then(|outputs| listening.segmented(&outputs));
            let listened = match listened {
                Ok(listened) => listened,
                Err(error) => return failed(done, EmbedError::from(error).into()),
            };
            let span = info_span!(parent: &request, "encode");
            let pieces = listened.pieces();
            let finish = move |units: Result<Vec<Vec<f32>>, EncoderError>| {
                drop(span);
                let heard = units.map(|units| Hearing {
                    recording: listened.conclude(units),
                    timings: Timings { encode: begun.elapsed(), ..timings },
                });
                let heard = heard.map_err(|error| EmbedError::from(PipelineError::from(error)).into());
                Started::Finished(Box::new(move || done(heard)))
            };
            if pieces.lengths().is_empty() {
                return finish(Ok(Vec::new()));
            }
            Started::Units {
                model: model.place,
                frame_cost_ns: model.frame_cost_ns,
                units: Box::new(pieces),
                is_continued: false,
                next: Box::new(finish),
            }
        };
        Started::Units {
            model: network.place,
            frame_cost_ns: network.sample_cost_ns,
            units: Box::new(windows),
            is_continued: true,
            next: Box::new(next),
        }
    }
}

impl HearingWork {
    /// Performs the stages before the network, each in a span of the request.
    fn listen<R: AsRef<[u8]>>(
        &self,
        bytes: R,
        options: RecordingOptions,
        pace: Pace<'_>,
    ) -> Result<(Listening, Timings), PipelineError> {
        let _request = self.request.enter();
        let pipeline = &self.model.pipeline;
        let begun = Instant::now();
        let recording =
            info_span!("decode").in_scope(|| Listening::decode(pipeline, bytes.as_ref(), options, pace))?;
        // The file is no longer needed, and the next stages need memory.
        drop(bytes);
        let decode = begun.elapsed();
        if let Some(on_length) = &self.wanted.on_length {
            on_length(recording.duration_seconds);
        }
        let begun = Instant::now();
        let listening = info_span!("preprocess")
            .in_scope(|| Listening::new(pipeline, &self.model.spec, recording, pace))?;
        let timings =
            Timings { queue: self.queue, decode, preprocess: begun.elapsed(), encode: Duration::ZERO };
        Ok((listening, timings))
    }
}
