//! The web address: a page, and a WebSocket that carries the same frames.
//!
//! ```text
//!  browser                                   server
//!    GET /, /worker.js, …          ──▶       the files of one folder, read once at the start
//!    GET /session, Upgrade         ──▶       101
//!    token, one text message       ──▶       the account; or closes and says what is wrong with it
//!    Hello, …  binary messages     ⇄         from here on as any client: pieces of the stream of frames
//! ```
//!
//! TLS by the server's own certificate. A browser has no certificate of ours, so a token says who is there; it is the
//! first message, and never part of an address, which logs keep. A message is at most 64 KiB long.
//!
//! # Security
//! The page may load what this server sends and nothing else, may be shown in no other page, and is not kept by the
//! browser ([`HEADERS`]). Pages of other origins are refused the WebSocket: their scripts would know no token, but need
//! not try.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::{pending, ready};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http_body_util::Full;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_util::io::{CopyToBytes, SinkWriter, StreamReader};

use super::Config;
use super::door::Place;
use super::greeting::{self, Greeted};
use super::host::Hosted;
use super::observer::{ServerEvent, guarded};
use super::proof::Proof;
use super::session::{self, asked_to_stop};
use super::shared::Shared;
use crate::channel::{PARTING_TIME, admit};
use crate::error::{Error, FileError, FrameError, Goodbye, Result};
use crate::tls::{ServerTls, unsupported};

/// A page, and where it is served.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Web {
    /// Where to listen; port 0 takes any free one.
    pub address: SocketAddr,
    /// The folder of the page, as `gelu-web/build` makes it.
    pub root: PathBuf,
}

impl Web {
    /// A page in the folder `root`.
    pub fn new(address: SocketAddr, root: impl Into<PathBuf>) -> Self {
        Self { address, root: root.into() }
    }
}

/// The longest binary message, whose bytes a stranger can make us hold. (What we send can be longer.)
const PIECE_BYTES: usize = 1 << 16;

/// Of every answer.
pub static HEADERS: [(HeaderName, &str); 8] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self'; \
         connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-embedder-policy"), "require-corp"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), microphone=(), geolocation=(), clipboard-read=()",
    ),
];

/// Where the WebSocket is.
const SESSION: &str = "/session";
/// What a page must have, and what each kind of file is.
const MUST: [&str; 3] = ["index.html", "worker.js", "gelu_web.wasm"];
const KINDS: [(&str, &str); 5] = [
    ("html", "text/html; charset=utf-8"),
    ("css", "text/css; charset=utf-8"),
    ("js", "text/javascript; charset=utf-8"),
    ("svg", "image/svg+xml"),
    ("wasm", "application/wasm"),
];

