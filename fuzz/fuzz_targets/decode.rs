//! Decodes arbitrary bytes as an audio file of any format and runs every stage before the encoder.

#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use voice_embedding_service::models::{Model, resemblyzer};
use voice_embedding_service::pipeline::{Pipeline, PipelineLimits, RecordingOptions};

static PIPELINE: LazyLock<Pipeline> = LazyLock::new(|| {
    // Nothing is encoded, so no weights are needed.
    let model = Model::new(Arc::new(resemblyzer::spec()), Vec::new());
    Pipeline::new(&model, PipelineLimits { max_audio_seconds: 20.0, ..PipelineLimits::default() })
});

fuzz_target!(|file: &[u8]| {
    if let Ok(analysis) =
        PIPELINE.decode(file, RecordingOptions::default()).and_then(|recording| PIPELINE.analyse(recording))
    {
        assert!(analysis.report.duration_seconds <= 20.0 && !analysis.features.units().is_empty());
    }
});
