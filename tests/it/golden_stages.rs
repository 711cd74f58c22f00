//! Compares each stage with that of the original Resemblyzer, on Resemblyzer's own input to that stage.

use std::path::{Path, PathBuf};

use ndarray::{Array1, Array2};
use ndarray_npy::ReadableElement;
use voice_embedding_service::audio::resample::To16Khz;
use voice_embedding_service::audio::{self, DecodeOptions, SAMPLE_RATE_HZ};
use voice_embedding_service::encoder::mean_embedding;
use voice_embedding_service::front_end::{Features, MelExtractor, Unit, Units, window_starts};
use voice_embedding_service::models::resemblyzer::{HOP_SAMPLES, MEL, N_FRAMES, WINDOWS};
use voice_embedding_service::pace::Pace;
use voice_embedding_service::speech::{detector, level, trim};

use super::support::{assert_close, fixture, model, parity_data, session};

/// The original sums squares in `f32`.
const LEVEL_TOLERANCE: f32 = 1e-6;

/// Relative, because both FFTs compute in `f32`.
const MEL_TOLERANCE: f32 = 1e-4;

/// Smaller values count as zero, relative to the loudest band of a frame.
const MEL_FLOOR: f32 = 1e-7;

/// LSTM steps in `f32` are summed in another order.
const EMBEDDING_TOLERANCE: f32 = 1e-5;

/// The intermediate results for one file.
struct Stages(PathBuf);

impl Stages {
    fn vector<T: ReadableElement + Clone>(&self, name: &str) -> Vec<T> {
        ndarray_npy::read_npy::<_, Array1<T>>(self.0.join(name)).unwrap().to_vec()
    }

    fn matrix(&self, name: &str) -> Array2<f32> {
        let array: Array2<f32> = ndarray_npy::read_npy(self.0.join(name)).unwrap();
        array.as_standard_layout().into_owned()
    }
}

fn check(directory: &Path) {
    let name = directory.file_name().unwrap().to_str().unwrap();
    let golden = Stages(directory.to_owned());
    check_preprocessing(name, &golden);
    check_mel(name, &golden);
    check_encoder(name, &golden);
}

fn check_preprocessing(name: &str, golden: &Stages) {
    let mut levelled: Vec<f32> = golden.vector("resampled.npy");
    let gain = level::gain_to_target(&levelled);
    level::raise(&mut levelled, gain);
    let normalized: Vec<f32> = golden.vector("normalized.npy");
    assert_close(&format!("{name} normalized"), &levelled, &normalized, |_| LEVEL_TOLERANCE);

    let pcm16: Vec<i16> = golden.vector("pcm16.npy");
    let converted: Vec<i16> = normalized[..pcm16.len()].iter().map(|s| detector::to_i16(*s)).collect();
    assert!(converted == pcm16, "{name} pcm16");

    let flags: Vec<bool> = golden.vector::<u8>("vad_flags.npy").into_iter().map(|flag| flag != 0).collect();
    assert_eq!(detector::voice_flags(&normalized, 1.0, Pace::UNBROKEN).unwrap(), flags, "{name} vad_flags");

    let mut voiced = normalized;
    trim::trim(&mut voiced, &trim::stretches(&trim::keep_mask(&flags)));
    assert!(voiced == golden.vector::<f32>("voiced.npy"), "{name} voiced");
}

fn check_mel(name: &str, golden: &Stages) {
    let voiced: Vec<f32> = golden.vector("voiced.npy");
    let starts: Vec<usize> =
        golden.vector::<i64>("window_starts.npy").into_iter().map(|s| s as usize).collect();
    assert_eq!(window_starts(voiced.len(), HOP_SAMPLES, WINDOWS), starts, "{name} window_starts");

    let expected = golden.matrix("mel.npy");
    let actual = MelExtractor::new(MEL).spectrogram(&voiced, expected.nrows(), Pace::UNBROKEN).unwrap();
    for (i, (actual, expected)) in actual.rows().into_iter().zip(expected.rows()).enumerate() {
        let peak = expected.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
        let tolerance = |band: usize| MEL_TOLERANCE * expected[band].max(MEL_FLOOR * peak);
        assert_close(&format!("{name} mel[{i}]"), &actual.to_vec(), &expected.to_vec(), tolerance);
    }
}

