//! A secure channel of frames on its own, for exchanges that are not the split protocol's.
//!
//! [`accept`] and [`connect`] open it: TLS 1.3, certificates of one authority on both sides, and a name inside TLS that
//! says which exchange is meant, so that peers of different exchanges part before a byte of either is read.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf};
use tokio::net::{TcpStream, ToSocketAddrs, lookup_host};
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use crate::account;
use crate::error::{Error, FrameError, Goodbye, Result};
use crate::frame::{self, Receiver, Sender};
use crate::limits::Limits;
use crate::tls::{ClientTls, ServerTls};

/// Both directions of a channel. A call that is cancelled leaves a frame half done: drop the channel then.
pub struct Channel<S> {
    receiver: Receiver<ReadHalf<S>>,
    sender: Sender<WriteHalf<S>>,
    send: Duration,
}

/// The accepting end.
pub type ServerChannel = Channel<server::TlsStream<TcpStream>>;
/// The connecting end.
pub type ClientChannel = Channel<client::TlsStream<TcpStream>>;

/// Opens the accepting end for the exchange `alpn`, and says which account is there.
///
/// # Errors
/// [`Error::Tls`] for who has no certificate of our authority, [`FrameError::NoGreeting`] for another exchange,
/// [`Goodbye::NoAccount`], [`Error::Timeout`] after [`Limits::greeting`].
pub async fn accept(
    tcp: TcpStream,
    tls: &ServerTls,
    alpn: &[u8],
    limits: &Limits,
) -> Result<(String, ServerChannel)> {
    let limit = limits.greeting;
    let opening = async {
        let mut config = ServerConfig::clone(&tls.config());
        config.alpn_protocols = vec![alpn.to_vec()];
        let stream = admit(tcp, Arc::new(config)).await?;
        let (_, state) = stream.get_ref();
        if state.alpn_protocol() != Some(alpn) {
            return Err(FrameError::NoGreeting.into());
        }
        let account = account::of_certificate(state.peer_certificates());
        let account = account.map_err(|why| {
            tracing::warn!(why, "no account");
            Goodbye::NoAccount
        })?;
        Ok((account, Channel::over(stream, limits)))
    };
    let waiting_for = "the secure channel of a client";
    timeout(limit, opening).await.unwrap_or(Err(Error::Timeout { waiting_for, limit }))
}

/// Opens the connecting end for the exchange `alpn`; `server_name` must stand in the server's certificate.
///
/// # Errors
/// [`Error::Network`], [`Error::Tls`], [`FrameError::NoGreeting`] for another exchange, [`Error::Timeout`] after
/// [`Limits::handshake`].
pub async fn connect(
    address: impl ToSocketAddrs,
    server_name: &str,
    tls: &ClientTls,
    alpn: &[u8],
    limits: &Limits,
) -> Result<ClientChannel> {
    let mut config = ClientConfig::clone(tls.config());
    config.alpn_protocols = vec![alpn.to_vec()];
    let limit = limits.handshake;
    let opening = dial(address, server_name, Arc::new(config), alpn);
    let stream = timeout(limit, opening).await;
    let stream =
        stream.unwrap_or(Err(Error::Timeout { waiting_for: "the secure channel", limit }))?;
    Ok(Channel::over(stream, limits))
}

impl<S: AsyncRead + AsyncWrite> Channel<S> {
    fn over(stream: S, limits: &Limits) -> Self {
        let (read, write) = tokio::io::split(stream);
        let bytes = limits.frame_bytes;
        Self {
            receiver: Receiver::new(read, bytes),
            sender: Sender::new(write, bytes),
            send: limits.send,
        }
    }

    /// Writes one frame; returns its bytes on the wire.
    ///
    /// # Errors
    /// As [`Sender::send`]; [`Error::Timeout`] when the peer does not read for [`Limits::send`].
    pub async fn send(&mut self, body: &impl Serialize) -> Result<u64> {
        self.sender.send_within(self.send, body, "writing to the peer", "the peer to read").await
    }

    /// Reads one frame and its bytes on the wire. A peer that writes, however slowly, is not silent.
    ///
    /// # Errors
    /// As [`Receiver::receive`]; [`Error::Timeout`] after a silence of `limit`.
    pub async fn receive<B: DeserializeOwned>(&mut self, limit: Duration) -> Result<(B, u64)> {
        self.receiver.receive_within(limit, "waiting for the peer", "the peer").await
    }

    /// Says `last` and that nothing follows, for a moment; and reads on so that it arrives.
    pub async fn close(mut self, last: &impl Serialize) {
        self.sender.part(last, PARTING_TIME).await;
        self.receiver.drain().await;
    }
}

