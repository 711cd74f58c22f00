//! The embedder's callbacks, awaited.

use tokio::sync::oneshot;

use super::error::ApiError;
use super::layers::time_limit::TimeLimit;
use super::metrics::EmbeddingMetrics;
use super::request::recording::Recording;
use super::state::AppState;
use crate::embedder::{EmbedError, Embedded, EmbeddedVoice, Timings};
use crate::pipeline::Wanted;

/// Embeds a recording with the default model. Dropping the future cancels the work.
pub(super) async fn embed(
    state: &AppState,
    recording: Recording,
    time_limit: &TimeLimit,
) -> Result<(EmbeddedVoice, Timings), ApiError> {
    // A stop waits for requests in hand: whether it has begun does not matter here.
    let embedder = state.embedder.get().ok_or(ApiError::ModelNotReady)?;
    let mut admission = embedder.admit(1)?;
    let _cancel = embedder.cancel_on_drop(&admission);
    let (answer, answered) = oneshot::channel();
    let n_bytes = recording.len();
    embedder.embed(
        embedder.default_model(),
        &mut admission,
        Wanted { deadline: Some(time_limit.deadline()), ..Wanted::default() },
        n_bytes,
        move || recording.unpack(),
        // If the client has gone, the answer cannot be sent.
        move |outcome: Result<Embedded, ApiError>| drop(answer.send(outcome)),
    );
    // The answer is dropped unsent only if a worker panics.
    let outcome = answered.await.map_err(|_| ApiError::Panicked)??;
    count(&state.metrics.embedding, &outcome);
    Ok(outcome.into_whole().map_err(EmbedError::from)?)
}

/// Counts a recording.
pub(super) fn count(metrics: &EmbeddingMetrics, Embedded { voices, timings }: &Embedded) {
    metrics.recordings.inc();
    for voice in voices.iter().flatten() {
        metrics.audio_seconds.inc_by(voice.audio.duration_seconds);
        metrics.speech_seconds.inc_by(voice.audio.speech_seconds);
    }
    for (stage, duration) in timings.stages() {
        metrics.stage_seconds.with_label_values(&[stage]).observe(duration.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, ServeArgs};
    use crate::http::load::load;
    use crate::pipeline::RecordingOptions;
    use clap::Parser;
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        args: ServeArgs,
    }

    /// What was logged.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn state() -> AppState {
        let model = concat!(env!("CARGO_MANIFEST_DIR"), "/models/resemblyzer.onnx");
        let config =
            Config::try_from(Flags::parse_from(["program", "--workers=1", "--model-path", model]).args)
                .unwrap();
        let state = AppState::new(&config);
        assert!(state.embedder.set(load(&config, &state.metrics).unwrap()).is_ok());
        state
    }

    #[tokio::test]
    async fn a_panic_of_a_worker_is_logged_once_and_the_worker_lives_on() {
        let log = Log::default();
        let writer = log.clone();
        tracing_subscriber::fmt().with_writer(move || writer.clone()).init();
        // Tests that fail meanwhile must still say so.
        let of_tests = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| match std::thread::current().name() {
            Some("worker-0") => crate::logging::log_panic(panic),
            _ => of_tests(panic),
        }));

        let state = state();
        let embedder = state.embedder().unwrap();
        let (answer, answered) = oneshot::channel();
        let panics = || -> Result<(Vec<u8>, RecordingOptions), ApiError> { panic!("a bug of ours") };
        let mut admission = embedder.admit(1).unwrap();
        embedder.embed(embedder.default_model(), &mut admission, Wanted::default(), 0, panics, |outcome| {
            let _ = answer.send(outcome.is_ok());
        });
        assert!(answered.await.is_err(), "the callback is dropped");
        let voice = include_bytes!("../../tests/fixtures/audio/alan-1.wav");
        assert!(
            embed(
                &state,
                Recording::File { bytes: voice.as_slice().into(), options: RecordingOptions::default() },
                &TimeLimit::new(std::time::Duration::from_secs(30)),
            )
            .await
            .is_ok()
        );
        assert_eq!(embedder.queue_depth(), 0);
        let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert_eq!(log.matches("a bug of ours").count(), 1, "{log}");
        // Tests beside this one log to the same place.
        let errors = log.lines().filter(|line| line.contains("ERROR") && !line.contains("a request failed"));
        assert_eq!(errors.count(), 1, "{log}");
    }
}
