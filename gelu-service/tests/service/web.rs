//! The web address: who gets the page, who gets a session, and what is said to others.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::{SinkExt, StreamExt};
use gelu_service::certs::Whom;
use gelu_service::error::Goodbye;
use gelu_service::handshake::{Down, Hello, Up};
use gelu_service::server::{HEADERS, Web};
use gelu_wire::frame::{Incoming, Outgoing};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::common::{PATIENCE, Running, Site};

/// A server with a page.
async fn with_page() -> (Site, Running, SocketAddr) {
    let site = Site::new();
    let root = site.folder.path().join("page");
    std::fs::create_dir(&root).unwrap();
    for name in ["index.html", "worker.js", "gelu_web.wasm", "secret.txt"] {
        std::fs::write(root.join(name), name).unwrap();
    }
    let any = "127.0.0.1:0".parse().unwrap();
    let running = site.start_with(|c| c.server.web = Some(Web::new(any, &root))).await;
    let address = running.web.expect("a page");
    (site, running, address)
}

/// As a browser that trusts the authority and has no certificate.
async fn browser(site: &Site, address: SocketAddr) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(site.authority.certificate()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tcp = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap()
}

/// The whole answer to a request.
async fn request(site: &Site, address: SocketAddr, line: &str) -> String {
    let mut stream = browser(site, address).await;
    let request = format!("{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A server that closes without TLS's goodbye has still answered.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("in time");
    String::from_utf8(answer).unwrap()
}

type Socket = WebSocketStream<TlsStream<TcpStream>>;

async fn socket(
    site: &Site,
    address: SocketAddr,
    origin: &str,
) -> Result<Socket, tokio_tungstenite::tungstenite::Error> {
    let mut request = "wss://localhost/session".into_client_request().unwrap();
    request.headers_mut().insert("origin", origin.parse().unwrap());
    client_async(request, browser(site, address).await).await.map(|(socket, _)| socket)
}

fn token(site: &Site, account: &str) -> String {
    site.identity(account);
    let lifetime = Duration::from_secs(60);
    site.authority.token(account, lifetime, SystemTime::now()).unwrap().1
}

async fn next(socket: &mut Socket) -> Option<Message> {
    timeout(PATIENCE, socket.next()).await.expect("in time").and_then(Result::ok)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_a_few_files_and_every_answer_says_what_it_may_do() {
    let (site, running, address) = with_page().await;
    for (line, status, body) in [
        ("GET /", "200 OK", "index.html"),
        ("GET /worker.js", "200 OK", "worker.js"),
        ("GET /secret.txt", "404 Not Found", ""),
        ("GET /../model.safetensors", "404 Not Found", ""),
        // No path at all.
        ("GET localhost:80", "404 Not Found", ""),
        ("POST /", "405 Method Not Allowed", ""),
        ("GET /session", "403 Forbidden", ""),
    ] {
        let answer = request(&site, address, line).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{line}: {answer}");
        assert!(answer.ends_with(body), "{line}: {answer}");
        for (name, value) in &HEADERS {
            assert!(answer.contains(&format!("{name}: {value}")), "{line}: {name}: {answer}");
        }
    }
    running.shut_down().await;
}

/// A session by that token, past its greeting.
async fn greeted(site: &Site, address: SocketAddr, token: String) -> (Socket, Outgoing, Incoming) {
    let mut socket = socket(site, address, "https://localhost").await.unwrap();
    socket.send(Message::text(token)).await.unwrap();
    let (mut outgoing, mut incoming) = (Outgoing::new(1 << 20), Incoming::new(1 << 20));
    for frame in [Up::Hello(Hello::ours()), Up::Choose(String::new())] {
        // In pieces: messages are no frames.
        for piece in outgoing.frame(&frame).unwrap().chunks(5) {
            socket.send(Message::binary(piece.to_vec())).await.unwrap();
        }
    }
    let Down::Welcome(welcome) = frame(&mut socket, &mut incoming).await else { panic!() };
    assert_eq!(welcome.card.account, "alice");
    (socket, outgoing, incoming)
}

async fn frame(socket: &mut Socket, incoming: &mut Incoming) -> Down {
    loop {
        match next(socket).await {
            Some(Message::Binary(bytes)) => incoming.push(&bytes),
            other => panic!("{other:?}"),
        }
        if let Some((frame, _)) = incoming.poll::<Down>().unwrap() {
            return frame;
        }
    }
}

/// A token that is as good as over ends its session, and so does the revocation of its account.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_with_its_token() {
    let (site, running, address) = with_page().await;
    site.identity("alice");
    let lifetime = Duration::from_secs(60);
    // Clocks may differ by a minute: three seconds are left.
    let before = SystemTime::now() - Duration::from_secs(117);
    let ends = site.authority.token("alice", lifetime, before).unwrap().1;
    let (mut socket, _, mut incoming) = greeted(&site, address, ends).await;
    assert_eq!(frame(&mut socket, &mut incoming).await, Down::Goodbye(Goodbye::TimeLimit));
    let lasts = token(&site, "alice");
    let (mut socket, _, mut incoming) = greeted(&site, address, lasts).await;
    site.authority.revoke(Whom::Account("alice")).unwrap();
    assert_eq!(frame(&mut socket, &mut incoming).await, Down::Goodbye(Goodbye::Revoked));
    running.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_a_session_of_its_account() {
    let (site, running, address) = with_page().await;
    let (mut socket, mut outgoing, _) = greeted(&site, address, token(&site, "alice")).await;
    socket.send(Message::binary(outgoing.frame(&Up::Bye).unwrap())).await.unwrap();
    assert!(running.log.left("alice").await.is_none(), "in order");
    running.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_token_hears_why_and_pages_of_others_get_no_socket() {
    let (site, running, address) = with_page().await;
    let other = Site::new();
    for (first, why) in [
        (Message::text("nonsense"), "no token"),
        (Message::text(token(&other, "alice")), "not signed by the authority"),
        (Message::binary(vec![0; 10]), "must be a token"),
    ] {
        let mut socket = socket(&site, address, "https://localhost").await.unwrap();
        socket.send(first).await.unwrap();
        match next(&mut socket).await {
            Some(Message::Close(Some(frame))) => assert!(frame.reason.contains(why), "{frame}"),
            other => panic!("{why}: {other:?}"),
        }
    }
    for origin in ["https://example.org", "http://localhost"] {
        assert!(socket(&site, address, origin).await.is_err(), "{origin}");
    }
    running.shut_down().await;
}

#[tokio::test]
async fn a_folder_that_is_no_page_is_refused_before_anything_listens() {
    let site = Site::new();
    let refused = async |root: &Path| {
        let mut config = site.config();
        config.server.web = Some(Web::new("127.0.0.1:0".parse().unwrap(), root));
        config.bind().await.err().expect("refused").to_string()
    };
    assert!(refused(site.folder.path()).await.contains("gelu-web/build"));
    assert!(refused(Path::new("/nowhere")).await.contains("/nowhere"));
}
