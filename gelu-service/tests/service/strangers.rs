//! Peers that do not belong: what each side says, and that nobody else notices.

use std::time::Duration;

use crate::common::{Raw, Running, Site, batches, connect, frame, open_message};
use gelu_core::Cryptosystem;
use gelu_core::clear::{Clear, ClearKey};
use gelu_core::client::DataPolicy;
use gelu_core::error::PeerIncompatible;
use gelu_core::message::ClientMessage;
use gelu_service::certs::Authority;
use gelu_service::error::Goodbye;
use gelu_service::frame::{Receiver, Sender};
use gelu_service::handshake::{Down, Hello, Incompatible, MAGIC, Up, VERSIONS, Welcome};
use gelu_service::{ClientTls, Error, Limits, ServerTls};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// The server still serves.
async fn serves(site: &Site, running: &Running) {
    let mut session = site.client(running, "somebody").await;
    session.classify(&batches(1, 1)[0].0).await.unwrap();
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_greeting_that_is_none() {
    let site = Site::new();
    let tls = site.tls("alice");
    let other_magic = Hello { magic: *b"not-gelu", ..Hello::ours() };
    let greetings = [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0, 0, 0, 3, 1, 2, 3],
        vec![0, 0, 0, 0],
        frame(0, &Up::Bye),
        frame(0, &Up::Message(open_message(2048))),
        frame(0, &Up::Hello(other_magic)),
        frame(1, &Up::Hello(Hello::ours())),
        [frame(0, &Up::Hello(Hello::ours())), frame(1, &Up::Bye)].concat(),
        // Judged by its length: the rest of it never comes.
        1025u32.to_be_bytes().to_vec(),
    ];
    for greeting in greetings {
        let running = site.start().await;
        let mut raw = Raw::open(running.address, &tls).await;
        raw.write(&greeting).await;
        assert_eq!(raw.read().await.unwrap(), Down::Goodbye(Goodbye::Ended));
        drop(raw);
        let reason = running.log.turned_away().await;
        assert!(reason.starts_with("the peer misbehaved: "), "{reason}");
        serves(&site, &running).await;
        assert_eq!(running.shut_down().await.turned_away, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_we_do_not_speak() {
    let site = Site::new();
    let running = site.start().await;
    let theirs = (VERSIONS.1 + 1, VERSIONS.1 + 3);
    let mut raw = Raw::open(running.address, &site.tls("alice")).await;
    raw.write(&frame(0, &Up::Hello(Hello { magic: MAGIC, versions: theirs }))).await;
    let answer = raw.read().await.unwrap();
    assert_eq!(answer, Down::Incompatible(Incompatible::Versions(VERSIONS.0, VERSIONS.1)));
    let reason = running.log.turned_away().await;
    let said = format!("protocol versions {VERSIONS:?}, the peer {theirs:?}");
    assert!(reason.contains(&said), "{reason}");
    serves(&site, &running).await;
    running.shut_down().await;
}

/// A server that answers the greeting with `answer`.
async fn impostor(site: &Site, answer: Down) -> std::net::SocketAddr {
    let config = site.server_tls().config().clone();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        let channel = TlsAcceptor::from(config).accept(tcp).await.unwrap();
        let (read, write) = tokio::io::split(channel);
        let (mut receiver, mut sender) =
            (Receiver::new(read, 1 << 20), Sender::new(write, 8 << 20));
        receiver.receive::<Up>("test").await.unwrap();
        sender.send(&answer, "test").await.unwrap();
        let _ = receiver.receive::<Up>("test").await;
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_fit() {
    let site = Site::new();
    let running = site.start().await;
    let tls = site.tls("alice");
    let connection = connect(running.address, &tls).await.unwrap();
    let card = connection.card().clone();
    connection.close().await;
    running.shut_down().await;

    let heard = |answer: Down| {
        let (site, tls) = (&site, &tls);
        async move {
            let address = impostor(site, answer).await;
            connect(address, tls).await.err().expect("refused")
        }
    };
    let welcome = |version, card| Down::Welcome(Box::new(Welcome { version, card }));
    let agreed = VERSIONS.1;

    let error = heard(Down::Incompatible(Incompatible::Versions(7, 8))).await;
    let (ours, theirs) = (VERSIONS, (7, 8));
    let expected = PeerIncompatible::Version { ours, theirs };
    assert!(matches!(&error, Error::PeerIncompatible(e) if *e == expected), "{error}");

    let mut other = card.clone();
    other.backend = "paillier".into();
    let error = heard(welcome(agreed, other)).await;
    let expected = PeerIncompatible::Backend { ours: Clear::ID.into(), theirs: "paillier".into() };
    assert!(matches!(&error, Error::PeerIncompatible(e) if *e == expected), "{error}");

    assert!(matches!(heard(welcome(agreed + 8, card.clone())).await, Error::PeerMisbehaved(_)));
    assert!(matches!(heard(Down::Working).await, Error::PeerMisbehaved(_)));
    let busy = Goodbye::Busy { seconds: 7 };
    let error = heard(Down::Goodbye(busy)).await;
    assert!(matches!(error, Error::Ended(heard) if heard == busy), "{error}");
    assert!(error.to_string().contains("come back in 7 s"), "{error}");

    let mut other = card.clone();
    other.architecture = r#"{"input":[4],"layers":[{"layer":"lstm"}]}"#.into();
    assert!(matches!(heard(welcome(agreed, other)).await, Error::Model(_)));
    let mut other = card.clone();
    other.precision.mask_bits = 3;
    assert!(matches!(heard(welcome(agreed, other)).await, Error::Protocol(_)));
    let mut other = card;
    other.architecture = " ".repeat(2 << 20);
    assert!(matches!(heard(welcome(agreed, other)).await, Error::Frame(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_the_server_does_not_accept() {
    let site = Site::new();
    let running = site.start().await;
    let tls = site.tls("alice");
    let connection = connect(running.address, &tls).await.unwrap();
    let small = ClearKey::new(1024).unwrap().into();
    let error = connection.open(small, DataPolicy::Enforce).await.err().expect("too small");
    assert!(error.to_string().contains("a key of 1024 bits"), "{error}");
    assert_eq!(running.log.left("alice").await, None);

    let other = ClientMessage::Open { backend: "rot13".into(), public_key: vec![] };
    let told = [
        (open_message(1024), "a key of 1024 bits, but this party accepts 2048 to 8192 bits"),
        (open_message(8256), "a key of 8256 bits, but this party accepts 2048 to 8192 bits"),
        (other, "we use the backend \"insecure-clear\", the peer \"rot13\""),
    ];
    for (n, (message, reason)) in told.into_iter().enumerate() {
        let account = format!("raw{n}");
        let mut raw = Raw::greeted(running.address, &site.tls(&account)).await;
        raw.write(&frame(2, &Up::Message(message))).await;
        assert!(matches!(raw.answer().await.unwrap(), Down::Incompatible(_)));
        let error = running.log.left(&account).await.expect("an error");
        assert!(error.contains(reason), "{error}");
    }
    serves(&site, &running).await;
    running.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_a_foreign_authority() {
    let (site, foreign) = (Site::new(), Site::new());
    let running = site.start().await;
    let ca = site.authority.certificate();

    // A client that trusts another authority does not talk to this server.
    let error = connect(running.address, &foreign.tls("mallory")).await.err().expect("refused");
    assert!(matches!(error, Error::Tls(_)), "{error}");

    // A client that trusts this server, but was signed by another authority.
    let tls = ClientTls::read(&ca, &foreign.identity("mallory")).unwrap();
    let error = connect(running.address, &tls).await.err().expect("refused");
    assert!(matches!(error, Error::Tls(_)), "{error}");

    // A server's certificate is no client's.
    let own = site.folder.path().join("certs/server");
    let server = gelu_service::certs::Identity {
        certificate: own.with_added_extension("pem"),
        key: own.with_added_extension("key"),
    };
    let error = ClientTls::read(&ca, &server).unwrap_err().to_string();
    assert!(error.contains("not the certificate of a client"), "{error}");

    // A name that is not in the server's certificate.
    let tls = site.tls("alice");
    let limits = Limits::default();
    let connecting = gelu_service::Connection::<Clear>::connect(
        running.address,
        "elsewhere.example",
        "",
        &tls,
        limits,
        |_| {},
    );
    assert!(matches!(connecting.await.err().expect("refused"), Error::Tls(_)));
    serves(&site, &running).await;
    let summary = running.shut_down().await;
    assert_eq!((summary.turned_away, summary.sessions), (3, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_certificate_or_account() {
    let site = Site::new();
    let running = site.start().await;
    let authority = std::fs::read(site.authority.certificate()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&authority).unwrap()).unwrap();
    let provider = || rustls::crypto::ring::default_provider().into();
    let config = || {
        rustls::ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots.clone())
    };

    // Without a certificate the channel does not open.
    let anonymous = config().with_no_client_auth();
    let tcp = TcpStream::connect(running.address).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(anonymous));
    let mut channel = connector.connect("localhost".try_into().unwrap(), tcp).await.unwrap();
    let _ = channel.write_all(&frame(0, &Up::Hello(Hello::ours()))).await;
    let error = Receiver::new(channel, 1 << 20).receive::<Down>("test").await.unwrap_err();
    assert!(error.to_string().contains("asks for a certificate of ours"), "{error}");

    // With one, but without the name of the protocol, it opens, and that is all.
    let alice = site.identity("alice");
    let certificate = CertificateDer::from_pem_file(&alice.certificate).unwrap();
    let key = PrivateKeyDer::from_pem_file(&alice.key).unwrap();
    let nameless = config().with_client_auth_cert(vec![certificate], key).unwrap();
    let tcp = TcpStream::connect(running.address).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(nameless));
    let channel = connector.connect("localhost".try_into().unwrap(), tcp).await.unwrap();
    let (read, mut write) = tokio::io::split(channel);
    write.write_all(&frame(0, &Up::Hello(Hello::ours()))).await.unwrap();
    write.flush().await.unwrap();
    let (answer, _) = Receiver::new(read, 1 << 20).receive::<Down>("test").await.unwrap();
    assert_eq!(answer, Down::Goodbye(Goodbye::Ended));

    // With one whose Common Name is no account, the client is told.
    let key = rcgen::KeyPair::generate().unwrap();
    let ca_key = std::fs::read_to_string(site.folder.path().join("certs/ca.key")).unwrap();
    let ca_key = rcgen::KeyPair::from_pem(&ca_key).unwrap();
    let pem = String::from_utf8(authority).unwrap();
    let issuer = rcgen::Issuer::from_ca_cert_pem(&pem, ca_key).unwrap();
    for name in [None, Some("../ledger"), Some("")] {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        if let Some(name) = name {
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
        }
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &issuer).unwrap();
        let der = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let chain = vec![certificate.der().clone()];
        let mut config = config().with_client_auth_cert(chain, der).unwrap();
        config.alpn_protocols = vec![gelu_service::tls::ALPN.to_vec()];
        let tcp = TcpStream::connect(running.address).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
        let channel = connector.connect("localhost".try_into().unwrap(), tcp).await.unwrap();
        let (read, mut write) = tokio::io::split(channel);
        write.write_all(&frame(0, &Up::Hello(Hello::ours()))).await.unwrap();
        write.flush().await.unwrap();
        let mut receiver = Receiver::new(read, 1 << 20);
        let (answer, _) = receiver.receive::<Down>("test").await.unwrap();
        assert_eq!(answer, Down::Goodbye(Goodbye::NoAccount), "{name:?}");
    }
    serves(&site, &running).await;
    assert_eq!(running.shut_down().await.turned_away, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_never_finish_their_greeting() {
    let site = Site::new();
    let running = site.start_with(|c| c.server.limits.greeting = Duration::from_secs(2)).await;
    let mut silent = TcpStream::connect(running.address).await.unwrap();
    silent.write_all(&[22, 3, 1]).await.unwrap();
    let mut halfway = Raw::open(running.address, &site.tls("alice")).await;
    halfway.write(&[0, 0]).await;
    serves(&site, &running).await;
    let reason = running.log.turned_away().await;
    assert_eq!(
        reason,
        "the greeting of a client took longer than 2 seconds; the session has ended"
    );
    assert!(halfway.read().await.is_err());
    serves(&site, &running).await;
    drop(silent);
    assert_eq!(running.shut_down().await.turned_away, 2);
}

/// Far more than the server has seats, then 51 a second, all from the address of the honest client, and
/// with time without end: the oldest of them make room, and only they.
#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_keep_nobody_out() {
    let site = Site::new();
    let running = site.start().await;
    let address = running.address;
    let most = Limits::default().strangers_of_network;
    let mut silent = Vec::new();
    for _ in 0..600 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    let knocking = tokio::spawn(async move {
        let mut often = tokio::time::interval(Duration::from_secs(1) / 51);
        loop {
            often.tick().await;
            silent.push(TcpStream::connect(address).await.unwrap());
        }
    });
    for honest in ["a", "b", "c", "d", "e"] {
        let mut session = site.client(&running, honest).await;
        session.classify(&batches(1, 1)[0].0).await.unwrap();
        session.close().await;
        assert_eq!(running.log.left(honest).await, None);
    }
    let reason = running.log.turned_away().await;
    assert_eq!(reason, "it had not greeted yet and made room for a newer connection");
    knocking.abort();
    let summary = running.shut_down().await;
    assert!(summary.turned_away >= 600 - most as u64, "{}", summary.turned_away);
    assert_eq!((summary.sessions, summary.failed), (5, 0));
}

/// A connection among the strangers is one until its greeting, not until its end.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_no_strangers() {
    let site = Site::new();
    let one = |c: &mut crate::common::Setup| {
        (c.server.limits.strangers, c.server.limits.strangers_of_network) = (1, 1);
    };
    let running = site.start_with(one).await;
    let mut first = site.client(&running, "first").await;
    let mut second = site.client(&running, "second").await;
    let silent = TcpStream::connect(running.address).await.unwrap();
    for session in [&mut first, &mut second] {
        session.classify(&batches(1, 1)[0].0).await.unwrap();
    }
    for (session, account) in [(first, "first"), (second, "second")] {
        session.close().await;
        assert_eq!(running.log.left(account).await, None);
    }
    drop(silent);
    assert_eq!(running.shut_down().await.failed, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_has_so_many_sessions_and_no_more() {
    let site = Site::new();
    let running = site.start_with(|c| c.server.limits.sessions_of_account = 2).await;
    let (first, second) =
        (site.client(&running, "alice").await, site.client(&running, "alice").await);
    let error = connect(running.address, &site.tls("alice")).await.err().expect("too many");
    assert!(matches!(error, Error::Ended(Goodbye::TooManySessions)), "{error}");
    assert!(error.to_string().contains("close one, then connect again"), "{error}");
    serves(&site, &running).await;
    first.close().await;
    running.log.left("alice").await;
    site.client(&running, "alice").await.close().await;
    second.close().await;
    assert_eq!(running.shut_down().await.turned_away, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_server_says_so() {
    let site = Site::new();
    let running = site.start_with(|c| c.server.limits.sessions = 1).await;
    let mut seated = site.client(&running, "alice").await;
    let error = connect(running.address, &site.tls("bob")).await.err().expect("no seat");
    assert!(matches!(error, Error::Ended(Goodbye::Busy { .. })), "{error}");
    seated.classify(&batches(1, 1)[0].0).await.unwrap();
    seated.close().await;
    running.log.left("alice").await;
    running.shut_down().await;
}

#[tokio::test]
async fn operators_are_told_which_file_is_wrong() {
    let site = Site::new();
    let missing = site.folder.path().join("nowhere/ca.pem");
    let error = ClientTls::read(&missing, &site.identity("alice")).unwrap_err().to_string();
    assert!(error.contains("nowhere/ca.pem"), "{error}");
    let mut crossed = site.identity("alice");
    crossed.key = site.identity("bob").key;
    let error = ClientTls::read(&site.authority.certificate(), &crossed).unwrap_err().to_string();
    assert!(error.contains("bob.key: not the key of its certificate"), "{error}");
    let empty = site.folder.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    assert!(ServerTls::read(&empty, &site.identity("alice")).is_err());
    assert!(Authority::open(&site.folder.path().join("nowhere")).is_err());
    let nobody = connect("127.0.0.1:1".parse().unwrap(), &site.tls("alice")).await;
    let error = nobody.err().expect("nobody listens there").to_string();
    assert!(error.starts_with("connecting to localhost at 127.0.0.1:1: "), "{error}");
}
