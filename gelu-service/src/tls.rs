//! The secure channel: TLS 1.3, certificates on both sides, one provider chosen by name.
//!
//! There is no resumption: a session lasts for many exchanges and gains nothing from it, and every
//! session presents its certificate anew.
//!
//! A server reads its files again while it runs ([`ServerTls::reload`], [`ServerTls::follow`]): its certificate and key,
//! the authorities, and `crl.pem` beside `ca.pem`, the list of revoked certificates. What cannot be used is refused as a
//! whole, and the old files stay in force. When a list ends (ours end with their authority), new connections
//! are refused until there is a newer one.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::sync::watch;

use crate::certs::Identity;
use crate::error::{Error, FileError, FileProblem, Result};
use crate::revocation::{self, Revocations};
use crate::token::{Token, TokenError};
use crate::trust::{self, Use};

/// What this protocol is called inside TLS; the number is that of the framing.
pub const ALPN: &[u8] = b"gelu/1";

/// The server's end: it lets in whom the authority has signed and not revoked. Clones share the files in force.
#[derive(Debug, Clone)]
pub struct ServerTls(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    authority: PathBuf,
    identity: Identity,
    current: RwLock<Arc<InForce>>,
    /// Held by a reload: one that read older files must not come after one that read newer ones.
    reloading: Mutex<()>,
    /// Counts the reloads.
    generation: watch::Sender<u64>,
}

/// What was read last and can be used.
#[derive(Debug)]
struct InForce {
    config: Arc<ServerConfig>,
    authorities: Vec<CertificateDer<'static>>,
    revocations: Revocations,
    /// As the files were before they were read.
    stamps: Stamps,
}

/// The client's end: it trusts the servers that the authority has signed.
#[derive(Debug, Clone)]
pub struct ClientTls(Arc<ClientConfig>);

impl ServerTls {
    /// Reads the authority's certificate, the list of revoked ones beside it (`crl.pem`) if there is one, and the
    /// server's identity.
    ///
    /// # Errors
    /// [`Error::File`] naming the file that cannot be used.
    pub fn read(authority: &Path, identity: &Identity) -> Result<Self> {
        let in_force = InForce::read(authority, identity)?;
        Ok(Self(Arc::new(Shared {
            authority: authority.to_owned(),
            identity: identity.clone(),
            current: RwLock::new(Arc::new(in_force)),
            reloading: Mutex::default(),
            generation: watch::Sender::new(0),
        })))
    }

