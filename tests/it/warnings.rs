//! When the warnings `noise` and `several_speakers` occur, and when they must not.

use std::path::Path;

use voice_embedding_service::audio::{self, DecodeOptions};
use voice_embedding_service::encoder::Session;
use voice_embedding_service::pipeline::{Pipeline, PipelineError};
use voice_embedding_service::report::Warning;

use super::support::{
    campplus_pipeline, campplus_session, fixture, golden, parity_data, pipeline, session, wav,
};

const RATE_HZ: f64 = 16_000.0;

/// Returns the warnings about a recording, or `None` if the voice detector finds no speech in it.
fn warnings(pipeline: &Pipeline, session: &mut Session, recording: &[u8]) -> Option<Vec<Warning>> {
    match pipeline.embed(session, recording) {
        Ok((_, report)) => Some(report.warnings),
        Err(PipelineError::NoSpeech { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

/// Returns evenly distributed numbers from -1 to 1 (Knuth's multiplier).
fn random(seed: u64) -> impl Iterator<Item = f32> {
    let mut state = seed;
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) as f32 / (1u64 << 30) as f32) - 1.0
    })
}

/// Returns noise that falls by 3 dB per octave (Kellet's filter, refined).
fn pink(seed: u64) -> impl Iterator<Item = f32> {
    const POLES: [f32; 5] = [0.998_86, 0.993_32, 0.969, 0.866_5, 0.55];
    const GAINS: [f32; 5] = [0.055_517_9, 0.075_075_9, 0.153_852, 0.310_485_6, 0.532_952_2];
    let mut states = [0.0; 5];
    random(seed).map(move |white| {
        for ((state, pole), gain) in states.iter_mut().zip(POLES).zip(GAINS) {
            *state = pole * *state + gain * white;
        }
        0.1 * (states.iter().sum::<f32>() + 0.536_2 * white)
    })
}

/// Returns noise that falls by 6 dB per octave.
fn brown(seed: u64) -> impl Iterator<Item = f32> {
    random(seed).scan(0.0, |state, white| {
        *state = 0.998 * *state + 0.05 * white;
        Some(*state)
    })
}

/// Returns harmonics of a frequency. The lowest are the strongest.
fn hum(hz: f64, n_harmonics: u32) -> impl Iterator<Item = f32> {
    (0..).map(move |i| {
        let phase = std::f64::consts::TAU * hz * f64::from(i) / RATE_HZ;
        (1..=n_harmonics)
            .map(|n| 0.3 / f64::from(n) * (f64::from(n) * phase + f64::from(n)).sin())
            .sum::<f64>() as f32
    })
}

#[test]
fn noise_hum_and_tones_are_told_from_speech() {
    check_noise(&pipeline(), &mut session());
    check_noise(&campplus_pipeline(), &mut campplus_session());
}

fn check_noise(pipeline: &Pipeline, session: &mut Session) {
    let mut n_embedded = 0;
    for seconds in [2, 5, 20] {
        let mut sounds: Vec<(String, Box<dyn Iterator<Item = f32>>)> = Vec::new();
        for seed in 1..4 {
            let gain = [0.9, 0.3, 0.1][seed as usize - 1];
            sounds.push((format!("white {seed}"), Box::new(random(seed).map(move |s| s * gain))));
            sounds.push((format!("pink {seed}"), Box::new(pink(seed).map(move |s| s * gain))));
            sounds.push((format!("brown {seed}"), Box::new(brown(seed).map(move |s| s * gain))));
        }
        for hz in [50.0, 60.0, 120.0, 440.0, 1_000.0, 3_000.0] {
            sounds.push((format!("tone of {hz} Hz"), Box::new(hum(hz, 1))));
        }
        for hz in [50.0, 60.0, 220.0] {
            sounds.push((format!("hum of {hz} Hz"), Box::new(hum(hz, 12))));
            let noisy = hum(hz, 12).zip(random(7)).map(|(hum, noise)| hum + 0.02 * noise);
            sounds.push((format!("hum of {hz} Hz and hiss"), Box::new(noisy)));
        }
        for (name, samples) in sounds {
            let recording = wav(samples.take(seconds * 16_000));
            if let Some(found) = warnings(pipeline, session, &recording) {
                assert!(found.contains(&Warning::Noise), "{name}, {seconds} s: {found:?}");
                n_embedded += 1;
            }
        }
    }
    assert!(n_embedded > 20, "the voice detector takes many of them for speech, but here {n_embedded}");

    for name in ["alan-1", "alan-2", "beth-1", "beth-2", "cole-1", "cole-2"] {
        let recording = std::fs::read(fixture(&format!("audio/{name}.wav"))).unwrap();
        assert_eq!(warnings(pipeline, session, &recording).unwrap(), [], "{name}");
    }
}

