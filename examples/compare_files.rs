//! Says whether two audio files are the same speaker: `cargo run --release --example compare_files -- a.wav b.wav`.

use anyhow::{Context, bail};
use voice_embedding_service::embedding::Embedding;
use voice_embedding_service::encoder::{Runtime, Session};
use voice_embedding_service::hparams::SAME_SPEAKER_THRESHOLD;
use voice_embedding_service::model::Model;
use voice_embedding_service::pipeline::{Pipeline, PipelineLimits};
use voice_embedding_service::similarity::{cosine, is_same_speaker};

fn main() -> anyhow::Result<()> {
    let files: Vec<_> = std::env::args_os().skip(1).collect();
    let [first, second] = files.as_slice() else { bail!("usage: compare_files AUDIO_FILE AUDIO_FILE") };
    let library = std::env::var_os("ORT_DYLIB_PATH").unwrap_or_else(|| "libonnxruntime.so".into());

    let model = Model::read("models/resemblyzer.onnx".as_ref())?;
    let mut session = Session::new(&Runtime::load(library.as_ref())?, &model.onnx)?;
    let pipeline = Pipeline::new(PipelineLimits::default());

    let mut embed = |file: &std::ffi::OsString| -> anyhow::Result<Embedding> {
        let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        Ok(pipeline.embed(&mut session, &bytes)?.0)
    };
    let similarity = cosine(&embed(first)?, &embed(second)?);
    let verdict = if is_same_speaker(similarity, SAME_SPEAKER_THRESHOLD) {
        "the same speaker"
    } else {
        "different speakers"
    };
    println!("{similarity:.4}: {verdict} (threshold {SAME_SPEAKER_THRESHOLD})");
    Ok(())
}
