//! Any bytes as an audio file of any format, through everything before the encoder.

#![no_main]

use libfuzzer_sys::fuzz_target;
use voice_embedding_service::pipeline::{Pipeline, PipelineLimits};

fuzz_target!(|file: &[u8]| {
    let pipeline = Pipeline::new(PipelineLimits { max_audio_seconds: 20.0, min_speech_seconds: 0.0 });
    if let Ok(prepared) = pipeline.decode(file).and_then(|recording| pipeline.prepare(recording)) {
        assert!(prepared.report.duration_seconds <= 20.0 && prepared.windows.count() > 0);
    }
});
