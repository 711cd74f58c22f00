//! Prints the embedding of an audio file as JSON: `cargo run --release --example embed_file -- voice.wav`.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use serde_json::json;
use voice_embedding_service::encoder::{Runtime, Session};
use voice_embedding_service::models::{Model, resemblyzer};
use voice_embedding_service::pipeline::{Pipeline, PipelineLimits};

fn main() -> anyhow::Result<()> {
    let file = std::env::args_os().nth(1).map(PathBuf::from).context("usage: embed_file AUDIO_FILE")?;
    let library = std::env::var_os("ORT_DYLIB_PATH").unwrap_or_else(|| "libonnxruntime.so".into());

    let model = Model::new(Arc::new(resemblyzer::spec()), std::fs::read("models/resemblyzer.onnx")?);
    let mut session = Session::new(&Runtime::load(library.as_ref())?, &model.onnx, model.spec.graph)?;
    let pipeline = Pipeline::new(&model, PipelineLimits::default());

    let bytes = std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let (embedding, report) = pipeline.embed(&mut session, &bytes)?;
    let embedding: Vec<f32> = embedding.components().iter().map(|component| *component as f32).collect();
    println!("{}", json!({ "embedding": embedding, "speech_seconds": report.speech_seconds }));
    Ok(())
}