    /// For those who open the channel by hand: what new connections are opened with.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.in_force().config)
    }

    /// Reads all files again. New connections are opened with what they say now; those that are open go on.
    ///
    /// # Errors
    /// As [`read`](Self::read); a list of revoked certificates that is gone, or older than the one in force. The old
    /// files stay in force then.
    pub fn reload(&self) -> Result<()> {
        let Shared { authority, identity, current, reloading, generation } = &*self.0;
        let _one = reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let new = InForce::read(authority, identity)?;
        let old = self.in_force();
        if new.revocations.goes_back(&old.revocations) {
            let list = revocation::beside(authority);
            let why = "the list of revoked certificates is gone or older than the one in force, which \
                stays so; restore the newer one, or restart the server to go back";
            return Err(FileError::at(&list)(FileProblem::Certificate(why.into())).into());
        }
        *current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
        generation.send_modify(|generation| *generation += 1);
        Ok(())
    }

    /// Watches the files for as long as it is polled and reloads them within a second of their last change. `report` is
    /// told how each attempt went.
    pub async fn follow(&self, mut report: impl FnMut(Result<()>)) {
        let (mut tried, mut seen) = (Stamps::default(), self.in_force().stamps.clone());
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let now = self.stamps().await;
            // Files that still change, one after the other, are left alone until they are all there.
            if now == seen && now != tried && now != self.in_force().stamps {
                let tls = self.clone();
                let reloaded = tokio::task::spawn_blocking(move || tls.reload()).await;
                report(reloaded.unwrap_or_else(|e| Err(Error::Bug(e.to_string()))));
                tried.clone_from(&now);
            }
            seen = now;
        }
    }

    /// How often the files in force have changed: what [`is_revoked`](Self::is_revoked) says may be new then.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.generation.subscribe()
    }

    /// Whether a certificate is on the list in force.
    pub fn is_revoked(&self, certificate: &CertificateDer<'_>) -> bool {
        self.in_force().revocations.contains(certificate)
    }

    /// Is ready when a certificate has been revoked, at once if it is. Cancelling this loses nothing.
    pub async fn revoked(&self, certificate: &CertificateDer<'_>) {
        let changed = self.changes().wait_for(|_| self.is_revoked(certificate)).await.is_ok();
        assert!(changed, "we keep the sender");
    }

    /// The token's account, if one of our authorities has signed it and its certificate still counts.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check_token(&self, text: &str, now: SystemTime) -> Result<Token, TokenError> {
        let in_force = self.in_force();
        Token::verify(text, &in_force.authorities, now, &in_force.revocations)
    }

    fn in_force(&self) -> Arc<InForce> {
        Arc::clone(&self.0.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// They may be on a disk that is slow.
    async fn stamps(&self) -> Stamps {
        let shared = Arc::clone(&self.0);
        let look = move || stamps(&shared.authority, &shared.identity);
        tokio::task::spawn_blocking(look).await.unwrap_or_default()
    }
}

/// What the files look like from outside: when each was written, how long it is, and which one it is.
type Stamps = Vec<Option<(Option<SystemTime>, u64, u64)>>;

fn stamps(authority: &Path, identity: &Identity) -> Stamps {
    let list = revocation::beside(authority);
    let stamp = |path: &Path| {
        let file = fs::metadata(path).ok()?;
        #[cfg(unix)]
        let inode = std::os::unix::fs::MetadataExt::ino(&file);
        #[cfg(not(unix))]
        let inode = 0;
        Some((file.modified().ok(), file.len(), inode))
    };
    [authority, &list, &identity.certificate, &identity.key].map(stamp).to_vec()
}

/// Twice this and the reading are less than a second.
const LOOK_EVERY: Duration = Duration::from_millis(250);

impl InForce {
    fn read(authority: &Path, identity: &Identity) -> Result<Self> {
        let stamps = stamps(authority, identity);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let authorities = certificates(authority)?;
        let revocations = Revocations::read(&revocation::beside(authority), &authorities)?;
        let roots = Arc::new(roots(authority, &authorities)?);
        let mut verifier =
            WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider));
        if !revocations.lists().is_empty() {
            verifier = verifier
                .with_crls(revocations.lists().iter().cloned())
                .only_check_end_entity_revocation()
                .enforce_revocation_expiration();
        }
        let verifier = verifier.build().map_err(|e| FileError::damaged(authority, AUTHORITY, e))?;
        let (certificates, key) = read(identity, Use::Server, &provider)?;
        if revocations.contains(&certificates[0]) {
            let why = "its authority has revoked it; `gelu certs renew --server` makes a new one";
            let revoked = FileError::at(&identity.certificate);
            return Err(revoked(FileProblem::Certificate(why.into())).into());
        }
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(unsupported)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(certificates, key)
            .map_err(|e| FileError::damaged(&identity.key, MATCHING_KEY, e))?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.send_tls13_tickets = 0;
        Ok(Self { config: Arc::new(config), authorities, revocations, stamps })
    }
}

impl ClientTls {
    /// Reads the authority's certificate and the client's identity.
    ///
    /// # Errors
    /// [`Error::File`] naming the file that cannot be used.
    pub fn read(authority: &Path, identity: &Identity) -> Result<Self> {
        let provider = rustls::crypto::ring::default_provider();
        let (certificates, key) = read(identity, Use::Client, &provider)?;
        let mut config = ClientConfig::builder_with_provider(provider.into())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(unsupported)?
            .with_root_certificates(roots(authority, &self::certificates(authority)?)?)
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

fn roots(
    authority: &Path,
    certificates: &[CertificateDer<'static>],
) -> Result<RootCertStore, FileError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate.clone()).map_err(|e| FileError::damaged(authority, AUTHORITY, e))?;
    }
    Ok(roots)
}