/// Connects, and authenticates both sides.
pub(crate) async fn dial(
    address: impl ToSocketAddrs,
    server_name: &str,
    config: Arc<ClientConfig>,
    alpn: &[u8],
) -> Result<client::TlsStream<TcpStream>> {
    let name = ServerName::try_from(server_name.to_owned())
        .map_err(|e| Error::configuration("name of the server", e.to_string()))?;
    let found = lookup_host(address).await;
    let found: Vec<_> =
        found.map_err(Error::network(format!("looking up {server_name}")))?.collect();
    let at = found.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let doing = format!("connecting to {server_name} at {at}");
    let tcp = TcpStream::connect(&found[..]).await.and_then(|tcp| {
        tcp.set_nodelay(true)?;
        Ok(tcp)
    });
    let tcp = tcp.map_err(Error::network(doing))?;
    let connecting = TlsConnector::from(config).connect(name, tcp).await;
    let stream = connecting.map_err(|e| frame::broken(e, 0, OPENING))?;
    match stream.get_ref().1.alpn_protocol() == Some(alpn) {
        true => Ok(stream),
        false => Err(FrameError::NoGreeting.into()),
    }
}

/// Authenticates both sides of an accepted connection.
pub(crate) async fn admit(
    tcp: TcpStream,
    config: Arc<ServerConfig>,
) -> Result<server::TlsStream<TcpStream>> {
    tcp.set_nodelay(true).map_err(Error::network("setting up a connection"))?;
    match TlsAcceptor::from(config).accept(tcp).into_fallible().await {
        Ok(stream) => Ok(stream),
        Err((error, mut tcp)) => {
            frame::drain(&mut tcp).await;
            Err(frame::broken(error, 0, OPENING))
        }
    }
}

pub(crate) const OPENING: &str = "opening the secure channel";
pub(crate) const PARTING_TIME: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certs::Authority;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    /// What both ends say of a connection for these exchanges.
    async fn meet(
        ours: &[u8],
        theirs: &[u8],
        strangers: bool,
    ) -> (Result<(String, ServerChannel)>, Result<ClientChannel>) {
        let folder = tempfile::tempdir().unwrap();
        let authority = |name: &str| Authority::create(&folder.path().join(name)).unwrap();
        let (one, other) = (authority("one"), authority("other"));
        let server = ServerTls::read(&one.certificate(), &one.issue_server(&[]).unwrap()).unwrap();
        let issuer = if strangers { &other } else { &one };
        let alice = issuer.issue_client("alice").unwrap();
        let client = ClientTls::read(&one.certificate(), &alice).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let limits = Limits::default();
        let accepting = async {
            let (tcp, _) = listener.accept().await.unwrap();
            accept(tcp, &server, ours, &limits).await
        };
        tokio::join!(accepting, connect(address, "localhost", &client, theirs, &limits))
    }

    #[tokio::test]
    async fn frames_go_both_ways_between_those_who_know_each_other() {
        let (accepted, connected) = meet(b"test/1", b"test/1", false).await;
        let ((account, mut near), mut far) = (accepted.unwrap(), connected.unwrap());
        assert_eq!(account, "alice");
        let limit = Duration::from_secs(5);
        let sent = far.send(&7u32).await.unwrap();
        assert_eq!(near.receive::<u32>(limit).await.unwrap(), (7, sent));
        near.send(&8u32).await.unwrap();
        assert_eq!(far.receive::<u32>(limit).await.unwrap().0, 8);
        let silence = far.receive::<u32>(Duration::from_millis(10)).await;
        assert!(matches!(silence, Err(Error::Timeout { .. })));
        let (told, ()) = tokio::join!(far.receive::<u32>(limit), near.close(&9u32));
        assert_eq!(told.unwrap().0, 9);
    }

    #[tokio::test]
    async fn strangers_and_other_exchanges_part_before_a_frame_is_read() {
        for (theirs, strangers) in [(&b"test/2"[..], false), (b"test/1", true)] {
            let (accepted, connected) = meet(b"test/1", theirs, strangers).await;
            assert!(accepted.is_err(), "{theirs:?}");
            // Under TLS 1.3 a client hears of its certificate only with what it reads next.
            let heard = match connected {
                Ok(mut far) => far.receive::<u32>(Duration::from_secs(5)).await.err(),
                Err(error) => Some(error),
            };
            let heard = heard.expect("the channel does not open").to_string();
            let why = if strangers { "same ca.pem" } else { "not for the same exchange" };
            assert!(heard.contains(why), "{heard}");
        }
    }

    #[tokio::test]
    async fn what_does_not_speak_tls_is_no_gelu() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::create(folder.path()).unwrap();
        let alice = authority.issue_client("alice").unwrap();
        let tls = ClientTls::read(&authority.certificate(), &alice).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answering = async {
            let (mut tcp, _) = listener.accept().await.unwrap();
            tcp.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
            tcp
        };
        let limits = Limits::default();
        let connecting = connect(address, "localhost", &tls, b"test/1", &limits);
        let (_tcp, connected) = tokio::join!(answering, connecting);
        let heard = connected.err().expect("no channel").to_string();
        assert!(heard.contains("does not speak TLS"), "{heard}");
    }
}
