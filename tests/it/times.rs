//! Times refer to the recording before any trimming.

use voice_embedding_service::audio::Waveform;
use voice_embedding_service::pace::Pace;
use voice_embedding_service::pipeline::RecordingOptions;
use voice_embedding_service::speech::{Pauses, Utterance};

use super::support::{pipeline, voice_samples, wav};

/// The voice detector cuts at multiples of 30 ms.
const TOLERANCE_SECONDS: f64 = 0.03;

const CLICK_SECONDS: f64 = 7.0;

/// 5 ms of a square wave at 2 kHz.
const CLICK_SAMPLES: usize = 80;

/// Returns a pause, a sentence, a pause and a sentence with a click in it, at 16 kHz.
fn samples() -> Vec<f32> {
    let pause = |seconds: f64| vec![0.0; (seconds * 16_000.0) as usize];
    let voice = voice_samples();
    let mut samples = [&pause(1.0)[..], &voice[8_000..56_000], &pause(1.5), &voice[8_000..]].concat();
    let click = (CLICK_SECONDS * 16_000.0) as usize;
    samples[click..click + CLICK_SAMPLES].iter_mut().enumerate().for_each(|(i, sample)| {
        *sample = if i / 4 % 2 == 0 { 1.0 } else { -1.0 };
    });
    samples
}

/// Returns the index of the first of the largest magnitudes.
fn loudest(values: impl Iterator<Item = f32>) -> usize {
    let values: Vec<f32> = values.map(f32::abs).collect();
    let largest = values.iter().copied().fold(0.0, f32::max);
    values.iter().position(|value| *value == largest).unwrap()
}

#[test]
fn a_sample_of_the_utterance_is_found_in_the_recording() {
    let utterance = Utterance::detect(Waveform::new(samples()).unwrap(), Pauses::Cut, Pace::UNBROKEN);
    let utterance = utterance.unwrap().unwrap();
    assert!(utterance.speech_seconds() < 10.2, "both pauses are cut out");
    let click = loudest(utterance.samples().iter().copied());
    let found = utterance.seconds_in_recording(click..click + 1).start;
    assert!((found - CLICK_SECONDS).abs() < 1e-9, "found at {found} s");
}

#[test]
fn windows_know_when_they_begin_and_end() {
    let pipeline = pipeline();
    let analysis =
        pipeline.analyse(pipeline.decode(&wav(samples()), RecordingOptions::default()).unwrap()).unwrap();
    let frames = analysis.features.frames();
    let click = loudest(frames.rows().into_iter().map(|frame| frame.sum()));
    let mut n_with_click = 0;
    for (unit, seconds) in analysis.features.units().iter().zip(&analysis.unit_seconds) {
        assert!(
            seconds.start < seconds.end && seconds.end <= analysis.report.duration_seconds,
            "{seconds:?}"
        );
        if unit.frames.contains(&click) {
            n_with_click += 1;
            let around = seconds.start - TOLERANCE_SECONDS..seconds.end + TOLERANCE_SECONDS;
            assert!(around.contains(&CLICK_SECONDS), "the click is in a window of {seconds:?}");
            // The click's place in the window gives its time, since no pause lies between it and the end of the window.
            let in_window = (click - unit.frames.start) as f64 * 0.01;
            let pauses = (seconds.end - seconds.start) - 1.6;
            let found = seconds.start + in_window + if pauses > TOLERANCE_SECONDS { pauses } else { 0.0 };
            assert!((found - CLICK_SECONDS).abs() < TOLERANCE_SECONDS, "found at {found} s");
        }
    }
    assert!(n_with_click >= 2, "windows overlap: {n_with_click} hold the click");
}