fn read(
    identity: &Identity,
    of: Use,
    provider: &CryptoProvider,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), FileError> {
    let pem = fs::read(&identity.key).map_err(FileError::at(&identity.key))?;
    let damaged = |why: String| FileError::damaged(&identity.key, "a private key in PEM", why);
    let keys: Result<Vec<_>, _> = PrivateKeyDer::pem_slice_iter(&pem).collect();
    let mut keys = keys.map_err(|e| damaged(e.to_string()))?;
    let certificates = certificates(&identity.certificate)?;
    trust::check_own(&identity.certificate, &certificates[0], of)?;
    // There are two while a renewal is under way.
    let fits = |key: &PrivateKeyDer<'static>| {
        CertifiedKey::from_der(certificates.clone(), key.clone_key(), provider).is_ok()
    };
    let fitting = keys.iter().position(fits).unwrap_or(0);
    match keys.is_empty() {
        true => Err(damaged("no key in it".into())),
        false => Ok((certificates, keys.swap_remove(fitting))),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let pem = fs::read(path).map_err(FileError::at(path))?;
    let expected = "a certificate in PEM";
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match read {
        Ok(certificates) if certificates.is_empty() => {
            Err(FileError::damaged(path, expected, "no certificate in it"))
        }
        read => read.map_err(|e| FileError::damaged(path, expected, e)),
    }
}

