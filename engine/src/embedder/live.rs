//! Runs the steps of live sessions on the queue's workers.

use std::sync::Arc;

use super::embedder::{Admission, EmbedderModel, SegmentationNetwork};
use crate::encoder::EncoderError;
use crate::front_end::Units;
use crate::live::{LiveEvent, LiveSession, Prepared, Purpose};
use crate::pace::Pace;
use crate::pipeline::PipelineError;
use crate::queue::Started;

/// A session after a step, and its new events.
pub struct LiveStep {
    /// The session.
    pub session: Box<LiveSession>,
    /// The new events.
    pub events: Vec<LiveEvent>,
}

impl Admission {
    /// Queues a step of a session. Its input is the audio received since the last step, in order, and the purpose of the
    /// step. A worker calls `done` with the result. If the admission is dropped or a worker panics, the session and
    /// `done` are dropped, and `done` is never called.
    pub fn live_step(
        &self,
        model: &Arc<EmbedderModel>,
        network: SegmentationNetwork,
        mut session: Box<LiveSession>,
        (audio, purpose): (Vec<Vec<u8>>, Purpose),
        done: impl FnOnce(Result<LiveStep, PipelineError>) + Send + 'static,
    ) {
        let model = Arc::clone(model);
        self.start(move || {
            let begun = audio.iter().try_for_each(|bytes| session.push(bytes)).map_err(PipelineError::from);
            drop(audio);
            let (windows, events) = match begun.and_then(|()| session.begin(purpose, Pace::UNBROKEN)) {
                Ok(begun) => begun,
                Err(error) => return Started::Finished(Box::new(move || done(Err(error)))),
            };
            let next = move |outputs: Result<Vec<Vec<f32>>, EncoderError>| {
                let pieces = match outputs {
                    Ok(outputs) => session.segmented(outputs),
                    Err(error) => return Started::Finished(Box::new(move || done(Err(error.into())))),
                };
                let finish = move |units: Result<Vec<Vec<f32>>, EncoderError>| {
                    let step = units.map_err(PipelineError::from).and_then(|units| {
                        let new = session.embedded(units, Pace::UNBROKEN)?;
                        Ok(LiveStep { session, events: events.into_iter().chain(new).collect() })
                    });
                    Started::Finished(Box::new(move || done(step)))
                };
                encoded(model.place, model.frame_cost_ns, pieces, false, finish)
            };
            encoded(network.place, network.sample_cost_ns, windows, true, next)
        });
    }
}

/// Runs a network on units, if there are any.
fn encoded(
    model: usize,
    frame_cost_ns: u32,
    units: Prepared,
    is_continued: bool,
    next: impl FnOnce(Result<Vec<Vec<f32>>, EncoderError>) -> Started + Send + 'static,
) -> Started {
    if units.lengths().is_empty() {
        return next(Ok(Vec::new()));
    }
    Started::Units { model, frame_cost_ns, units: Box::new(units), is_continued, next: Box::new(next) }
}
