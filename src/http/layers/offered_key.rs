//! The key of a browser's WebSocket. A page cannot set headers on a WebSocket, so it offers the key as a subprotocol.

use axum::extract::Request;
use axum::http::header::{SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

/// Prefix of the subprotocol that contains the key.
const PREFIX: &str = "key.";

/// Returns the key that a handshake offers as the subprotocol `key.BASE64URL`, without padding.
pub(super) fn offered_key(request: &Request) -> Option<Vec<u8>> {
    request.headers().get(UPGRADE)?;
    let offered = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let mut names = offered.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let encoded = names.find_map(|name| name.trim().strip_prefix(PREFIX))?;
    BASE64_URL_SAFE_NO_PAD.decode(encoded).ok()
}
