//! `GET /v1/live`: reports who is speaking while audio arrives.

use axum::Extension;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::{HOST, ORIGIN};
use axum::response::Response;
use serde::Deserialize;
use tracing::{Instrument, info_span};
use utoipa::IntoParams;

use crate::audio::{Channel, RawFormat};
use crate::config::{CorsOrigins, Right};
use crate::diarization::TurnOptions;
use crate::embedder::EmbedError;
use crate::http::error::{ApiError, FieldError};
use crate::http::error_table::error_responses;
use crate::http::layers::auth::KeyHolder;
use crate::http::layers::in_hand::Counted;
use crate::http::layers::request_id;
use crate::http::live::{self, Opened, SessionPlace};
use crate::http::open_connections::OfConnection;
use crate::http::request::diarization::speaker_count;
use crate::http::request::model::{resolve_in, segmentation};
use crate::http::request::parts::options_of_query;
use crate::http::request::raw_format::{ENCODINGS, sample_format};
use crate::http::state::AppState;
use crate::live::{LiveOptions, LiveSession, PARTIAL_SECONDS, PARTIAL_SECONDS_RANGE};
use crate::pipeline::PipelineError;
use crate::speakers::Identifier;

/// The subprotocol of live sessions.
const PROTOCOL: &str = "voice-live.v1";

/// Maximum size of a client's message, in bytes.
const MAX_MESSAGE_BYTES: usize = 1 << 20;

/// The options of a session.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct LiveQuery {
    /// The encoding of samples: `s16le`, `s16be`, `f32le`, `mulaw` or `alaw`; `s16le` by default.
    #[param(example = "s16le", nullable = false)]
    encoding: Option<String>,
    /// The sample rate in Hz; 16000 by default.
    #[param(minimum = 8000, maximum = 48000, example = 16000, nullable = false)]
    sample_rate: Option<u32>,
    /// The number of channels; 1 by default.
    #[param(minimum = 1, maximum = 2, nullable = false)]
    channels: Option<u16>,
    /// The channel: `mix` for the mean of the channels, or the number of one channel, counted from 0.
    #[param(value_type = Option<String>, example = "mix", nullable = false)]
    channel: Option<String>,
    /// The model, by id or fingerprint.
    #[param(nullable = false)]
    model: Option<String>,
    /// The collection whose enrolled speakers are named.
    #[param(value_type = Option<String>, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", nullable = false)]
    collection: Option<Identifier>,
    /// The number of speakers, if it is known.
    #[param(minimum = 1, maximum = 30, nullable = false)]
    num_speakers: Option<usize>,
    /// The minimum number of speakers; 1 by default.
    #[param(minimum = 1, maximum = 30, nullable = false)]
    min_speakers: Option<usize>,
    /// The maximum number of speakers; 10 by default.
    #[param(minimum = 1, maximum = 30, nullable = false)]
    max_speakers: Option<usize>,
    /// Seconds between two updates of open turns; 1 by default.
    #[param(minimum = 0.5, maximum = 5, nullable = false)]
    partial_seconds: Option<f64>,
}

// The errors of a handshake.
error_responses!(
    LiveErrors,
    "invalid_api_key",
    "forbidden",
    "model_not_found",
    "model_mismatch",
    "validation_error",
    "upgrade_required",
    "rate_limited",
    "no_store",
    "overloaded",
    "model_not_ready",
    "shutting_down",
    "store_unavailable"
);

/// Report who is speaking while audio arrives.
///
/// Opens a WebSocket. The client sends samples, and the service reports who is speaking. At the end, the service sends
/// the response that `/v1/diarize` would give for the same samples. docs/live.md describes the messages, and
/// `/asyncapi.json` describes them for programs. A browser offers two subprotocols: `voice-live.v1`, and `key.` followed
/// by the key in base64url without padding.
#[utoipa::path(get, path = "/v1/live", tag = "Voices", security(("ApiKey" = []), ("Bearer" = [])),
    params(LiveQuery),
    responses((status = 101, description = "The session is open"), LiveErrors),
)]
pub(in crate::http) async fn live(
    State(state): State<AppState>,
    Extension(key): Extension<KeyHolder>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let upgrade = upgrade.map_err(|_| ApiError::UpgradeRequired)?;
    check_origin(&state.cors_origins, request.headers())?;
    let query: LiveQuery = options_of_query(request.uri())?;
    let options = query.options(state.config.max_live_seconds).map_err(ApiError::in_query)?;
    let partial_seconds = query.partial_seconds().map_err(ApiError::in_query)?;
    if let Some(collection) = &query.collection {
        key.require(Right::Identify)?;
        key.require_collection(collection)?;
        state.store()?;
    }
    let network = segmentation(state.embedder()?)?;
    let model = resolve_in(&state, query.model.as_deref().into_iter(), query.collection.as_ref()).await?;
    let place = SessionPlace::take(&state)?;
    let RawFormat { format, sample_rate_hz, channels } = options.raw;
    let turns = options.turns.clone();
    let session = LiveSession::new(model.pipeline(), model.spec(), options);
    let session = session
        .map_err(|error| ApiError::from(EmbedError::Pipeline(PipelineError::from(error))).in_query())?;
    let opened = Opened {
        id: request_id::id_of(&request).to_owned(),
        holder: key.holder,
        model,
        network,
        sample_rate_hz,
        bytes_a_second: format.n_bytes() * usize::from(channels) * sample_rate_hz as usize,
        turns,
        collection: query.collection,
        partial_seconds,
        _place: place,
        _counted: Counted::new(&state),
        _connection: request.extensions().get::<OfConnection>().map(OfConnection::hold),
        state,
    };
    let span = info_span!("live");
    let upgrade =
        upgrade.protocols([PROTOCOL]).max_message_size(MAX_MESSAGE_BYTES).max_frame_size(MAX_MESSAGE_BYTES);
    Ok(upgrade.on_upgrade(move |socket| live::run(opened, Box::new(session), socket).instrument(span)))
}

