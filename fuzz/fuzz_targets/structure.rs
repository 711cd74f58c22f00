//! Decodes files with false counts, sizes and tables. The input describes the boxes of a file. Whatever they claim,
//! decoding takes no more memory and time than the longest allowed recording. libFuzzer enforces both limits
//! (`-malloc_limit_mb`, `-rss_limit_mb`, `-timeout`).

#![no_main]

use libfuzzer_sys::fuzz_target;
use voice_embedding_service::audio::{DecodeOptions, decode};

#[allow(dead_code, reason = "tests use more of it")]
#[path = "../../tests/it/support/containers.rs"]
mod containers;

const MAX_SECONDS: f64 = 20.0;

fuzz_target!(|description: &[u8]| {
    let file = containers::from_description(description);
    if let Ok(recording) = decode(&file, DecodeOptions::with_max_seconds(MAX_SECONDS)) {
        assert!(recording.duration_seconds <= MAX_SECONDS);
    }
});
