//! A session receives audio and texts, runs steps on the workers, and sends events.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::extract::ws::{Message, WebSocket};
use futures_util::future::BoxFuture;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{FutureExt, SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_tungstenite::tungstenite::Error as SocketError;

use super::inbox::{ClientMessage, Inbox, Work};
use super::outbox::{NotRead, Outbox};
use crate::decisions::{Diarized, DiarizedChannel, Names};
use crate::diarization::{Diarization, TurnOptions};
use crate::embedder::{EmbedderModel, LiveStep, SegmentationNetwork};
use crate::http::admission::RequestAdmission;
use crate::http::answer;
use crate::http::error::ApiError;
use crate::http::keys::Holder;
use crate::http::layers::in_hand::Counted;
use crate::http::metrics::Metrics;
use crate::http::open_connections::{Busy, OpenConnection};
use crate::http::state::AppState;
use crate::live::{LiveEvent, LiveSession, LiveWarning, Purpose, latency_seconds};
use crate::notation::milliseconds;
use crate::pace::Pace;
use crate::speakers::Identifier;

/// Interval between checks of the clock, of the key and of whether the service is shutting down.
const TICK: Duration = Duration::from_millis(250);

/// Interval between pings, which keep proxies from closing the connection.
const PING: Duration = Duration::from_secs(20);

/// Time without samples or `keep_alive` after which a session is closed.
const IDLE: Duration = Duration::from_mins(1);

/// Maximum time for a client to receive a message.
const WRITE: Duration = Duration::from_secs(10);

/// Maximum time of a search for names.
const SEARCH: Duration = Duration::from_secs(2);

/// A session is behind if more seconds of audio than this are waiting, until less than one second is waiting.
const BEHIND_SECONDS: f64 = 10.0;
const CAUGHT_UP_SECONDS: f64 = 1.0;

/// A place among the open sessions, which is freed when this is dropped.
pub(in crate::http) struct SessionPlace {
    taken: Arc<AtomicUsize>,
    metrics: Arc<Metrics>,
}

impl SessionPlace {
    /// Takes a place, if one is free.
    pub(in crate::http) fn take(state: &AppState) -> Result<Self, ApiError> {
        let capacity = Self::capacity(state)?;
        let more = |taken| (taken < capacity).then_some(taken + 1);
        let taken = state.live_sessions.fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
        taken.map_err(|_| ApiError::Overloaded)?;
        state.metrics.live.sessions.inc();
        Ok(Self { taken: Arc::clone(&state.live_sessions), metrics: Arc::clone(&state.metrics) })
    }

    /// Returns the maximum number of open sessions.
    pub(in crate::http) fn capacity(state: &AppState) -> Result<usize, ApiError> {
        match state.config.max_live_sessions {
            Some(sessions) => Ok(sessions),
            None => Ok(state.embedder_in_hand()?.live_capacity()),
        }
    }
}

impl Drop for SessionPlace {
    fn drop(&mut self) {
        self.taken.fetch_sub(1, Ordering::AcqRel);
        self.metrics.live.sessions.dec();
    }
}

/// A session whose handshake was accepted.
pub(in crate::http) struct Opened {
    pub(in crate::http) state: AppState,
    pub(in crate::http) id: String,
    pub(in crate::http) holder: Arc<Holder>,
    pub(in crate::http) model: Arc<EmbedderModel>,
    pub(in crate::http) network: SegmentationNetwork,
    pub(in crate::http) sample_rate_hz: u32,
    pub(in crate::http) bytes_a_second: usize,
    pub(in crate::http) turns: TurnOptions,
    pub(in crate::http) collection: Option<Identifier>,
    pub(in crate::http) partial_seconds: f64,
    /// The session's place among the open sessions.
    pub(in crate::http) _place: SessionPlace,
    /// Makes shutdown wait for the session.
    pub(in crate::http) _counted: Counted,
    /// Keeps the connection busy.
    pub(in crate::http) _connection: Option<(Arc<OpenConnection>, Busy)>,
}

/// The code and the reason of a close message.
#[derive(Clone, Copy)]
struct Close {
    code: u16,
    reason: &'static str,
}

const FINISHED: Close = Close { code: 1000, reason: "" };
const GOING_AWAY: Close = Close { code: 1001, reason: "the service is shutting down" };
const PROTOCOL: Close = Close { code: 1002, reason: "" };
const UNSUPPORTED: Close = Close { code: 1003, reason: "" };
const NO_UTF_8: Close = Close { code: 1007, reason: "the text is not UTF-8" };
const REVOKED: Close = Close { code: 1008, reason: "the key is not valid any more" };
const TOO_LARGE: Close = Close { code: 1009, reason: "a message may have 1 MiB" };
const INTERNAL: Close = Close { code: 1011, reason: "" };
const NOT_READ: Close = Close { code: 1013, reason: "events are not read" };
const IDLE_FOR_TOO_LONG: Close = Close { code: 4000, reason: "no samples and no keep_alive for 60 s" };
const TOO_LONG: Close = Close { code: 4001, reason: "the session is as long as MAX_LIVE_SECONDS" };

/// A failure that ends a session before its result: the close message, and the error that the client receives.
struct SessionFailure {
    close: Close,
    code: &'static str,
    message: String,
}

impl SessionFailure {
    fn new(close: Close, code: &'static str, message: impl Into<String>) -> Self {
        Self { close, code, message: message.into() }
    }
}

impl From<ApiError> for SessionFailure {
    fn from(error: ApiError) -> Self {
        if error.is_internal() {
            tracing::error!(%error, "a live session failed");
            return Self::new(INTERNAL, "internal", ApiError::Panicked.to_string());
        }
        let code = error.code();
        Self::new(UNSUPPORTED, code, error.to_string())
    }
}

impl From<NotRead> for SessionFailure {
    fn from(_: NotRead) -> Self {
        Self::new(NOT_READ, "overloaded", NOT_READ.reason)
    }
}

/// The result of a step.
struct Stepped {
    session: Box<LiveSession>,
    events: Vec<LiveEvent>,
    due: Instant,
    purpose: Purpose,
}

/// Runs a session until it ends.
pub(in crate::http) async fn run(opened: Opened, session: Box<LiveSession>, socket: WebSocket) {
    let Opened { state, id, holder, partial_seconds, bytes_a_second, .. } = &opened;
    let outbox = Arc::new(Outbox::default());
    let (to_client, from_client) = socket.split();
    let mut writer = tokio::spawn(write(to_client, Arc::clone(&outbox)));
    let ready = json!({
        "type": "ready",
        "session": id,
        "model": opened.model.id().fingerprint(),
        "sample_rate": opened.sample_rate_hz,
        "latency_seconds": latency_seconds(*partial_seconds),
    });
    outbox.text(ready.to_string());
    let (state, id, key, begun) = (state.clone(), id.clone(), holder.key.name.clone(), Instant::now());
    let inbox = Inbox::new(*bytes_a_second, *partial_seconds);
    let mut running =
        Running { opened, inbox, outbox: Arc::clone(&outbox), is_behind: false, is_named: true };
    let closed = tokio::select! {
        ended = running.run(session, from_client) => ended,
        // The client accepts no more messages.
        _ = &mut writer => Ok(None),
    };
    let seconds = milliseconds(running.inbox.n_bytes() as f64 / running.opened.bytes_a_second as f64);
    running.set_behind(false);
    let close = match closed {
        Ok(close) => close,
        Err(SessionFailure { close, code, message }) => {
            outbox.text(json!({"type": "error", "code": code, "message": message}).to_string());
            Some(close)
        }
    };
    if let Some(Close { code, reason }) = close {
        outbox.close(code, reason);
        if timeout(WRITE, &mut writer).await.is_err() {
            writer.abort();
        }
    } else {
        writer.abort();
    }
    let code = close.map_or(1006, |close| close.code);
    state.metrics.live.ended.with_label_values(&[&code.to_string()]).inc();
    let duration_ms = begun.elapsed().as_millis() as u64;
    tracing::info!(session = id, key, code, audio_seconds = seconds, duration_ms, "a live session has ended");
}

/// Sends the messages of the outbox to the client. Ends with the close message, or when the client stops receiving.
async fn write(mut to_client: SplitSink<WebSocket, Message>, outbox: Arc<Outbox>) {
    loop {
        let message = outbox.next().await;
        let is_last = matches!(message, Message::Close(_));
        if !matches!(timeout(WRITE, to_client.send(message)).await, Ok(Ok(()))) || is_last {
            return;
        }
    }
}

/// An open session.
struct Running {
    opened: Opened,
    inbox: Inbox,
    outbox: Arc<Outbox>,
    is_behind: bool,
    /// Whether the last search for names succeeded.
    is_named: bool,
}

impl Running {
    /// Runs the session to its end. Returns how to close the connection, or `None` if the client has closed it.
    async fn run(
        &mut self,
        session: Box<LiveSession>,
        mut from_client: SplitStream<WebSocket>,
    ) -> Result<Option<Close>, SessionFailure> {
        let admission = Arc::new(RequestAdmission::live(&self.opened.state)?);
        let mut session = Some(session);
        let mut stepping: Option<BoxFuture<'static, Result<Stepped, ApiError>>> = None;
        // The next transcript for the session. The session adds it after the current step, and reads nothing more before.
        let mut transcript: Option<String> = None;
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut last_heard, mut last_ping) = (Instant::now(), Instant::now());
        // How to close the connection after the result has been sent.
        let mut ending: Option<Close> = None;
        loop {
            if let Some(idle) = session.as_mut() {
                if let Some(transcript) = transcript.take() {
                    let wrong = |error: crate::live::LiveTranscriptError| {
                        SessionFailure::new(UNSUPPORTED, "validation_error", error.to_string())
                    };
                    idle.push_transcript(&transcript).map_err(wrong)?;
                }
                if let Some(work) = self.inbox.next() {
                    self.set_behind_by_what_waits()?;
                    let session = session.take().expect("it was just there");
                    stepping = Some(self.step(&admission, session, work));
                }
            }
            let may_read = ending.is_none() && transcript.is_none() && self.inbox.has_room();
            tokio::select! {
                stepped = async { stepping.as_mut().expect("it is there").await }, if stepping.is_some() => {
                    stepping = None;
                    let Stepped { session: idle, events, due, purpose } = stepped?;
                    self.opened.state.metrics.live.latency_seconds.observe(due.elapsed().as_secs_f64());
                    for event in events {
                        self.note_names(&event);
                        self.outbox.tell(event)?;
                    }
                    if purpose == Purpose::End {
                        let result = self.conclude(&admission, idle).await?;
                        self.outbox.text(result);
                        return Ok(Some(ending.unwrap_or(FINISHED)));
                    }
                    session = Some(idle);
                }
                message = from_client.next(), if may_read => {
                    match message {
                        None | Some(Ok(Message::Close(_))) => return Ok(None),
                        Some(Err(error)) => return closed_by(error),
                        Some(Ok(Message::Binary(bytes))) => {
                            last_heard = Instant::now();
                            ending = self.take_audio(bytes.into());
                        }
                        Some(Ok(Message::Text(text))) => {
                            let asked = ClientMessage::from_text(&text);
                            match asked.map_err(|wrong| SessionFailure::new(UNSUPPORTED, "validation_error", wrong))? {
                                ClientMessage::Transcript(segments) => transcript = Some(segments),
                                ClientMessage::KeepAlive => last_heard = Instant::now(),
                                ClientMessage::Flush => self.inbox.mark(Purpose::Flush),
                                ClientMessage::End => {
                                    self.inbox.mark(Purpose::End);
                                    ending = Some(FINISHED);
                                }
                            }
                        }
                        Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    }
                }
                _ = tick.tick() => {
                    if last_ping.elapsed() >= PING {
                        last_ping = Instant::now();
                        self.outbox.ping();
                    }
                    if ending.is_none() && self.opened.state.shutting_down.load(Ordering::Relaxed) {
                        self.inbox.mark(Purpose::End);
                        ending = Some(GOING_AWAY);
                    }
                    if !self.opened.state.api_keys.is_valid(&self.opened.holder) {
                        return Err(SessionFailure::new(REVOKED, "invalid_api_key", REVOKED.reason));
                    }
                    // While audio is waiting and nothing is read, the client does not count as idle.
                    if ending.is_none() && may_read && last_heard.elapsed() >= IDLE {
                        return Err(SessionFailure::new(IDLE_FOR_TOO_LONG, "request_timeout", IDLE_FOR_TOO_LONG.reason));
                    }
                }
            }
        }
    }

    /// Adds audio, up to the maximum length of a session. If the audio exceeds it, returns how the session ends.
    fn take_audio(&mut self, mut bytes: Vec<u8>) -> Option<Close> {
        let Opened { state, bytes_a_second, .. } = &self.opened;
        let most = (state.config.max_live_seconds * *bytes_a_second as f64) as usize;
        let left = most.saturating_sub(self.inbox.n_bytes());
        let is_too_long = bytes.len() > left;
        bytes.truncate(left);
        state.metrics.live.audio_seconds.inc_by(bytes.len() as f64 / *bytes_a_second as f64);
        if !bytes.is_empty() {
            self.inbox.push(bytes);
        }
        if is_too_long {
            self.inbox.mark(Purpose::End);
        }
        is_too_long.then_some(TOO_LONG)
    }

    /// Warns the client, once, when more than [`BEHIND_SECONDS`] of audio are waiting.
    fn set_behind_by_what_waits(&mut self) -> Result<(), SessionFailure> {
        let waiting = self.inbox.waiting_seconds();
        if !self.is_behind && waiting > BEHIND_SECONDS {
            self.set_behind(true);
            self.outbox.tell(LiveWarning::Behind.event())?;
        } else if waiting < CAUGHT_UP_SECONDS {
            self.set_behind(false);
        }
        Ok(())
    }

    fn set_behind(&mut self, is_behind: bool) {
        let gauge = &self.opened.state.metrics.live.behind;
        match (self.is_behind, is_behind) {
            (false, true) => gauge.inc(),
            (true, false) => gauge.dec(),
            _ => {}
        }
        self.is_behind = is_behind;
    }

    fn note_names(&mut self, event: &LiveEvent) {
        match event {
            LiveEvent::Warning { code: LiveWarning::NamesUnavailable, .. } => self.is_named = false,
            LiveEvent::Speaker { .. } => self.is_named = true,
            _ => {}
        }
    }

    /// Runs a step, and a search for names if one is due.
    fn step(
        &self,
        admission: &Arc<RequestAdmission>,
        session: Box<LiveSession>,
        work: Work,
    ) -> BoxFuture<'static, Result<Stepped, ApiError>> {
        let Opened { model, network, collection, .. } = &self.opened;
        let (admission, model, network) = (Arc::clone(admission), Arc::clone(model), *network);
        let (collection, was_named) = (collection.clone(), self.is_named);
        async move {
            let Work { audio, purpose, due } = work;
            let step = admission.live_step(&model, network, session, (audio, purpose)).await?;
            let LiveStep { mut session, mut events } = step;
            if let Some(collection) = collection
                && let Some(voices) = session.due_search()
            {
                let searched = admission.name_speakers(&model, &collection, &voices);
                match timeout(SEARCH, searched).await {
                    Ok(Ok(names)) => events.extend(session.name(&names)),
                    // Turns continue without names.
                    _ if was_named => events.push(LiveWarning::NamesUnavailable.event()),
                    _ => {}
                }
            }
            events.extend(session.settled_transcripts());
            Ok(Stepped { session, events, due, purpose })
        }
        .boxed()
    }

    /// Returns the event `final`.
    async fn conclude(
        &self,
        admission: &RequestAdmission,
        session: Box<LiveSession>,
    ) -> Result<String, ApiError> {
        let Opened { model, turns, collection, .. } = &self.opened;
        let (heard, transcript) = session.conclude();
        let (found, audio) = match heard {
            Ok(heard) => {
                let turns = turns.clone();
                admission.run_in_slices(move |pace| heard.diarize_any(&turns, pace)).await??
            }
            Err(audio) => (Diarization::default(), audio),
        };
        let names = match collection {
            Some(collection) => {
                let searched = timeout(SEARCH, admission.name_speakers(model, collection, &found)).await;
                match searched {
                    Ok(Ok(names)) => names,
                    _ => Names::none(found.speakers.len()),
                }
            }
            None => Names::none(found.speakers.len()),
        };
        let model = model.id().clone();
        let text = admission.run(move || {
            let channel = DiarizedChannel { number: None, found, names, audio };
            let answer = Diarized::new(vec![channel], model).answer(transcript.as_ref(), true);
            answer::to_json(&answer, Pace::UNBROKEN)
        });
        let text = text.await??;
        let fields = std::str::from_utf8(&text).ok().and_then(|text| text.strip_prefix('{'));
        let fields = fields.ok_or_else(|| ApiError::Internal("the result is no object".into()))?;
        Ok(format!("{{\"type\":{},{fields}", Value::from("final")))
    }
}

/// Returns how to close the connection after an error of the socket, or `None` if the client is gone.
fn closed_by(error: axum::Error) -> Result<Option<Close>, SessionFailure> {
    match error.into_inner().downcast::<SocketError>().as_deref() {
        Ok(SocketError::Capacity(_)) => {
            Err(SessionFailure::new(TOO_LARGE, "payload_too_large", TOO_LARGE.reason))
        }
        Ok(SocketError::Utf8(_)) => Ok(Some(NO_UTF_8)),
        Ok(SocketError::Protocol(_)) => Ok(Some(PROTOCOL)),
        _ => Ok(None),
    }
}
