//! The secure channel: TLS 1.3, certificates on both sides, one provider chosen by name.
//!
//! There is no resumption: a session lasts for many exchanges and gains nothing from it, and every
//! session presents its certificate anew.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::certs::Identity;
use crate::error::{Error, FileError, Result};
use crate::trust::{self, Use};

/// What this protocol is called inside TLS; the number is that of the framing.
pub const ALPN: &[u8] = b"gelu/1";

/// The server's end: it lets in whom the authority has signed.
#[derive(Debug, Clone)]
pub struct ServerTls(Arc<ServerConfig>);

/// The client's end: it trusts the servers that the authority has signed.
#[derive(Debug, Clone)]
pub struct ClientTls(Arc<ClientConfig>);

impl ServerTls {
    /// Reads the authority's certificate and the server's identity.
    ///
    /// # Errors
    /// [`Error::File`] naming the file that cannot be used.
    pub fn read(authority: &Path, identity: &Identity) -> Result<Self> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let roots = Arc::new(roots(authority)?);
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider))
            .build()
            .map_err(|e| FileError::damaged(authority, AUTHORITY, e))?;
        let (certificates, key) = read(identity, Use::Server)?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(unsupported)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(certificates, key)
            .map_err(|e| FileError::damaged(&identity.key, MATCHING_KEY, e))?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.send_tls13_tickets = 0;
        Ok(Self(Arc::new(config)))
    }

    /// For those who open the channel by hand.
    pub fn config(&self) -> &Arc<ServerConfig> {
        &self.0
    }
}

impl ClientTls {
    /// Reads the authority's certificate and the client's identity.
    ///
    /// # Errors
    /// [`Error::File`] naming the file that cannot be used.
    pub fn read(authority: &Path, identity: &Identity) -> Result<Self> {
        let (certificates, key) = read(identity, Use::Client)?;
        let mut config =
            ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
                .with_protocol_versions(&[&rustls::version::TLS13])
                .map_err(unsupported)?
                .with_root_certificates(roots(authority)?)
                .with_client_auth_cert(certificates, key)
                .map_err(|e| FileError::damaged(&identity.key, MATCHING_KEY, e))?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = rustls::client::Resumption::disabled();
        Ok(Self(Arc::new(config)))
    }

    /// For those who open the channel by hand.
    pub fn config(&self) -> &Arc<ClientConfig> {
        &self.0
    }
}

const AUTHORITY: &str = "the certificate of an authority";
const MATCHING_KEY: &str = "the key of its certificate";

fn roots(authority: &Path) -> Result<RootCertStore, FileError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(authority)? {
        roots.add(certificate).map_err(|e| FileError::damaged(authority, AUTHORITY, e))?;
    }
    Ok(roots)
}

fn read(
    identity: &Identity,
    of: Use,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), FileError> {
    let key = std::fs::read(&identity.key).map_err(FileError::at(&identity.key))?;
    let key = PrivateKeyDer::from_pem_slice(&key)
        .map_err(|e| FileError::damaged(&identity.key, "a private key in PEM", e))?;
    let certificates = certificates(&identity.certificate)?;
    trust::check_own(&identity.certificate, &certificates[0], of)?;
    Ok((certificates, key))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let pem = std::fs::read(path).map_err(FileError::at(path))?;
    let expected = "a certificate in PEM";
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match read {
        Ok(certificates) if certificates.is_empty() => {
            Err(FileError::damaged(path, expected, "no certificate in it"))
        }
        read => read.map_err(|e| FileError::damaged(path, expected, e)),
    }
}

fn unsupported(error: rustls::Error) -> Error {
    Error::Bug(format!("the provider lacks TLS 1.3: {error}"))
}
