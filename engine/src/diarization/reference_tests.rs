//! Tests each stage of the segmentation network and each step of diarization against the results of the originals.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ndarray::Array2;
use ort::value::TensorRef;

use super::count::SpeakerCount;
use super::diarize::{Heard, Speakers, TurnOptions, diarize};
use super::pieces::pieces;
use super::windows::{Segmentation, samples_of, windows};
use crate::audio::{CompactWaveform, DecodeOptions, decode};
use crate::encoder::{Runtime, Session};
use crate::models::segmentation::{CLASSES, GRAPH, convert, files};
use crate::models::{ConvertError, FileDigest, Model, TurnParameters, campplus};
use crate::pace::Pace;
use crate::pipeline::{Pipeline, PipelineLimits};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn parity_data(test: &str) -> Option<PathBuf> {
    let data = std::env::var_os("PARITY_DATA").map(PathBuf::from);
    if data.is_none() {
        eprintln!("SKIPPED {test}: set PARITY_DATA to a folder with golden/segmentation");
    }
    // Tests run in the crate's folder.
    data.map(|data| repository().join(data))
}

fn runtime() -> Runtime {
    let library = std::env::var_os("ORT_DYLIB_PATH").expect("`.cargo/config.toml` sets it");
    Runtime::load(Path::new(&library)).unwrap()
}

fn assert_close(name: &str, actual: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(actual.len(), expected.len(), "{name}");
    for (i, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        assert!((actual - expected).abs() <= tolerance, "{name}[{i}]: {actual} instead of {expected}");
    }
}

fn committed() -> Vec<u8> {
    std::fs::read(repository().join("models/segmentation.onnx")).unwrap()
}

#[test]
fn the_manifest_describes_the_committed_file() {
    assert_eq!(FileDigest::compute(&committed()), files().onnx);
}

#[test]
fn the_checkpoint_converts_to_the_committed_file() {
    let checkpoint = repository().join("target/segmentation/pytorch_model.bin");
    let Ok(checkpoint) = std::fs::read(checkpoint) else {
        return eprintln!("SKIPPED the checkpoint of the segmentation network: `make checkpoint` fetches it");
    };
    assert!(convert(&checkpoint).unwrap() == committed());
    assert!(matches!(convert(&checkpoint[1..]), Err(ConvertError::WrongCheckpoint { .. })));
}

/// The names of values inside the graph, and their tolerances. The weights of the graph are rounded to 16 bits.
const STAGES: [(&str, f32); 7] = [
    ("sincnet", 1e-3),
    ("lstm0", 1e-3),
    ("lstm1", 1e-3),
    ("lstm2", 1e-3),
    ("lstm3", 1e-3),
    ("linear0", 5e-3),
    ("linear1", 1e-2),
];

/// Returns the committed file with further outputs. Protobuf joins the fields of messages that follow each other.
fn with_stages() -> Vec<u8> {
    let length_delimited = |field: u8, contents: &[u8]| {
        let length = u8::try_from(contents.len()).expect("it is short");
        assert!(length < 0x80);
        [&[field << 3 | 2, length], contents].concat()
    };
    let outputs = STAGES.iter().flat_map(|(name, _)| {
        // A tensor of `f32` of any shape: `ValueInfoProto` with `TypeProto.tensor_type.elem_type`.
        let tensor_type = length_delimited(1, &[1 << 3, 1]);
        let info = [length_delimited(1, name.as_bytes()), length_delimited(2, &tensor_type)].concat();
        length_delimited(12, &info)
    });
    let graph: Vec<u8> = outputs.collect();
    let mut file = committed();
    file.extend([7 << 3 | 2, graph.len() as u8 | 0x80, (graph.len() >> 7) as u8]);
    file.extend(graph);
    file
}