/// A page that is listened for.
pub(super) struct Pages {
    listener: TcpListener,
    files: BTreeMap<String, (&'static str, Bytes)>,
}

impl Pages {
    /// Reads the page and listens.
    pub(super) async fn bind(web: &Web) -> Result<Self> {
        let files = read(&web.root)?;
        let address = web.address;
        let listening = TcpListener::bind(address).await;
        let listener = listening.map_err(Error::network(format!("listening on {address}")))?;
        Ok(Self { listener, files })
    }

    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The answer to a request; what is left of the connection, when it becomes a WebSocket, goes into `upgrade`.
    fn answer<B>(
        &self,
        mut request: Request<B>,
        upgrade: &Mutex<Option<OnUpgrade>>,
    ) -> Response<Full<Bytes>> {
        let mut response = match (request.method(), request.uri().path()) {
            (&Method::GET, SESSION) => match accept_key(request.headers()) {
                Ok(key) => {
                    let wanted = hyper::upgrade::on(&mut request);
                    *upgrade.lock().unwrap_or_else(PoisonError::into_inner) = Some(wanted);
                    switching(&key)
                }
                Err(status) => plain(status),
            },
            (&Method::GET | &Method::HEAD, path) => {
                let name = if path == "/" { Some("index.html") } else { path.strip_prefix('/') };
                match name.and_then(|name| self.files.get(name)) {
                    Some((kind, bytes)) => file(kind, bytes.clone()),
                    None => plain(StatusCode::NOT_FOUND),
                }
            }
            _ => plain(StatusCode::METHOD_NOT_ALLOWED),
        };
        for (name, value) in &HEADERS {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }

    /// Opens TLS and answers requests until one of them is for a WebSocket.
    async fn requests(&self, tcp: TcpStream, config: &Config) -> Result<Option<Upgraded>> {
        let Config { tls, limits, .. } = config;
        let waiting_for = "the secure channel of a browser";
        let late = Error::Timeout { waiting_for, limit: limits.greeting };
        let stream = timeout(limits.greeting, admit(tcp, without_clients(tls)?))
            .await
            .unwrap_or(Err(late))?;
        let upgrade = Mutex::new(None);
        let service =
            service_fn(|request| ready(Ok::<_, Infallible>(self.answer(request, &upgrade))));
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            // Also between two requests.
            .header_read_timeout(limits.handshake)
            .max_buf_size(1 << 14)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let doing = "answering a browser";
        match timeout(limits.send, served).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(Error::ConnectionLost { doing }),
            Err(_) => {
                return Err(Error::Timeout {
                    waiting_for: "a browser to read",
                    limit: limits.send,
                });
            }
        }
        let upgrade = upgrade.into_inner().unwrap_or_else(PoisonError::into_inner);
        let Some(upgrade) = upgrade else { return Ok(None) };
        let upgraded = timeout(limits.greeting, upgrade).await;
        upgraded.ok().and_then(Result::ok).map(Some).ok_or(Error::ConnectionLost { doing })
    }

    /// Learns who is there, then greets as on every other channel.
    async fn greet(
        shared: &Shared,
        upgraded: Upgraded,
        peer: SocketAddr,
    ) -> Result<(Arc<dyn Hosted>, Greeted)> {
        let limits = WebSocketConfig::default()
            .max_message_size(Some(PIECE_BYTES))
            .max_frame_size(Some(PIECE_BYTES));
        let io = TokioIo::new(upgraded);
        let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(limits)).await;
        let doing = "reading a token";
        let token = match socket.next().await {
            Some(Ok(Message::Text(token))) => token,
            Some(Ok(_)) => {
                close(&mut socket, "the first message must be a token, as text").await;
                return Err(FrameError::NoGreeting.into());
            }
            Some(Err(_)) | None => return Err(Error::ConnectionLost { doing }),
        };
        let account = match shared.config.tls.check_token(&token, SystemTime::now()) {
            Ok(token) => token.account().to_owned(),
            Err(why) => {
                guarded(|| tracing::info!(%peer, %why, "no account"));
                close(&mut socket, &why.to_string()).await;
                return Err(Goodbye::NoAccount.into());
            }
        };
        let (sink, stream) = socket.split();
        let sink =
            sink.with(|bytes: Bytes| ready(Ok::<_, tungstenite::Error>(Message::Binary(bytes))));
        let writer = SinkWriter::new(CopyToBytes::new(sink.sink_map_err(io::Error::other)));
        let reader = StreamReader::new(stream.filter_map(|message| ready(piece(message))));
        let (account, proof) = (Some(Ok(account)), Proof::Token(token.to_string()));
        greeting::welcome(shared, Box::new(reader), Box::new(writer), account, proof, peer).await
    }
}

/// The next browser; never, where there is no page.
pub(super) async fn accept(
    pages: Option<&Arc<Pages>>,
) -> io::Result<(Arc<Pages>, TcpStream, SocketAddr)> {
    let Some(pages) = pages else { return pending().await };
    let (tcp, peer) = pages.listener.accept().await?;
    Ok((Arc::clone(pages), tcp, peer))
}

