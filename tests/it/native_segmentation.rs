//! The segmentation network in the native encoder: the same bits with every instruction set, and classes within the
//! stated distance of ONNX Runtime's.

use std::sync::LazyLock;

use voice_embedding_service::audio::{self, DecodeOptions};
use voice_embedding_service::encoder::native::NetworkWeights;
use voice_embedding_service::encoder::{EncoderError, InstructionSet, NativeEncoder, OnnxFile, Session};
use voice_embedding_service::models::segmentation::{CLASSES, GRAPH, WINDOW_SAMPLES, files, n_frames};

use super::support::{bits, committed, fixture, parity_data, repository, runtime, say};

/// The share of frames whose likeliest class may differ from ONNX Runtime's, in frames per thousand.
const DIFFERENT_OF_A_THOUSAND: f64 = 1.0;

static FILE: LazyLock<Vec<u8>> =
    LazyLock::new(|| std::fs::read(repository().join("models/segmentation.onnx")).unwrap());

fn read(file: &[u8]) -> Result<NetworkWeights, EncoderError> {
    (files().native.unwrap().read)(file)
}

fn natives() -> Vec<(InstructionSet, Session)> {
    let weights = read(&FILE).unwrap();
    let session = |set| (set, NativeEncoder::new(&weights, set).unwrap().session().into());
    InstructionSet::available().map(session).collect()
}

fn ort() -> Session {
    Session::new(&runtime(), &OnnxFile::from(FILE.clone()), GRAPH).unwrap()
}

/// Returns two voices that speak in turns.
fn talk() -> Vec<f32> {
    let voice = |name: &str| {
        let file = std::fs::read(fixture(&format!("audio/{name}.wav"))).unwrap();
        audio::decode(&file, DecodeOptions::with_max_seconds(60.0)).unwrap().waveform.into_samples()
    };
    ["alan-1", "beth-1", "alan-2"].map(voice).concat()
}

fn likeliest(frame: &[f32]) -> usize {
    (0..CLASSES).max_by(|a, b| frame[*a].total_cmp(&frame[*b])).unwrap()
}

/// Returns the number of frames, and the number of frames whose likeliest class differs.
fn different(a: &[f32], b: &[f32]) -> (usize, usize) {
    assert_eq!(a.len(), b.len());
    let frames = a.chunks(CLASSES).zip(b.chunks(CLASSES));
    (a.len() / CLASSES, frames.filter(|(a, b)| likeliest(a) != likeliest(b)).count())
}

#[test]
fn segmentation_has_the_same_bits_everywhere_and_ort_s_classes() {
    let (talk, mut ort, mut natives) = (talk(), ort(), natives());
    // The shortest window, one second, and windows that do not fill tiles.
    for n_samples in [991, 1_260, 16_000, 47_777, 80_000, 160_000] {
        let samples = &talk[..n_samples.min(talk.len())];
        let expected = ort.embed(&[samples]).unwrap().remove(0);
        let first = natives[0].1.embed(&[samples]).unwrap();
        assert_eq!(first[0].len(), CLASSES * n_frames(samples.len()));
        let (n, n_different) = different(&expected, &first[0]);
        assert!(n_different * 200 <= n.max(200), "{n_samples}: {n_different} of {n}");
        let error = expected.iter().zip(&first[0]).map(|(a, b)| (a.exp() - b.exp()).abs());
        assert!(error.fold(0.0, f32::max) < 0.02, "{n_samples}");
        for frame in first[0].chunks(CLASSES) {
            let sum: f32 = frame.iter().map(|log| log.exp()).sum();
            assert!((sum - 1.0).abs() < 1e-5, "{sum}");
        }
        for (set, session) in &mut natives {
            // Data that one window leaves in the session does not affect the next.
            session.embed(&[&talk]).unwrap();
            let together = session.embed(&[samples, &talk[7..], samples]).unwrap();
            assert!(bits(&together[..1]) == bits(&first), "{n_samples}, {}", set.name());
            assert!(bits(&together[2..]) == bits(&first), "{n_samples}, {}", set.name());
        }
    }
}

#[test]
fn real_meetings_are_segmented_as_onnx_runtime_does() {
    let Some(data) = parity_data("real_meetings_are_segmented_as_onnx_runtime_does") else { return };
    let (mut ort, mut native) = (ort(), natives().swap_remove(0).1);
    let (mut n, mut n_different) = (0, 0);
    for entry in std::fs::read_dir(data.join("meetings")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "flac") {
            continue;
        }
        let file = std::fs::read(&path).unwrap();
        let samples =
            audio::decode(&file, DecodeOptions::with_max_seconds(1e4)).unwrap().waveform.into_samples();
        for window in samples.chunks_exact(WINDOW_SAMPLES) {
            let [of_ort, of_native] =
                [&mut ort, &mut native].map(|session| session.embed(&[window]).unwrap().remove(0));
            let (frames, other) = different(&of_ort, &of_native);
            (n, n_different) = (n + frames, n_different + other);
        }
    }
    assert!(n > 10_000, "{n}");
    say(&format!("native segmentation: {n_different} of {n} frames have another class than ONNX Runtime's"));
    assert!(n_different as f64 <= DIFFERENT_OF_A_THOUSAND * n as f64 / 1e3, "{n_different} of {n}");
}

#[test]
fn strange_samples_are_segmented_or_refused() {
    for (set, mut session) in natives() {
        for value in [0.0, 1e-30, -1.0, 1e6] {
            let output = session.embed(&[&vec![value; 20_000]]).unwrap().remove(0);
            assert!(output.iter().all(|log| log.is_finite() && *log <= 0.0), "{} {value}", set.name());
        }
        assert!(session.embed(&[&[0.0; 990]]).unwrap()[0].is_empty());
        for value in [f32::NAN, f32::INFINITY] {
            let refused = session.embed(&[&vec![value; 20_000]]);
            assert!(matches!(refused, Err(EncoderError::Run(_))), "{} {value}", set.name());
        }
    }
}

#[test]
fn another_graph_of_the_segmentation_network_is_refused() {
    let changed = |from: &[u8], to: &[u8]| {
        let mut onnx = FILE.clone();
        let at = onnx.windows(from.len()).position(|bytes| bytes == from).unwrap();
        onnx[at..at + to.len()].copy_from_slice(to);
        onnx
    };
    for (name, file) in [
        ("another node", changed(b"LeakyRelu", b"LeakyRelV")),
        ("another attribute", changed(b"bidirectional", b"bidirectionaL")),
        ("another name", changed(b"sincnet.filters", b"sincnet.filterz")),
        ("something behind it", [&FILE[..], &[0]].concat()),
        ("truncated", FILE[..1_000_000].to_vec()),
        ("empty", Vec::new()),
        ("Resemblyzer's", committed()),
    ] {
        assert!(matches!(read(&file), Err(EncoderError::OtherModel(_))), "{name}");
    }
}