pub(crate) fn unsupported(error: rustls::Error) -> Error {
    Error::Bug(format!("the provider lacks TLS 1.3: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certs::{Authority, Whom};
    use crate::channel;
    use crate::limits::Limits;
    use std::sync::Mutex;
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    struct Site {
        folder: tempfile::TempDir,
        authority: Authority,
        server: Identity,
        tls: ServerTls,
    }

    impl Site {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let (authority, server) = Authority::init(folder.path(), &[], None).unwrap();
            for account in ["alice", "bob"] {
                authority.issue_client(account).unwrap();
            }
            let tls = ServerTls::read(&authority.certificate(), &server).unwrap();
            Self { folder, authority, server, tls }
        }

        fn client(&self, name: &str) -> ClientTls {
            ClientTls::read(&self.authority.certificate(), &self.identity(name)).unwrap()
        }

        fn identity(&self, name: &str) -> Identity {
            Identity::at(&self.folder.path().join("clients").join(name))
        }

        fn certificate(&self, name: &str) -> CertificateDer<'static> {
            certificates(&self.identity(name).certificate).unwrap().remove(0)
        }

        /// What a client hears of one connection, and what the server says of it.
        async fn meet(&self, client: &ClientTls) -> (Result<String>, Result<u32>) {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let (address, limits) = (listener.local_addr().unwrap(), Limits::default());
            let serving = async {
                let (tcp, _) = listener.accept().await.unwrap();
                let (account, mut channel) =
                    channel::accept(tcp, &self.tls, b"test", &limits).await?;
                channel.send(&7u32).await?;
                Ok(account)
            };
            let asking = async {
                let mut channel =
                    channel::connect(address, "localhost", client, b"test", &limits).await?;
                Ok(channel.receive::<u32>(Duration::from_secs(5)).await?.0)
            };
            tokio::join!(serving, asking)
        }
    }

    #[tokio::test]
    async fn a_revoked_client_is_turned_away_after_a_reload_and_told_why() {
        let site = Site::new();
        let (alice, bob) = (site.client("alice"), site.client("bob"));
        site.authority.revoke(Whom::Account("alice")).unwrap();
        assert_eq!(site.meet(&alice).await.0.unwrap(), "alice", "until it is read");
        site.tls.reload().unwrap();
        assert!(site.tls.is_revoked(&site.certificate("alice")));
        assert!(!site.tls.is_revoked(&site.certificate("bob")));
        let (server, client) = site.meet(&alice).await;
        let (server, client) = (server.unwrap_err().to_string(), client.unwrap_err().to_string());
        assert!(server.contains("was revoked by its authority"), "{server}");
        assert!(client.contains("has revoked our certificate; ask it for a new one"), "{client}");
        assert_eq!(site.meet(&bob).await.1.unwrap(), 7);
        // With a new certificate the account is back; a server that starts now knows the list as well.
        site.authority.renew_client("alice").unwrap();
        assert_eq!(site.meet(&site.client("alice")).await.0.unwrap(), "alice");
        let fresh = ServerTls::read(&site.authority.certificate(), &site.server).unwrap();
        assert!(!fresh.is_revoked(&site.certificate("alice")));
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_used_leaves_the_old_ones_in_force() {
        let site = Site::new();
        site.authority.revoke(Whom::Account("alice")).unwrap();
        site.tls.reload().unwrap();
        let (list, pem) = (site.authority.revocation_list(), &site.server.certificate);
        let (whole, certificate) = (fs::read(&list).unwrap(), fs::read(pem).unwrap());
        let still = async |why: &str| {
            let error = site.tls.reload().unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
            assert_eq!(*site.tls.changes().borrow(), 1);
            assert!(site.meet(&site.client("alice")).await.0.is_err());
            assert!(site.meet(&site.client("bob")).await.0.is_ok());
        };
        fs::write(&list, &whole[..whole.len() / 2]).unwrap();
        still("crl.pem: not a list of revoked certificates").await;
        fs::remove_file(&list).unwrap();
        still("crl.pem: the list of revoked certificates is gone").await;
        fs::write(&list, &whole).unwrap();
        fs::write(pem, "nothing").unwrap();
        still("server.pem: not a certificate").await;
        fs::write(pem, certificate).unwrap();
        site.tls.reload().unwrap();
    }

    #[test]
    fn a_list_that_is_over_or_that_names_us_is_refused_by_name() {
        let site = Site::new();
        let ended = |pem: &str| {
            fs::write(site.authority.revocation_list(), pem).unwrap();
            ServerTls::read(&site.authority.certificate(), &site.server).unwrap_err().to_string()
        };
        let error = ended(&ended_list_of(&site.authority));
        assert!(
            error.contains("crl.pem: the list of revoked certificates ended on Jan"),
            "{error}"
        );
        fs::remove_file(site.authority.revocation_list()).unwrap();
        site.authority.revoke(Whom::Certificate(&site.server.certificate)).unwrap();
        let error = site.tls.reload().unwrap_err().to_string();
        assert!(error.contains("server.pem: its authority has revoked it"), "{error}");
    }

    fn ended_list_of(authority: &Authority) -> String {
        let read = |name| fs::read_to_string(authority.certificate().with_file_name(name)).unwrap();
        let key = rcgen::KeyPair::from_pem(&read("ca.key")).unwrap();
        let issuer = rcgen::Issuer::from_ca_cert_pem(&read("ca.pem"), key).unwrap();
        revocation::tests::ended_list(&issuer, 1).pem().unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn revocation_and_renewal_take_effect_within_a_second() {
        let site = Site::new();
        let (reports, told) = (Arc::new(Mutex::new(Vec::new())), site.tls.clone());
        let said = Arc::clone(&reports);
        let following = tokio::spawn(async move {
            told.follow(|report| said.lock().unwrap().push(report.map_err(|e| e.to_string())))
                .await;
        });
        tokio::time::sleep(LOOK_EVERY).await;
        let second = Duration::from_secs(1);
        let certificate = site.certificate("alice");
        let tls = site.tls.clone();
        let revoked = tokio::spawn(async move { tls.revoked(&certificate).await });
        site.authority.revoke(Whom::Account("alice")).unwrap();
        timeout(second, revoked).await.expect("within a second").unwrap();

        let mut changes = site.tls.changes();
        changes.mark_unchanged();
        site.authority.renew_server(&[]).unwrap();
        timeout(second, changes.changed()).await.expect("within a second").unwrap();
        assert!(site.meet(&site.client("bob")).await.1.is_ok());

        fs::write(&site.server.certificate, "nothing").unwrap();
        tokio::time::sleep(second).await;
        following.abort();
        assert!(site.meet(&site.client("bob")).await.1.is_ok(), "the old one is in force");
        let reports = reports.lock().unwrap();
        let [Ok(()), .., Err(error)] = &reports[..] else { panic!("{reports:?}") };
        assert!(error.contains("server.pem: not a certificate"), "{error}");
    }

    /// At every moment of a renewal a reader finds a certificate and the key that belongs to it.
    #[test]
    fn a_renewal_that_stops_between_two_files_leaves_the_old_identity_or_the_new_one() {
        let site = Site::new();
        let Identity { certificate, key } = &site.server;
        let read = |path| fs::read_to_string(path).unwrap();
        let old = [read(certificate), read(key)];
        site.authority.renew_server(&[]).unwrap();
        let new = [read(certificate), read(key)];
        let both = format!("{}{}", new[1], old[1]);
        for (pem, keys, works) in [
            (&old[0], &old[1], true),
            (&old[0], &both, true),
            (&new[0], &both, true),
            (&new[0], &new[1], true),
            (&old[0], &new[1], false),
        ] {
            fs::write(certificate, pem).unwrap();
            fs::write(key, keys).unwrap();
            let read = ServerTls::read(&site.authority.certificate(), &site.server);
            assert_eq!(read.is_ok(), works, "{read:?}");
        }
    }
}