/// Returns the samples of a file, mono at 16 kHz.
fn samples(file: &Path) -> Vec<f32> {
    let bytes = std::fs::read(file).unwrap();
    audio::decode(&bytes, DecodeOptions::with_max_seconds(600.0)).unwrap().waveform.samples().to_vec()
}

#[test]
fn golden_recordings_have_neither_warning() {
    let Some(data) = parity_data("golden_recordings_have_neither_warning") else { return };
    let (pipeline, mut session) = (pipeline(), session());
    let (campplus, mut campplus_session) = (campplus_pipeline(), campplus_session());
    let mut n_recordings = 0;
    for line in golden(&data.join("golden/embeddings.jsonl")) {
        let recording = std::fs::read(data.join("audio").join(&line.path)).unwrap();
        let found = warnings(&pipeline, &mut session, &recording).unwrap();
        let wrong = found.contains(&Warning::Noise) || found.contains(&Warning::SeveralSpeakers);
        assert!(!wrong, "{}: {found:?}", line.path);
        let of_campplus = warnings(&campplus, &mut campplus_session, &recording).unwrap();
        assert_eq!(of_campplus, found, "{}", line.path);
        n_recordings += 1;
    }
    assert!(n_recordings >= 56);
}

/// Joins recordings of at least 6 seconds, up to two from each speaker, for every pair of speakers.
#[test]
fn two_speakers_in_one_recording_are_noticed() {
    const MIN_SAMPLES: usize = 6 * 16_000;
    let Some(data) = parity_data("two_speakers_in_one_recording_are_noticed") else { return };
    let (pipeline, mut session) = (pipeline(), session());
    let mut speakers: Vec<Vec<Vec<f32>>> = Vec::new();
    let mut folders: Vec<_> =
        data.join("audio/librispeech").read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.retain(|folder| folder.is_dir());
    folders.sort();
    for folder in folders {
        let mut files: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "flac"));
        files.sort();
        let long = files.iter().map(|file| samples(file)).filter(|samples| samples.len() >= MIN_SAMPLES);
        speakers.push(long.map(|samples| samples[..MIN_SAMPLES].to_vec()).take(2).collect());
    }
    let (mut n_pairs, mut n_noticed) = (0, 0);
    let mut two_of_one = Vec::new();
    for (i, one) in speakers.iter().enumerate() {
        two_of_one.extend(warnings(&pipeline, &mut session, &wav(one.concat())).unwrap());
        for other in &speakers[i + 1..] {
            for (a, b) in one.iter().zip(other) {
                let found = warnings(&pipeline, &mut session, &wav([&a[..], b].concat())).unwrap();
                n_pairs += 1;
                n_noticed += usize::from(found.contains(&Warning::SeveralSpeakers));
            }
        }
    }
    assert!(n_pairs >= 20 && n_noticed * 10 >= n_pairs * 9, "{n_noticed} of {n_pairs} joined pairs");
    assert!(!two_of_one.contains(&Warning::SeveralSpeakers), "{two_of_one:?}");
}
