//! Compares the speakers of two audio files: `cargo run --release --example compare_files -- a.wav b.wav`.

use std::sync::Arc;

use anyhow::{Context, bail};
use voice_embedding_service::compare::{cosine, is_same_speaker};
use voice_embedding_service::embedding::UnitEmbedding;
use voice_embedding_service::encoder::{Runtime, Session};
use voice_embedding_service::models::{Model, resemblyzer};
use voice_embedding_service::pipeline::{Pipeline, PipelineLimits};

fn main() -> anyhow::Result<()> {
    let files: Vec<_> = std::env::args_os().skip(1).collect();
    let [first, second] = files.as_slice() else { bail!("usage: compare_files AUDIO_FILE AUDIO_FILE") };
    let library = std::env::var_os("ORT_DYLIB_PATH").unwrap_or_else(|| "libonnxruntime.so".into());

    let model = Model::new(Arc::new(resemblyzer::spec()), std::fs::read("models/resemblyzer.onnx")?);
    let mut session = Session::new(&Runtime::load(library.as_ref())?, &model.onnx, model.spec.graph)?;
    let pipeline = Pipeline::new(&model, PipelineLimits::default());

    let mut embed = |file: &std::ffi::OsString| -> anyhow::Result<UnitEmbedding> {
        let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        Ok(pipeline.embed(&mut session, &bytes)?.0.try_into()?)
    };
    let (similarity, threshold) = (cosine(&embed(first)?, &embed(second)?)?, model.spec.threshold);
    let verdict = if is_same_speaker(similarity, threshold.similarity) {
        "the same speaker"
    } else {
        "different speakers"
    };
    println!("{similarity:.4}: {verdict} (threshold {})", threshold.similarity);
    Ok(())
}
