//! What others see: the wire outside TLS, the messages inside.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use crate::common::{Batch, Site, batches, connect, key};
use gelu_core::client::DataPolicy;
use gelu_core::fixed::{Format, Saturations};
use gelu_core::message::{ClientMessage, Wire};
use gelu_core::{Clear, Precision};
use gelu_service::Session;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

type Tape = Arc<Mutex<Vec<u8>>>;

/// Forwards one connection to `to` and keeps every byte of both directions.
async fn proxy(to: SocketAddr) -> (SocketAddr, Tape) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, tape) = (listener.local_addr().unwrap(), Tape::default());
    let recorded = Arc::clone(&tape);
    tokio::spawn(async move {
        let (near, _) = listener.accept().await.unwrap();
        let far = TcpStream::connect(to).await.unwrap();
        let ((near_read, near_write), (far_read, far_write)) =
            (near.into_split(), far.into_split());
        tokio::join!(
            copy(near_read, far_write, Arc::clone(&recorded)),
            copy(far_read, near_write, recorded)
        );
    });
    (address, tape)
}

async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, tape: Tape) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        tape.lock().unwrap().extend_from_slice(&buffer[..read]);
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}

/// How a feature of a batch looks wherever it is written down: as numbers of any common width.
fn patterns(batch: &Batch, format: Format) -> Vec<Vec<u8>> {
    let mut patterns = Vec::new();
    for feature in batch.0.rows() {
        patterns.push(feature.iter().flat_map(|x| x.to_le_bytes()).collect());
        patterns.push(feature.iter().flat_map(|x| x.to_be_bytes()).collect());
        for width in 2..=16 {
            let encoded = |x: &f64| format.encode(*x, &Saturations::default());
            let big = feature.iter().flat_map(|x| encoded(x).to_be_bytes()[16 - width..].to_vec());
            patterns.push(big.collect());
            let little = feature.iter().flat_map(|x| encoded(x).to_le_bytes()[..width].to_vec());
            patterns.push(little.collect());
        }
    }
    patterns
}

fn found(patterns: &[Vec<u8>], tape: &[u8]) -> usize {
    patterns.iter().filter(|p| tape.windows(p.len()).any(|window| window == &p[..])).count()
}

async fn session(site: &Site, address: SocketAddr) -> Session<Clear> {
    let connection = connect(address, &site.tls("alice")).await.unwrap();
    connection.open(key(), DataPolicy::AllowInputReconstruction).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wire_holds_nothing_in_the_clear() {
    let site = Site::new();
    let running = site.start().await;
    let (address, tape) = proxy(running.address).await;
    let mut session = session(&site, address).await;
    let data = batches(1, 3);
    session.classify(&data[0].0).await.unwrap();
    session.train(3, &mut data.clone().into_iter().peekable()).await.unwrap();
    session.close().await;
    running.log.left("alice").await;

    // `Clear` does not encrypt: inside the channel the search must find what it looks for.
    let patterns = patterns(&data[0], Precision::TRAINING.activations);
    let received = running.log.received.lock().unwrap().clone();
    let inside: Vec<u8> = received.iter().flat_map(|(_, message)| message.to_bytes()).collect();
    assert!(found(&patterns, &inside) >= data[0].0.nrows(), "the search works");

    let tape = tape.lock().unwrap().clone();
    assert!(tape.len() > inside.len(), "all of it went through the proxy");
    assert_eq!(found(&patterns, &tape), 0);
    let small = b"{\"input\"";
    assert!(!tape.windows(small.len()).any(|window| window == small), "nor the architecture");
    running.shut_down().await;
}

/// The updates in the middle of a lease differ from the true ones by masks of their full length,
/// and two runs with the same data show the server different ones.
#[tokio::test(flavor = "multi_thread")]
async fn updates_inside_the_channel_are_masked() {
    let mut seen = Vec::new();
    for _ in 0..2 {
        let site = Site::new();
        let running = site.start_with(crate::common::long_leases).await;
        let mut session = session(&site, running.address).await;
        session.train(1000, &mut batches(1, 2).into_iter().peekable()).await.unwrap();
        session.close().await;
        let received = running.log.received.lock().unwrap().clone();
        let update = received.into_iter().find_map(|(_, message)| match message {
            ClientMessage::MaskedUpdate(update) => Some(update),
            _ => None,
        });
        seen.push(update.expect("the first of two steps"));
        running.shut_down().await;
    }
    let precision = Precision::TRAINING;
    let bits = precision.update_bits + precision.mask_bits;
    let wide = seen[0].values().filter(|v| **v > 1 << (bits - 8)).count();
    assert!(wide * 10 > seen[0].len() * 9, "{wide} of {}", seen[0].len());
    assert!(seen[0].values().zip(seen[1].values()).all(|(a, b)| a != b));
}

/// A byte that is changed on the way ends the session; nothing of it is believed.
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_byte_ends_the_session() {
    let site = Site::new();
    let running = site.start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (flip, mut flipped) = tokio::sync::watch::channel(false);
    let to = running.address;
    tokio::spawn(async move {
        let (near, _) = listener.accept().await.unwrap();
        let far = TcpStream::connect(to).await.unwrap();
        let ((mut near_read, near_write), (far_read, mut far_write)) =
            (near.into_split(), far.into_split());
        tokio::spawn(copy(far_read, near_write, Tape::default()));
        let mut buffer = vec![0; 1 << 16];
        while let Ok(read @ 1..) = near_read.read(&mut buffer).await {
            if *flipped.borrow_and_update() {
                buffer[read - 1] ^= 1;
            }
            if far_write.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    });
    let mut session = session(&site, address).await;
    flip.send_replace(true);
    let error = session.classify(&batches(1, 1)[0].0).await.unwrap_err();
    assert!(matches!(error, gelu_service::Error::Tls(_)), "{error}");
    let error = running.log.left("alice").await.expect("an error");
    assert!(error.starts_with("the secure channel"), "{error}");
    running.shut_down().await;
}
