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
use x509_parser::prelude::{FromDer, X509Certificate};

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

/// The account of a verified client certificate: its Common Name.
///
/// # Errors
/// One sentence for the log, when the certificate names no account.
pub(crate) fn account(certificates: Option<&[CertificateDer<'_>]>) -> Result<String, String> {
    let leaf = certificates.and_then(<[_]>::first).ok_or("it came without a certificate")?;
    let (_, certificate) = X509Certificate::from_der(leaf).map_err(|e| e.to_string())?;
    let mut names = certificate.subject().iter_common_name();
    let (Some(name), None) = (names.next(), names.next()) else {
        return Err("its certificate needs exactly one Common Name".into());
    };
    let name = name.as_str().map_err(|e| e.to_string())?;
    check_account(name).map_err(|why| format!("the Common Name of its certificate {why}"))?;
    Ok(name.to_owned())
}

/// An account's name is shown in logs and names files, so it is kept plain.
pub(crate) fn check_account(name: &str) -> Result<(), &'static str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    match name {
        "" => Err("is empty"),
        _ if name.len() > 64 => Err("has more than 64 letters"),
        _ if name.starts_with('.') => Err("begins with a dot"),
        _ if !name.chars().all(plain) => Err("may hold letters, digits, '-', '_', '.' and '@'"),
        _ => Ok(()),
    }
}
