//! `/`: the page, whose files lie in `app/`.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE};
use axum::middleware::{from_fn, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;

use super::{packed, policy};
use crate::http::state::AppState;

/// The page's own files and nothing else; recordings are played from memory.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src blob:; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// The files by their paths, and their content types.
const FILES: &[(&str, &str, &[u8])] = &[
    ("/", HTML, include_bytes!("app/index.html")),
    ("/app/style.css", STYLE, include_bytes!("app/style.css")),
    ("/app/live.js", SCRIPT, include_bytes!("app/live.js")),
    ("/app/main.js", SCRIPT, include_bytes!("app/main.js")),
    ("/app/api.js", SCRIPT, include_bytes!("app/api.js")),
    ("/app/calibration.js", SCRIPT, include_bytes!("app/calibration.js")),
    ("/app/compare.js", SCRIPT, include_bytes!("app/compare.js")),
    ("/app/dom.js", SCRIPT, include_bytes!("app/dom.js")),
    ("/app/recorder.js", SCRIPT, include_bytes!("app/recorder.js")),
    ("/app/recording.js", SCRIPT, include_bytes!("app/recording.js")),
    ("/app/speakers.js", SCRIPT, include_bytes!("app/speakers.js")),
    ("/app/turns.js", SCRIPT, include_bytes!("app/turns.js")),
    ("/app/waveform.js", SCRIPT, include_bytes!("app/waveform.js")),
    ("/app/words.js", SCRIPT, include_bytes!("app/words.js")),
    ("/app/worklet.js", SCRIPT, include_bytes!("app/worklet.js")),
];

/// The routes of the page.
pub(in crate::http) fn routes() -> Router<AppState> {
    let with_file = |routes: Router<AppState>,
                     &(path, content_type, file): &(&str, &'static str, &'static [u8])| {
        // Compressed when somebody looks at it first, so that a start waits for nothing.
        let packed = Arc::new(OnceLock::new());
        let answer = async move || {
            answer(content_type, packed.get_or_init(|| Bytes::from(packed::pack(file))).clone())
        };
        routes.route(path, get(answer))
    };
    FILES
        .iter()
        .fold(Router::new(), with_file)
        .layer(from_fn(packed::unpack_unless_accepted))
        .layer(map_response(async |response| policy::with_policy(response, POLICY)))
}

/// A file; a browser asks for it again, since another version of the service may answer next time.
fn answer(content_type: &'static str, packed: Bytes) -> Response {
    let headers = [(CONTENT_TYPE, content_type), (CONTENT_ENCODING, "gzip"), (CACHE_CONTROL, "no-cache")];
    (headers, packed).into_response()
}