fn check_encoder(name: &str, golden: &Stages) {
    let unit = |start: i64| {
        let start = start as usize;
        Unit {
            frames: start..start + N_FRAMES,
            samples: start * HOP_SAMPLES..(start + N_FRAMES) * HOP_SAMPLES,
            is_centred: false,
        }
    };
    let units = golden.vector::<i64>("window_starts.npy").into_iter().map(unit).collect();
    let features = Features::new(golden.matrix("mel.npy"), units);
    let windows: Vec<_> = (0..features.units().len()).map(|i| features.values(i)).collect();
    let windows: Vec<&[f32]> = windows.iter().map(AsRef::as_ref).collect();
    let partials = golden.matrix("partials.npy");
    let embeddings = session().embed(&windows).unwrap();
    for (i, embedding) in embeddings.iter().enumerate() {
        let expected = partials.row(i).to_vec();
        assert_close(&format!("{name} partials[{i}]"), embedding, &expected, |_| EMBEDDING_TOLERANCE);
    }

    let partials: Vec<Vec<f32>> = partials.rows().into_iter().map(|r| r.to_vec()).collect();
    let mean = mean_embedding(&model().id, &partials).unwrap();
    let mean: Vec<f32> = mean.components().iter().map(|c| *c as f32).collect();
    assert_close(&format!("{name} embedding"), &mean, &golden.vector::<f32>("embedding.npy"), |_| 1e-6);
}

#[test]
fn every_stage_is_the_originals() {
    check(&fixture("golden/stages/alan-1"));
}

#[test]
fn every_stage_is_the_originals_on_real_speech() {
    let Some(data) = parity_data("every_stage_is_the_originals_on_real_speech") else {
        return;
    };
    let mut directories: Vec<PathBuf> =
        std::fs::read_dir(data.join("golden/stages")).unwrap().map(|entry| entry.unwrap().path()).collect();
    directories.sort();
    assert_eq!(directories.len(), 3);
    directories.iter().for_each(|directory| check(directory));
}

/// The lowest allowed ratio of the signal to the difference between soxr's and rubato's output, in dB. With another
/// cut-off, the ratio is 46.
const LEAST_SIGNAL_OVER_DIFFERENCE_DB: f64 = 60.0;

/// The filters of soxr and rubato differ slightly just below 8 kHz, but their effect on speech must be the same.
#[test]
fn resampling_44_1_khz_is_soxrs_without_delay() {
    let Some(data) = parity_data("resampling_44_1_khz_is_soxrs_without_delay") else {
        return;
    };
    let file = std::fs::read(data.join("audio/encodings/1688-0005-s16-44100.wav")).unwrap();
    let expected: Vec<f32> = Stages(data.join("golden/stages/1688-0005-s16-44100")).vector("resampled.npy");
    let recording = audio::decode(&file, DecodeOptions::with_max_seconds(60.0)).unwrap();
    let actual = recording.waveform.samples();
    assert_eq!(actual.len(), expected.len());
    let energy = |samples: &mut dyn Iterator<Item = f32>| samples.map(|s| f64::from(s).powi(2)).sum::<f64>();
    let difference = energy(&mut actual.iter().zip(&expected).map(|(a, e)| a - e));
    let signal_over_difference_db = 10.0 * (energy(&mut expected.iter().copied()) / difference).log10();
    assert!(
        signal_over_difference_db >= LEAST_SIGNAL_OVER_DIFFERENCE_DB,
        "{signal_over_difference_db:.1} dB"
    );
}

/// Resampling keeps the time and level of speech-band tones at every kind of ratio, including primes.
#[test]
fn resampling_keeps_tones_in_place() {
    for rate_hz in
        [4_000, 8_000, 8_001, 11_025, 15_999, 22_050, 44_100, 47_999, 48_000, 96_000, 192_000, 384_000]
    {
        let tone = |rate_hz: u32, i: usize| {
            (i as f64 * 1_000.0 / f64::from(rate_hz) * std::f64::consts::TAU).sin() as f32
        };
        let n_samples = rate_hz as usize + 1;
        let mut to_16_khz = To16Khz::<Vec<f32>>::from_rate(rate_hz);
        let samples: Vec<f32> = (0..n_samples).map(|i| tone(rate_hz, i)).collect();
        samples.chunks(1_000).for_each(|block| to_16_khz.push(block));
        let resampled = to_16_khz.finish().unwrap().into_samples();
        let expected_len =
            (n_samples as f64 * f64::from(SAMPLE_RATE_HZ) / f64::from(rate_hz)).ceil() as usize;
        assert_eq!(resampled.len(), expected_len, "{rate_hz} Hz");
        let middle = 4_000..12_000;
        let expected: Vec<f32> = middle.clone().map(|i| tone(SAMPLE_RATE_HZ, i)).collect();
        assert_close(&format!("{rate_hz} Hz"), &resampled[middle], &expected, |_| 1e-3);
    }
}