fn read<D: ndarray::Dimension>(path: &Path) -> ndarray::Array<f32, D> {
    ndarray_npy::read_npy(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns noise that is the same everywhere, from a hash of each place.
fn noise() -> Vec<f32> {
    let sample = |i: u32| {
        let mut x = i.wrapping_mul(2_654_435_761).wrapping_add(12_345);
        x = x.wrapping_mul(2_246_822_519).wrapping_add(374_761_393);
        x ^= x >> 15;
        x = x.wrapping_mul(3_266_489_917);
        x ^= x >> 13;
        ((f64::from(x) - 2_147_483_648.0) / 2_147_483_648.0 * 0.01) as f32
    };
    (0..160_000).map(sample).collect()
}

fn samples(path: &Path) -> Vec<f32> {
    let file = std::fs::read(path).unwrap();
    decode(&file, DecodeOptions::with_max_seconds(600.0)).unwrap().waveform.into_samples()
}

#[test]
fn each_stage_of_the_network_is_the_originals() {
    let Some(data) = parity_data("the stages of the segmentation network") else { return };
    let golden = data.join("golden/segmentation");
    let kept: Vec<usize> =
        read::<ndarray::Ix1>(&golden.join("kept_frames.npy")).iter().map(|i| *i as usize).collect();
    let noise = noise();
    assert_eq!(noise[..1_000], read::<ndarray::Ix1>(&golden.join("noise.samples.npy")).to_vec());
    let voice = samples(&data.join("audio/synthetic/alan-1.wav"));
    let inputs = [
        ("synthetic", voice.into_iter().cycle().take(160_000).collect()),
        ("conversation", samples(&data.join("conversations/conv05.flac"))[320_000..480_000].to_vec()),
        ("noise", noise),
    ];
    let environment = runtime();
    let mut session = ort::session::Session::builder(environment.environment())
        .unwrap()
        .with_intra_threads(1)
        .unwrap()
        .commit_from_memory(&with_stages())
        .unwrap();
    for (name, input) in inputs {
        let input = TensorRef::from_array_view(([1, input.len()], &*input)).unwrap();
        let outputs = session.run(ort::inputs![GRAPH.input => input]).unwrap();
        for (stage, tolerance) in STAGES {
            let expected: Array2<f32> = read(&golden.join(format!("{name}.{stage}.npy")));
            let (shape, actual) = outputs[stage].try_extract_tensor::<f32>().unwrap();
            let n_values = shape[2] as usize;
            let rows = if expected.nrows() == 589 { (0..589).collect() } else { kept.clone() };
            for (row, expected) in rows.into_iter().zip(expected.rows()) {
                let actual = &actual[row * n_values..][..n_values];
                assert_close(&format!("{name} {stage}[{row}]"), actual, &expected.to_vec(), tolerance);
            }
        }
        let expected: Array2<f32> = read(&golden.join(format!("{name}.logprob.npy")));
        let actual = outputs[GRAPH.output].try_extract_tensor::<f32>().unwrap().1;
        for ((i, expected), actual) in expected.rows().into_iter().enumerate().zip(actual.chunks(CLASSES)) {
            let probabilities = |logs: &[f32]| logs.iter().map(|log| log.exp()).collect::<Vec<f32>>();
            let expected = probabilities(&expected.to_vec());
            assert_close(&format!("{name} classes[{i}]"), &probabilities(actual), &expected, 2e-3);
        }
    }
}

/// Returns the share of values that are equal.
fn equal_share<T: PartialEq>(actual: &[T], expected: &[T]) -> f64 {
    assert_eq!(actual.len(), expected.len());
    let n_equal = actual.iter().zip(expected).filter(|(a, b)| a == b).count();
    n_equal as f64 / actual.len().max(1) as f64
}

fn bits(class: f32) -> u8 {
    [0b000, 0b001, 0b010, 0b100, 0b011, 0b101, 0b110][class as usize]
}

/// Returns the turns of an RTTM file.
fn turns(path: &Path) -> Vec<(f64, f64, String)> {
    let text = std::fs::read_to_string(path).unwrap();
    let turn = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (start, length): (f64, f64) = (fields[3].parse().unwrap(), fields[4].parse().unwrap());
        (start, start + length, fields[7].to_owned())
    };
    text.lines().map(turn).collect()
}

#[test]
fn each_step_to_turns_is_the_references() {
    let Some(data) = parity_data("the steps of diarization") else { return };
    for name in ["conv02", "conv05"] {
        check_steps(
            &data.join("golden/segmentation").join(name),
            &data.join(format!("conversations/{name}.flac")),
        );
    }
}

fn check_steps(golden: &Path, recording: &Path) {
    let with = |suffix: &str| golden.with_extension(suffix);
    let samples = samples(recording);
    let n_samples = samples.len();

    // The network reads samples in 16 bits.
    let first: Vec<usize> =
        read::<ndarray::Ix1>(&with("first.npy")).iter().map(|first| *first as usize).collect();
    let classes: Array2<f32> = read(&with("classes.npy"));
    let mut session = Session::new(&runtime(), &committed().into(), GRAPH).unwrap();
    let compact = CompactWaveform::from(&*samples);
    let mut segmentation = Segmentation::new(n_samples);
    for window in windows(n_samples) {
        let output = session.embed(&[&compact.read(window.clone())]).unwrap().swap_remove(0);
        segmentation.push(window.start, &output);
    }
    let expected: Vec<u8> = classes.iter().map(|class| bits(*class)).collect();
    let n_windows = segmentation.n_windows();
    let own_first: Vec<usize> = (0..n_windows).map(|window| segmentation.first_frame(window)).collect();
    let active: Vec<u8> = (0..n_windows).flat_map(|window| segmentation.frames(window).to_vec()).collect();
    assert_eq!(own_first, first);
    assert!(equal_share(&active, &expected) >= 0.999, "{}", equal_share(&active, &expected));

    // From here on, the test uses the reference's classes.
    let mut segmentation = Segmentation::new(n_samples);
    for (window, classes) in windows(n_samples).iter().zip(classes.rows()) {
        let one_hot = |class: &f32| {
            (0..CLASSES).map(|i| if i == *class as usize { 0.0 } else { -9.0 }).collect::<Vec<f32>>()
        };
        let output: Vec<f32> = classes.iter().flat_map(one_hot).collect();
        segmentation.push(window.start, &output);
    }
    let parameters = campplus::spec().turns;
    let pieces = pieces(&segmentation, parameters.max_piece_frames);
    let expected: Array2<f32> = read(&with("pieces.npy"));
    let expected: Vec<_> = expected.rows().into_iter().map(|row| row[0] as usize..row[1] as usize).collect();
    assert_eq!(pieces, expected);

    let embeddings: Array2<f32> = read(&with("embeddings.npy"));
    let onnx = std::fs::read(repository().join("models/campplus.onnx")).unwrap();
    let model = Model::new(Arc::new(campplus::spec()), onnx);
    let pipeline = Pipeline::new(&model, PipelineLimits::default());
    let mut session = Session::new(&runtime(), &model.onnx, model.spec.graph).unwrap();
    for (piece, expected) in pieces.iter().zip(embeddings.rows()) {
        let values = pipeline.front_end().piece_values(&compact, samples_of(piece));
        let embedding = session.embed(&[&values]).unwrap().swap_remove(0);
        let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
        let expected = expected.to_vec();
        let cosine = product(&embedding, &expected)
            / (product(&embedding, &embedding) * product(&expected, &expected)).sqrt();
        assert!(cosine > 0.999_9, "{piece:?}: {cosine}");
    }

    // From here on, the test uses the reference's embeddings.
    let units = embeddings.rows().into_iter().map(|row| row.to_vec()).collect();
    // The reference neither splits local speakers nor leaves out pauses.
    let parameters = TurnParameters { split_below: -1.0, ..parameters };
    let heard = Heard { segmentation, pieces, units, levels_db: Vec::new(), parameters };
    let speakers = Speakers::find(&heard, &SpeakerCount::default(), Pace::UNBROKEN).unwrap();
    let (centroids, activity) = (&speakers.centroids, speakers.activity(&heard));
    let activity = activity.shares();
    let expected: Array2<f32> = read(&with("centroids.npy"));
    assert_eq!(centroids.len(), expected.nrows());
    for (centroid, expected) in centroids.iter().zip(expected.rows()) {
        let centroid: Vec<f32> = centroid.iter().map(|component| *component as f32).collect();
        assert_close("centroid", &centroid, &expected.to_vec(), 1e-5);
    }
    let expected: Array2<f32> = read(&with("activity.npy"));
    assert_close("activity", activity, &expected.iter().copied().collect::<Vec<f32>>(), 1e-5);
    let decisions: Array2<f32> = read(&with("decisions.npy"));
    let decided: Vec<bool> = activity.iter().map(|share| *share > 0.5).collect();
    let expected: Vec<bool> = decisions.iter().map(|decision| *decision > 0.5).collect();
    assert!(equal_share(&decided, &expected) >= 0.999);

    let found = diarize(&heard, &TurnOptions::default(), Pace::UNBROKEN).unwrap();
    let expected = turns(&with("rttm"));
    assert_eq!(found.turns.len(), expected.len());
    for (turn, (start, end, speaker)) in found.turns.iter().zip(expected) {
        assert_eq!(format!("S{}", turn.speaker + 1), speaker);
        let is_near = |a: f64, b: f64| (a - b).abs() <= 0.018;
        assert!(
            is_near(turn.seconds.start, start) && is_near(turn.seconds.end, end),
            "{turn:?}: {start} {end}"
        );
    }
}
