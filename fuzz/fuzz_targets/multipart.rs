//! Parses arbitrary bytes as a multipart form that arrives in pieces. The first byte sets the size of the pieces.

#![no_main]

use libfuzzer_sys::fuzz_target;
use voice_embedding_service::http::internals::read_upload;

const MAX_BYTES: usize = 2_000;

fuzz_target!(|input: &[u8]| {
    let Some((piece_len, body)) = input.split_first() else { return };
    let pieces = body.chunks(usize::from(*piece_len).max(1)).map(|piece| piece.to_vec().into()).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("it needs no system resource");
    if let Some(file) = runtime.block_on(read_upload(pieces, MAX_BYTES)) {
        assert!(file.len() <= body.len().min(MAX_BYTES));
    }
});
