//! Where the database is, and how to get there unseen.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_rustls::TlsConnector;

use crate::error::{Error, Result};
use crate::location::Url;

/// A database, and how a connection to it is protected.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    pub(super) config: tokio_postgres::Config,
    /// The certificates that vouch for the server, where the connection leaves this machine.
    roots: Option<PathBuf>,
}

impl Address {
    /// Reads an address. What leaves the machine is encrypted and goes to whom the certificate names, unless
    /// `sslmode=disable` says otherwise: the store holds the model.
    ///
    /// Whoever names a `sslrootcert` alone wants the same, wherever the server is: `verify-full`. (libpq's default is
    /// `prefer`, which goes on unencrypted where the certificate is wrong.) As with libpq, sockets of the file system are
    /// never encrypted.
    pub(crate) fn parse(url: &Url) -> Result<Self, String> {
        let text = url.with_password();
        let (base, parameters) = text.split_once('?').unwrap_or((text, ""));
        let (mut mode, mut roots, mut others) = (None, None, Vec::new());
        for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
            match parameter.split_once('=') {
                Some(("sslmode", value)) => mode = Some(value),
                Some(("sslrootcert", value)) => roots = Some(PathBuf::from(value)),
                _ => others.push(parameter),
            }
        }
        let mut config: tokio_postgres::Config = format!("{base}?{}", others.join("&"))
            .parse()
            .map_err(|error| format!("{url}: {}", super::explain(&error)))?;
        if config.get_hosts().is_empty() {
            return Err(format!("{url} names no host"));
        }
        let roots = match (mode, roots) {
            (Some("verify-full"), Some(roots)) => Some(roots),
            (Some("verify-full"), None) => {
                return Err(format!("{url}: sslmode=verify-full needs sslrootcert=FILE"));
            }
            (Some("disable"), _) => None,
            (None, Some(roots)) => has_names(&config).then_some(roots),
            (None, None) if is_local(&config) => None,
            (None, None) => {
                return Err(format!(
                    "{url} is another machine: add ?sslmode=verify-full&sslrootcert=FILE with the certificate of its \
                     authority, or ?sslmode=disable where nobody else is on the network between"
                ));
            }
            (Some(other), _) => {
                return Err(format!(
                    "{url}: sslmode={other} does not make sure who the server is; \
                     use sslmode=verify-full&sslrootcert=FILE, or sslmode=disable"
                ));
            }
        };
        config.ssl_mode(if roots.is_some() { SslMode::Require } else { SslMode::Disable });
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(SILENCE);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(SILENCE);
        }
        config.keepalives_idle(SILENCE);
        if config.get_application_name().is_none() {
            config.application_name("gelu");
        }
        Ok(Self { config, roots })
    }

    /// What encrypts, where something does.
    pub(super) fn tls(&self) -> Result<Option<Tls>> {
        let Some(path) = &self.roots else { return Ok(None) };
        let roots = read(path).map_err(|why| Error::File { path: path.clone(), why })?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::Engine(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"postgresql".to_vec()];
        Ok(Some(Tls(TlsConnector::from(Arc::new(config)))))
    }
}

/// After so long without a sign the other side is taken for dead.
const SILENCE: Duration = Duration::from_secs(5);

fn read(path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| error.to_string())?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    match roots.is_empty() {
        true => Err("no certificate in it; sslrootcert is a file in PEM".into()),
        false => Ok(roots),
    }
}

fn is_local(config: &tokio_postgres::Config) -> bool {
    let address = |text: &str| text.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    config.get_hostaddrs().iter().all(IpAddr::is_loopback)
        && config.get_hosts().iter().all(|host| match host {
            Host::Tcp(name) => name == "localhost" || address(name),
            #[cfg(unix)]
            Host::Unix(_) => true,
        })
}

/// Whether a host has a name or an address, for which there can be a certificate.
fn has_names(config: &tokio_postgres::Config) -> bool {
    config.get_hosts().iter().any(|host| matches!(host, Host::Tcp(_)))
}

/// Encrypts connections.
#[derive(Clone)]
pub(super) struct Tls(TlsConnector);

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> MakeTlsConnect<S> for Tls {
    type Stream = Encrypted<S>;
    type TlsConnect = Handshake;
    type Error = InvalidDnsNameError;

    fn make_tls_connect(&mut self, domain: &str) -> Result<Handshake, InvalidDnsNameError> {
        let name = ServerName::try_from(domain)?.to_owned();
        Ok(Handshake { connector: self.0.clone(), name })
    }
}

pub(super) struct Handshake {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> TlsConnect<S> for Handshake {
    type Stream = Encrypted<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Encrypted<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move { self.connector.connect(self.name, stream).await.map(Encrypted) })
    }
}

pub(super) struct Encrypted<S>(tokio_rustls::client::TlsStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Encrypted<S> {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Encrypted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Encrypted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Location;

    #[test]
    fn what_leaves_the_machine_is_encrypted_or_says_that_it_is_not() {
        let open = ["localhost", "127.0.0.1:5433", "[::1]", "%2Frun%2Fpostgresql"];
        for host in open {
            format!("postgres://gelu@{host}/books").parse::<Location>().unwrap();
        }
        for host in ["db", "10.0.0.1", "localhost,db"] {
            let address = format!("postgres://gelu@{host}/books");
            let refused = |more: &str| {
                format!("{address}{more}").parse::<Location>().unwrap_err().to_string()
            };
            assert!(refused("").contains("sslmode=verify-full&sslrootcert=FILE"));
            assert!(refused("?sslmode=prefer").contains("sslmode=prefer does not"));
            assert!(refused("?sslmode=require&sslrootcert=f").contains("sslmode=require does not"));
            assert!(refused("?sslmode=verify-full").contains("sslrootcert=FILE"));
            for more in ["?sslmode=disable", "?sslmode=verify-full&sslrootcert=ca.pem"] {
                format!("{address}{more}").parse::<Location>().unwrap();
            }
        }
        let error = "postgres://?dbname=books".parse::<Location>().unwrap_err().to_string();
        assert!(error.contains("names no host"), "{error}");
    }

    #[test]
    fn who_names_a_root_certificate_wants_the_server_verified_wherever_it_is() {
        let of = |host: &str, more: &str| {
            let text = format!("postgres://gelu@{host}/books?sslrootcert=ca.pem{more}");
            let Ok(Location::Postgres(url)) = text.parse() else { panic!("{text} is refused") };
            let address = Address::parse(&url).unwrap();
            (address.roots, address.config.get_ssl_mode())
        };
        let verified = (Some("ca.pem".into()), SslMode::Require);
        for host in ["localhost", "127.0.0.1:5433", "[::1]", "db", "localhost,db"] {
            assert_eq!(of(host, ""), verified, "{host}");
            assert_eq!(of(host, "&sslmode=verify-full"), verified, "{host}");
            assert_eq!(of(host, "&sslmode=disable"), (None, SslMode::Disable), "{host}");
        }
        assert_eq!(of("%2Frun%2Fpostgresql", ""), (None, SslMode::Disable));
    }
}
