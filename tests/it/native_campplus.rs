//! CAM++ in the native encoder: the same bits with every instruction set, and embeddings within the stated distance of
//! ONNX Runtime's.

use serde_json::Value;
use voice_embedding_service::encoder::EncoderError;
use voice_embedding_service::models::campplus::FBANK;

use super::support::{
    bits, campplus, campplus_pipeline, campplus_session, committed, cosine, native_sessions, parity_data,
    read_weights, say,
};

/// The lowest allowed cosine of a recording's CAM++ embedding to ONNX Runtime's, on every reference file.
const LEAST_COSINE: f64 = 0.999_9;

fn file() -> Vec<u8> {
    campplus().onnx.bytes().unwrap().into_owned()
}

fn doubles(embedding: &[f32]) -> Vec<f64> {
    embedding.iter().map(|component| f64::from(*component)).collect()
}

/// Returns frames of log mel power, as loud as speech.
fn log_mels(n_frames: usize) -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(n_frames as u64);
    std::iter::repeat_with(|| 12.0 * random.f32() - 6.0).take(n_frames * FBANK.n_bands).collect()
}

#[test]
fn campplus_has_the_same_bits_everywhere_and_ort_s_embedding() {
    let (mut ort, mut natives) = (campplus_session(), native_sessions(campplus()));
    // Some frame counts fill tiles and segments, and others do not.
    for n_frames in [3, 5, 8, 9, 12, 24, 61, 148, 199, 200, 201, 402, 1_005] {
        let unit = log_mels(n_frames);
        let expected = ort.embed(&[&unit]).unwrap();
        let first = natives[0].1.embed(&[&unit]).unwrap();
        let cosine = cosine(&doubles(&expected[0]), &doubles(&first[0]));
        assert!(cosine >= LEAST_COSINE, "{n_frames} frames: {cosine}");
        for (set, session) in &mut natives {
            let alone = session.embed(&[&unit]).unwrap();
            assert!(bits(&alone) == bits(&first), "{n_frames} frames, {}", set.name());
            // Data that one unit leaves in the session does not affect the next.
            let others = log_mels(n_frames + 200);
            session.embed(&[&others]).unwrap();
            let together = session.embed(&[&unit, &log_mels(n_frames)[..], &unit]).unwrap();
            assert!(bits(&together[2..]) == bits(&first), "{n_frames} frames in a batch, {}", set.name());
        }
    }
}

#[test]
fn campplus_embeds_real_speech_as_onnx_runtime_does() {
    let Some(data) = parity_data("campplus_embeds_real_speech_as_onnx_runtime_does") else { return };
    let (mut native, mut ort) = (native_sessions(campplus()).swap_remove(0).1, campplus_session());
    let mut worst = 1.0_f64;
    let lines = std::fs::read_to_string(data.join("golden/campplus/embeddings.jsonl")).unwrap();
    assert!(lines.lines().count() > 100);
    for line in lines.lines() {
        let golden: Value = serde_json::from_str(line).unwrap();
        let path = golden["path"].as_str().unwrap();
        let file = std::fs::read(data.join("audio").join(path)).unwrap();
        let [of_native, of_ort] = [&mut native, &mut ort].map(|session| {
            let (embedding, _) = campplus_pipeline().embed(session, &file).unwrap();
            embedding.components().to_vec()
        });
        let to_ort = cosine(&of_native, &of_ort);
        assert!(to_ort >= LEAST_COSINE, "{path}: {to_ort}");
        worst = worst.min(to_ort);
    }
    say(&format!("native CAM++: worst cosine to ONNX Runtime 1 - {:.1e}", 1.0 - worst));
}

#[test]
fn strange_features_are_embedded_by_campplus_or_refused() {
    let unit = |value: f32| vec![value; 60 * FBANK.n_bands];
    for (set, mut session) in native_sessions(campplus()) {
        for value in [0.0, -1e-30, 1.0, -50.0, 1e6] {
            let embedding = session.embed(&[&unit(value)]).unwrap().remove(0);
            assert!(embedding.iter().all(|component| component.is_finite()), "{} {value}", set.name());
        }
        for value in [f32::NAN, f32::INFINITY] {
            let refused = session.embed(&[&unit(value)]);
            assert!(matches!(refused, Err(EncoderError::Run(_))), "{} {value}", set.name());
        }
    }
}

#[test]
fn another_graph_of_campplus_is_refused() {
    let changed = |from: &[u8], to: &[u8]| {
        let mut onnx = file();
        let at = onnx.windows(from.len()).position(|bytes| bytes == from).unwrap();
        onnx[at..at + to.len()].copy_from_slice(to);
        onnx
    };
    for (name, file, reason) in [
        ("another node", changed(b"Relu", b"Sqrt"), "its graph is not"),
        ("another attribute", changed(b"ceil_mode", b"seil_mode"), "its graph is not"),
        ("another name", changed(b"head.conv1.weight", b"head.conv9.weight"), ""),
        ("something behind it", [file(), vec![0]].concat(), "its graph is not"),
        ("truncated", file()[..1_000_000].to_vec(), "not where they should be"),
        ("empty", Vec::new(), "not where they should be"),
        ("Resemblyzer's", committed(), "not where they should be"),
    ] {
        match read_weights(campplus(), &file) {
            Err(EncoderError::OtherModel(found)) => assert!(found.contains(reason), "{name}: {found}"),
            Err(error) => panic!("{name}: {error}"),
            Ok(_) => panic!("{name}: accepted"),
        }
    }
}
