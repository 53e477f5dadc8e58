//! Certificates that are revoked or renewed under a server that runs.

use std::time::{Duration, Instant};

use gelu_nn::zoo;
use gelu_service::Error;
use gelu_service::error::Goodbye;
use rustls::pki_types::CertificateDer;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{OPEN, PATIENCE, SLACK, Server, Site, input};

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_ends_the_sessions_of_that_account_and_of_no_other() {
    let site = Site::new(&["alice", "bob"]);
    site.model("iris", zoo::iris(), 1);
    site.configure("store", &[("iris", OPEN)], "");
    let server = site.start();
    let mut alice = site.client(&server, "alice", "iris").await;
    let mut bob = site.client(&server, "bob", "iris").await;
    alice.classify(&input(4)).await.unwrap();

    site.runs(&["certs", "revoke", "alice"]);
    let began = Instant::now();
    let told = loop {
        match alice.classify(&input(4)).await {
            Ok(_) => assert!(began.elapsed() < PATIENCE, "{}", server.log()),
            Err(told) => break told,
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    println!("a revocation took {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(1) + SLACK, "{:?}", began.elapsed());
    server.reaches("gelu_sessions_failed_total{model=\"iris\",reason=\"revoked\"}", 1.0).await;
    let revoked = matches!(told, Error::Ended(Goodbye::Revoked) | Error::ConnectionLost { .. });
    assert!(revoked, "{told}");
    let again = site.connect(&server, "alice", "iris").await.err().expect("revoked");
    assert!(again.to_string().contains("revoked"), "{again}");
    assert_eq!(server.metric("gelu_sessions{model=\"iris\"}"), Some(1.0));
    bob.classify(&input(4)).await.unwrap();
    site.client(&server, "bob", "iris").await.close().await;
    server.stop();
}

/// The certificate that a server shows to newcomers.
async fn shown(site: &Site, server: &Server) -> CertificateDer<'static> {
    let tcp = TcpStream::connect(server.address).await.unwrap();
    let connector = TlsConnector::from(site.tls("bob").config().clone());
    let channel = connector.connect("localhost".try_into().unwrap(), tcp).await.unwrap();
    channel.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_server_certificate_is_shown_to_newcomers_and_sends_nobody_away() {
    let site = Site::new(&["alice", "bob"]);
    site.model("iris", zoo::iris(), 1);
    site.configure("store", &[("iris", OPEN)], "");
    let server = site.start();
    let old = shown(&site, &server).await;
    let mut alice = site.client(&server, "alice", "iris").await;
    let answer = alice.classify(&input(4)).await.unwrap();

    site.runs(&["certs", "renew", "--server"]);
    let began = Instant::now();
    while shown(&site, &server).await == old {
        assert!(began.elapsed() < PATIENCE, "{}", server.log());
    }
    println!("a renewal took {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(1) + SLACK, "{:?}", began.elapsed());
    assert_eq!(alice.classify(&input(4)).await.unwrap(), answer);
    let mut bob = site.client(&server, "bob", "iris").await;
    assert_eq!(bob.classify(&input(4)).await.unwrap(), answer);
    server.stop();
}
