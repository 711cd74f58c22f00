//! Parses arbitrary bytes as a JSON body.

#![no_main]

use libfuzzer_sys::fuzz_target;
use voice_embedding_service::http::internals::read_json;

fuzz_target!(|body: &[u8]| {
    let (is_extract, is_compare) = read_json(body);
    assert!(!(is_extract && is_compare) || body.len() > 2 * 256);
});
