//! `/`: the web page, whose files are in `app/`.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE};
use axum::middleware::{from_fn, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;

use super::{packed, policy};
use crate::config::DEFAULT_API_KEY;
use crate::http::state::AppState;

/// Allows only the page's own files. Recordings are played from memory.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src blob:; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const OGG: &str = "audio/ogg";

/// The files with their paths and content types.
const FILES: &[(&str, &str, &[u8])] = &[
    ("/", HTML, include_bytes!("app/index.html")),
    ("/app/style.css", STYLE, include_bytes!("app/style.css")),
    ("/app/live.js", SCRIPT, include_bytes!("app/live.js")),
    ("/app/main.js", SCRIPT, include_bytes!("app/main.js")),
    ("/app/api.js", SCRIPT, include_bytes!("app/api.js")),
    ("/app/calibration.js", SCRIPT, include_bytes!("app/calibration.js")),
    ("/app/compare.js", SCRIPT, include_bytes!("app/compare.js")),
    ("/app/dom.js", SCRIPT, include_bytes!("app/dom.js")),
    ("/app/models.js", SCRIPT, include_bytes!("app/models.js")),
    ("/app/recorder.js", SCRIPT, include_bytes!("app/recorder.js")),
    ("/app/recording.js", SCRIPT, include_bytes!("app/recording.js")),
    ("/app/samples.js", SCRIPT, include_bytes!("app/samples.js")),
    ("/app/speakers.js", SCRIPT, include_bytes!("app/speakers.js")),
    ("/app/transcripts.js", SCRIPT, include_bytes!("app/transcripts.js")),
    ("/app/turns.js", SCRIPT, include_bytes!("app/turns.js")),
    ("/app/waveform.js", SCRIPT, include_bytes!("app/waveform.js")),
    ("/app/words.js", SCRIPT, include_bytes!("app/words.js")),
    ("/app/worklet.js", SCRIPT, include_bytes!("app/worklet.js")),
    ("/app/voices/anna-1.opus", OGG, include_bytes!("../../../assets/voices/anna-1.opus")),
    ("/app/voices/anna-2.opus", OGG, include_bytes!("../../../assets/voices/anna-2.opus")),
    ("/app/voices/grace-1.opus", OGG, include_bytes!("../../../assets/voices/grace-1.opus")),
    ("/app/voices/grace-2.opus", OGG, include_bytes!("../../../assets/voices/grace-2.opus")),
    ("/app/voices/marcus-1.opus", OGG, include_bytes!("../../../assets/voices/marcus-1.opus")),
    ("/app/voices/marcus-2.opus", OGG, include_bytes!("../../../assets/voices/marcus-2.opus")),
    ("/app/voices/meeting.opus", OGG, include_bytes!("../../../assets/voices/meeting.opus")),
    ("/app/voices/meeting.json", "application/json", include_bytes!("../../../assets/voices/meeting.json")),
];

/// The element from which the page reads the default key.
const DEFAULT_KEY: &str = r#"<meta name="default-key" content="">"#;

/// Returns the routes of the page. The page contains the default key while that key is valid, which is the case only on
/// this machine.
pub(in crate::http) fn routes(has_default_key: bool) -> Router<AppState> {
    let with_file = |routes: Router<AppState>,
                     &(path, content_type, file): &(&str, &'static str, &'static [u8])| {
        // Compressed on the first request, so that it does not delay the start.
        let packed = Arc::new(OnceLock::new());
        let knows_key = path == "/" && has_default_key;
        let pack = move || {
            let page = knows_key.then(|| with_default_key(file));
            Bytes::from(packed::pack(page.as_deref().unwrap_or(file)))
        };
        let answer = async move || answer(content_type, packed.get_or_init(pack).clone());
        routes.route(path, get(answer))
    };
    FILES
        .iter()
        .fold(Router::new(), with_file)
        .layer(from_fn(packed::unpack_unless_accepted))
        .layer(map_response(async |response| policy::with_policy(response, POLICY)))
}

fn with_default_key(page: &[u8]) -> Vec<u8> {
    let known = DEFAULT_KEY.replace("\"\"", &format!("\"{DEFAULT_API_KEY}\""));
    String::from_utf8_lossy(page).replace(DEFAULT_KEY, &known).into_bytes()
}

/// Returns a file. Browsers check for a new version each time, because the next version of the service may have another file.
fn answer(content_type: &'static str, packed: Bytes) -> Response {
    let headers = [(CONTENT_TYPE, content_type), (CONTENT_ENCODING, "gzip"), (CACHE_CONTROL, "no-cache")];
    (headers, packed).into_response()
}
