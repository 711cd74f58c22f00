//! The committed model: that it is what its checkpoint converts to, and what happens with another.

use voice_embedding_service::encoder::{EncoderError, Session};
use voice_embedding_service::hparams::{N_MELS, WINDOW_FRAMES};
use voice_embedding_service::model::{ConvertError, FileDigest, MANIFEST, Model, convert};

use super::support::{assert_close, committed, repository, runtime, say, session};

#[test]
fn the_manifest_describes_the_committed_model() {
    assert_eq!(FileDigest::of(&committed()), MANIFEST.onnx);
    assert_eq!(MANIFEST.checkpoint.tensors.len(), 14);
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
    let onnx = convert(&checkpoint, &MANIFEST).unwrap();
    assert!(onnx == committed(), "the converted bytes are not those of models/resemblyzer.onnx");
}

#[test]
fn another_checkpoint_is_refused() {
    let error = convert(b"not a checkpoint", &MANIFEST).unwrap_err();
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
        let error = Session::new(&runtime(), &onnx).err().unwrap_or_else(|| panic!("{name}: accepted"));
        assert!(expected(&error), "{name}: {error}");
    }
}

#[test]
fn a_model_of_ones_own_has_a_fingerprint_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("own.onnx");
    std::fs::write(&path, [committed().as_slice(), b"\0"].concat()).unwrap();
    assert!(Model::read(&path).unwrap().fingerprint.starts_with("custom/"));
    let committed = Model::read(&repository().join("models/resemblyzer.onnx")).unwrap();
    assert_eq!(committed.fingerprint, "resemblyzer-0.1.4/39373b86");
}

#[test]
fn a_window_is_embedded_alike_alone_and_in_a_batch() {
    let window =
        |seed: usize| (0..WINDOW_FRAMES * N_MELS).map(move |i| ((i * (seed + 3)) % 101) as f32 * 1e-3);
    let mut session = session();
    let batch = session.embed(&(0..8).flat_map(window).collect::<Vec<_>>()).unwrap();
    for (i, together) in batch.iter().enumerate() {
        let alone = session.embed(&window(i).collect::<Vec<_>>()).unwrap();
        // ONNX Runtime picks its matrix kernel by batch size, so the last bits may differ.
        assert_close(&format!("window {i}"), together, &alone[0], |_| 1e-6);
    }
}