impl LiveQuery {
    fn options(&self, max_seconds: f64) -> Result<LiveOptions, ApiError> {
        let wrong =
            |name: &str, msg: String| ApiError::from(FieldError::value(name, &msg, serde_json::Value::Null));
        let encoding = self.encoding.as_deref().unwrap_or("s16le");
        let format = sample_format(encoding)
            .ok_or_else(|| wrong("encoding", format!("Input should be one of {ENCODINGS}")))?;
        let sample_rate_hz = self.sample_rate.unwrap_or(16_000);
        if !(8_000..=48_000).contains(&sample_rate_hz) {
            return Err(wrong("sample_rate", "Input should be from 8000 to 48000".into()));
        }
        let channels = self.channels.unwrap_or(1);
        if !(1..=2).contains(&channels) {
            return Err(wrong("channels", "Input should be 1 or 2".into()));
        }
        let channel = match self.channel.as_deref() {
            None => Channel::Mix,
            Some(text) => text
                .parse()
                .map_err(|_| wrong("channel", "Input should be mix or the number of a channel".into()))?,
        };
        let count = speaker_count(self.num_speakers, self.min_speakers, self.max_speakers)?;
        Ok(LiveOptions {
            raw: RawFormat { format, sample_rate_hz, channels },
            channel,
            turns: TurnOptions { count, overlap: true },
            max_seconds,
        })
    }

    fn partial_seconds(&self) -> Result<f64, ApiError> {
        let seconds = self.partial_seconds.unwrap_or(PARTIAL_SECONDS);
        if PARTIAL_SECONDS_RANGE.contains(&seconds) {
            return Ok(seconds);
        }
        Err(ApiError::field("partial_seconds", "Input should be from 0.5 to 5"))
    }
}

/// Checks that the origin of a page may open sessions: the service's own origin, or one in `CORS_ORIGINS`. Browsers do
/// not check this themselves before they open a WebSocket, and programs send no origin.
fn check_origin(allowed: &CorsOrigins, headers: &HeaderMap) -> Result<(), ApiError> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().unwrap_or("null");
    let is_own = origin.split_once("://").is_some_and(|(_, host)| text(HOST) == Some(host));
    let is_allowed = match allowed {
        CorsOrigins::None => false,
        CorsOrigins::Any => true,
        CorsOrigins::List(list) => list.iter().any(|listed| listed == origin),
    };
    if is_own || is_allowed { Ok(()) } else { Err(ApiError::ForeignOrigin { origin: origin.to_owned() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_others_open_no_sessions() {
        let list = CorsOrigins::List(vec!["https://example.org".into()]);
        let cases = [
            (None, &list, true),
            (Some("https://voice.example"), &CorsOrigins::None, true),
            (Some("http://voice.example"), &CorsOrigins::None, true),
            (Some("https://example.org"), &list, true),
            (Some("https://example.org"), &CorsOrigins::None, false),
            (Some("https://evil.example"), &list, false),
            (Some("https://evil.example"), &CorsOrigins::Any, true),
            (Some("null"), &list, false),
        ];
        for (origin, allowed, expected) in cases {
            let mut headers = HeaderMap::from_iter([(HOST, "voice.example".parse().unwrap())]);
            headers.extend(origin.map(|origin| (ORIGIN, origin.parse().unwrap())));
            assert_eq!(check_origin(allowed, &headers).is_ok(), expected, "{origin:?} {allowed:?}");
        }
    }
}