/// Serves one connection from its first byte to its last.
pub(super) async fn run(
    pages: Arc<Pages>,
    shared: Arc<Shared>,
    tcp: TcpStream,
    peer: SocketAddr,
    mut place: Place,
) {
    let upgraded = tokio::select! {
        biased;
        served = pages.requests(tcp, &shared.config) => served,
        () = place.sent_away() => return,
        () = asked_to_stop(shared.stop.subscribe(), false) => return,
    };
    match upgraded {
        Ok(Some(upgraded)) => {
            shared.emit(ServerEvent::Connected { peer });
            let greeting = Pages::greet(&shared, upgraded, peer);
            session::run(&shared, greeting, peer, place).await;
        }
        // Who only looks at the page is nobody's event.
        Ok(None) => {}
        Err(error) => guarded(|| tracing::debug!(%peer, %error, "a browser has left")),
    }
}

/// The bytes of a message; of what carries none, nothing.
fn piece(message: tungstenite::Result<Message>) -> Option<io::Result<Bytes>> {
    match message {
        Ok(Message::Binary(bytes)) => Some(Ok(bytes)),
        Ok(Message::Text(_)) => Some(Err(io::Error::other("text, where frames were expected"))),
        Ok(_) => None,
        Err(error) => Some(Err(io::Error::other(error))),
    }
}

/// Closes with a sentence for the page to show.
async fn close(socket: &mut WebSocketStream<TokioIo<Upgraded>>, why: &str) {
    // A control frame holds 125 bytes, two of them for the code.
    let end = (0..=123.min(why.len())).rev().find(|&end| why.is_char_boundary(end)).unwrap_or(0);
    let frame = CloseFrame { code: CloseCode::Policy, reason: why[..end].into() };
    let closing = async {
        let _ = socket.close(Some(frame)).await;
        while let Some(Ok(_)) = socket.next().await {}
    };
    let _ = timeout(PARTING_TIME, closing).await;
}

/// The server's certificates as they are now, for clients that have none.
fn without_clients(tls: &ServerTls) -> Result<Arc<ServerConfig>> {
    let with_clients = tls.config();
    let provider = Arc::clone(with_clients.crypto_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(unsupported)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::clone(&with_clients.cert_resolver));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// The files of a page by their names.
fn read(root: &Path) -> Result<BTreeMap<String, (&'static str, Bytes)>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(root).map_err(FileError::at(root))? {
        let path = entry.map_err(FileError::at(root))?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        let kind = KINDS.iter().find(|(of, _)| Some(*of) == extension);
        let name = path.file_name().and_then(|name| name.to_str());
        if let (Some((_, kind)), Some(name)) = (kind, name) {
            let bytes = std::fs::read(&path).map_err(FileError::at(&path))?;
            files.insert(name.to_owned(), (*kind, bytes.into()));
        }
    }
    match MUST.into_iter().find(|name| !files.contains_key(*name)) {
        None => Ok(files),
        Some(missing) => {
            let root = root.display();
            let why = format!("{root} has no {missing}; make the page with `gelu-web/build`");
            Err(Error::configuration("folder of the page", why))
        }
    }
}

/// What a request for a WebSocket of this page is answered with.
fn accept_key(headers: &HeaderMap) -> Result<String, StatusCode> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let has = |name, word: &str| {
        text(name)
            .is_some_and(|value| value.split(',').any(|w| w.trim().eq_ignore_ascii_case(word)))
    };
    let origin = text(header::ORIGIN).and_then(|origin| origin.strip_prefix("https://"));
    if origin.is_none() || origin != text(header::HOST) {
        return Err(StatusCode::FORBIDDEN);
    }
    let upgrade = has(header::CONNECTION, "upgrade") && has(header::UPGRADE, "websocket");
    match headers.get(header::SEC_WEBSOCKET_KEY) {
        Some(key) if upgrade && has(header::SEC_WEBSOCKET_VERSION, "13") => {
            Ok(derive_accept_key(key.as_bytes()))
        }
        _ => Err(StatusCode::UPGRADE_REQUIRED),
    }
}

fn switching(key: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    let key = HeaderValue::from_str(key).expect("base64");
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, key);
    response
}

fn file(kind: &'static str, bytes: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(bytes));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn plain(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = file("text/plain; charset=utf-8", format!("{status}\n").into());
    *response.status_mut() = status;
    response
}
