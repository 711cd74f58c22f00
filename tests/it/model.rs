//! The committed model: whether it equals its converted checkpoint, and how the service handles another model.

use std::sync::Arc;

use voice_embedding_service::encoder::native::N_MELS;
use voice_embedding_service::encoder::{EncoderError, Session};
use voice_embedding_service::models::resemblyzer::{N_FRAMES, convert};
use voice_embedding_service::models::{ConvertError, FileDigest, Model};

use super::support::{assert_close, committed, model, repository, runtime, say, session};

#[test]
fn the_manifest_describes_the_committed_model() {
    assert_eq!(FileDigest::compute(&committed()), model().spec.files.onnx);
}

#[test]
fn the_checkpoint_converts_to_the_committed_bytes() {
    let checkpoint = repository().join("target/resemblyzer/pretrained.pt");
    let Ok(checkpoint) = std::fs::read(&checkpoint) else {
        say(
            "SKIPPED the_checkpoint_converts_to_the_committed_bytes: `make setup` fetches the wheel resemblyzer==0.1.4",
        );
        return;
    };
    let onnx = convert(&checkpoint).unwrap();
    assert!(onnx == committed(), "the converted bytes are not those of models/resemblyzer.onnx");
}

#[test]
fn another_checkpoint_is_refused() {
    let error = convert(b"not a checkpoint").unwrap_err();
    assert!(matches!(&error, ConvertError::WrongCheckpoint { found, .. } if found.bytes == 16), "{error}");
}

#[test]
fn another_model_is_refused_with_the_reason() {
    let mut renamed = committed();
    for at in 0..renamed.len() - 4 {
        if &renamed[at..at + 4] == b"mels" {
            renamed[at..at + 4].copy_from_slice(b"cats");
        }
    }
    let cases: [(&str, Vec<u8>, fn(&EncoderError) -> bool); 3] = [
        (
            "other input",
            renamed,
            |e| matches!(e, EncoderError::OtherModel(reason) if reason.contains("cats")),
        ),
        ("truncated", committed()[..1_000_000].to_vec(), |e| matches!(e, EncoderError::Model(_))),
        ("empty", Vec::new(), |e| matches!(e, EncoderError::Model(_))),
    ];
    for (name, onnx, expected) in cases {
        let error = Session::new(&runtime(), &onnx.into(), model().spec.graph)
            .err()
            .unwrap_or_else(|| panic!("{name}: accepted"));
        assert!(expected(&error), "{name}: {error}");
    }
}

#[test]
fn a_model_of_ones_own_has_a_fingerprint_of_its_own() {
    let own = Model::new(Arc::clone(&model().spec), [committed().as_slice(), b"\0"].concat());
    assert!(own.id.fingerprint().starts_with("custom/"));
    assert_eq!(model().id.fingerprint(), "resemblyzer-0.1.4/39373b86");
}

#[test]
fn a_window_is_embedded_alike_alone_and_in_a_batch() {
    let window = |seed: usize| -> Vec<f32> {
        (0..N_FRAMES * N_MELS).map(|i| ((i * (seed + 3)) % 101) as f32 * 1e-3).collect()
    };
    let windows: Vec<Vec<f32>> = (0..8).map(window).collect();
    let mut session = session();
    let batch = session.embed(&windows.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap();
    for (i, together) in batch.iter().enumerate() {
        let alone = session.embed(&[&windows[i]]).unwrap();
        // ONNX Runtime chooses its matrix kernel by batch size, so the last bits may differ.
        assert_close(&format!("window {i}"), together, &alone[0], |_| 1e-6);
    }
}
