//! A live session on a running service.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::{Context, anyhow, bail};
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc::channel;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderValue, Response};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};
use url::Url;

use super::print::Printer;
use super::source::AudioSource;
use super::{LiveArgs, SampleEncoding, ensure_whole};
use crate::audio::Channel;
use crate::tls::{self, ServerVerification};

/// The number of pieces of audio that may wait to be sent.
const WAITING: usize = 8;

/// Streams the audio to a service, and writes its events.
pub(super) fn run(
    args: &LiveArgs,
    url: &str,
    mut source: AudioSource,
    is_stopped: &Arc<AtomicBool>,
    printer: &mut Printer,
) -> anyhow::Result<()> {
    let url = session_url(args, url, &source)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut request = url.as_str().into_client_request()?;
        let key = HeaderValue::from_str(&args.api_key).context("API_KEY is no header")?;
        request.headers_mut().insert("X-API-Key", key);
        let host = url.host_str().context("--url has no host")?.to_owned();
        let port = url.port_or_known_default().context("--url has no port")?;
        let address = (host.trim_matches(['[', ']']).to_owned(), port);
        let tcp =
            TcpStream::connect(address).await.with_context(|| format!("cannot connect to {host}:{port}"))?;
        tcp.set_nodelay(true)?;
        let stream: Box<dyn RemoteStream> = if url.scheme() == "wss" {
            let config = tls::client_config(&ServerVerification::System).map_err(|reason| anyhow!(reason))?;
            let name = ServerName::try_from(host)?;
            Box::new(TlsConnector::from(Arc::new(config)).connect(name, tcp).await?)
        } else {
            Box::new(tcp)
        };
        let (socket, _) = client_async(request, stream).await.map_err(refused)?;
        let received_ms = Arc::new(AtomicU64::new(0));
        let (played, mut audio) = channel(WAITING);
        let (is_stopped, played_ms) = (Arc::clone(is_stopped), Arc::clone(&received_ms));
        // Reading standard input blocks, and so does waiting for a recording to play.
        std::thread::spawn(move || {
            while !is_stopped.load(Ordering::Relaxed) {
                let next = source.next();
                played_ms.store((source.seconds() * 1e3) as u64, Ordering::Relaxed);
                let has_ended = !matches!(next, Ok(Some(_)));
                if has_ended || played.blocking_send(next).is_err() {
                    return;
                }
            }
        });
        let (mut to_service, mut from_service): (_, futures_util::stream::SplitStream<WebSocketStream<_>>) =
            socket.split();
        let sending = async move {
            while let Some(next) = audio.recv().await {
                match next {
                    Ok(Some(bytes)) => to_service.send(Message::Binary(bytes.into())).await?,
                    _ => break,
                }
            }
            to_service.send(Message::text(r#"{"type": "end"}"#)).await
        };
        let receiving = async {
            while let Some(message) = from_service.next().await {
                match message {
                    Ok(Message::Text(text)) => {
                        let event: Value = serde_json::from_str(&text)?;
                        printer.event(event, received_ms.load(Ordering::Relaxed) as f64 / 1e3)?;
                    }
                    Ok(Message::Close(_)) | Err(Error::ConnectionClosed) => break,
                    Ok(_) => {}
                    Err(error) => return Err(anyhow::Error::from(error)),
                }
            }
            ensure_whole(printer.has_ended())
        };
        tokio::pin!(sending, receiving);
        tokio::select! {
            // The service's events count even if it accepts no more audio.
            received = &mut receiving => received,
            _ = &mut sending => receiving.await,
        }
    })
}

/// The transport of a WebSocket.
trait RemoteStream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> RemoteStream for S {}

/// Returns the service's message as the error if it rejects the session.
fn refused(error: Error) -> anyhow::Error {
    let Error::Http(answer) = error else { return error.into() };
    let body = |answer: &Response<Option<Vec<u8>>>| -> Option<String> {
        let body: Value = serde_json::from_slice(answer.body().as_ref()?).ok()?;
        body["error"]["message"].as_str().map(str::to_owned)
    };
    let status = answer.status();
    body(&answer).map_or_else(|| anyhow!("the service answers {status}"), |message| anyhow!(message))
}

fn session_url(args: &LiveArgs, url: &str, source: &AudioSource) -> anyhow::Result<Url> {
    let mut url = Url::parse(url).context("--url")?;
    let scheme = match url.scheme() {
        "http" | "ws" => "ws",
        "https" | "wss" => "wss",
        other => bail!("--url begins with {other}:, not with http: or https:"),
    };
    url.set_scheme(scheme).map_err(|()| anyhow!("--url is no address of a service"))?;
    url.set_path(&format!("{}/v1/live", url.path().trim_end_matches('/')));
    let raw = source.raw();
    let encoding = if source.is_recording() { SampleEncoding::F32le } else { args.encoding };
    let encoding = clap::ValueEnum::to_possible_value(&encoding).expect("none is skipped");
    let mut query = url.query_pairs_mut();
    query.append_pair("encoding", encoding.get_name());
    query.append_pair("sample_rate", &raw.sample_rate_hz.to_string());
    query.append_pair("channels", &raw.channels.to_string());
    query.append_pair("partial_seconds", &args.partial_seconds.to_string());
    if let Channel::One(channel) = args.naming.embedding.options().channel
        && !source.is_recording()
    {
        query.append_pair("channel", &channel.to_string());
    }
    let counts = [
        ("num_speakers", args.speakers.num_speakers),
        ("min_speakers", args.speakers.min_speakers),
        ("max_speakers", args.speakers.max_speakers),
    ];
    for (name, count) in counts {
        if let Some(count) = count {
            query.append_pair(name, &count.to_string());
        }
    }
    if let Some(collection) = &args.naming.collection {
        query.append_pair("collection", collection.as_str());
    }
    if let Some(model) = args.naming.embedding.model() {
        query.append_pair("model", model);
    }
    drop(query);
    Ok(url)
}
