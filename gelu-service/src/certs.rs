//! A development authority: who may talk to whom, as PEM files in one folder.
//!
//! ```text
//! ca.pem  ca.key            the authority; whoever holds ca.key can make accounts
//! server.pem  server.key    the server, by its host names and addresses
//! clients/alice.pem  .key   one for each account; the Common Name is the account's name
//! issued.json               the serial of every certificate that was issued, and whose it is
//! crl.pem                   those that were revoked, once there is one: servers read it beside ca.pem
//! ```
//!
//! The leakage ledger counts by account, so an account must be a person or an organisation: hand a
//! second certificate of the same name to the same one only. Whoever can make accounts can multiply
//! its query budget; in production an authority of the organisation's own takes this one's place.
//!
//! An account that must leave is [revoked](Authority::revoke): its certificates are put on a list that the authority
//! signs, and that ends with the authority itself. Servers that [follow](crate::ServerTls::follow) their files heed it
//! within a second. Clients read no list; a server whose own certificate is revoked does not start.
//!
//! Private keys are created with mode 0600. Nothing is overwritten but by [renewal](Authority::renew_client).

mod params;
mod register;
mod revoke;

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, Issuer, KeyPair, KeyUsagePurpose};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::account;
use crate::error::{Error, FileError, FileProblem, Result};
use crate::files;
use crate::revocation;
use crate::trust;
use params::{authority_params, client_params, names_of, server_params};
use register::Register;
pub use revoke::{Entry, Whom};
pub use trust::SOON;

/// Names under which every server certificate is valid.
pub const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Where the certificate and the private key of a party are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificate, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
}

/// An authority: see the [module](self).
#[derive(Debug)]
pub struct Authority {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    pub(crate) own: CertificateDer<'static>,
}

impl Authority {
    /// Makes a new authority in `folder`, which is made as well if it is not there.
    ///
    /// # Errors
    /// [`FileProblem::Exists`] if there is one already, and what the operating system says.
    pub fn create(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder.join("clients")).map_err(FileError::at(folder))?;
        let params = authority_params()?;
        let key = KeyPair::generate().map_err(bug)?;
        let certificate = params.self_signed(&key).map_err(bug)?;
        files::create(&folder.join("ca.key"), &key.serialize_pem(), true)?;
        files::create(&folder.join("ca.pem"), &certificate.pem(), false)?;
        let own = certificate.der().clone();
        Ok(Self { folder: folder.to_owned(), issuer: Issuer::new(params, key), own })
    }

    /// Makes a new authority, its server's certificate for `names`, and one for a client of `account` if there shall be
    /// one: all of it, or nothing. What can be refused is refused before the first key is made.
    ///
    /// # Errors
    /// As [`create`](Self::create), [`issue_server`](Self::issue_server) and [`issue_client`](Self::issue_client);
    /// [`FileProblem::Exists`] for whatever is in the way, a register or a list of another authority too.
    pub fn init(folder: &Path, names: &[&str], account: Option<&str>) -> Result<(Self, Identity)> {
        server_params(names)?;
        account.map(check_account).transpose()?;
        let clients = folder.join("clients");
        let mut files: Vec<_> = MADE.iter().map(|name| folder.join(name)).collect();
        if let Some(account) = account {
            let Identity { certificate, key } = Identity::at(&clients.join(account));
            files.extend([certificate, key]);
        }
        let list = revocation::beside(&folder.join("ca.pem"));
        if let Some(path) = files.iter().chain([&list]).find(|path| is_there(path)) {
            return Err(FileError::at(path)(FileProblem::Exists).into());
        }
        // What stands in the folder of accounts goes into the register: it can be read.
        register::read_all(folder)?;
        let (made, there) = (first_missing(folder), is_there(&clients));
        let all = || -> Result<_> {
            let authority = Self::create(folder)?;
            let identity = authority.issue_server(names)?;
            account.map(|account| authority.issue_client(account)).transpose()?;
            Ok((authority, identity))
        };
        all().inspect_err(|error| {
            // Of two at the same moment, one has made the key of the authority, the first file; what is here is its own.
            if matches!(error, Error::File(FileError { problem: FileProblem::Exists, .. })) {
                return;
            }
            // What is here now is ours: the names were free. An error would hide the first one.
            if let Some(made) = made {
                return drop(fs::remove_dir_all(made));
            }
            for file in files.iter().chain([&folder.join(register::LOCK)]) {
                let _ = fs::remove_file(file);
            }
            if !there {
                let _ = fs::remove_dir(clients);
            }
        })
    }

    /// Opens the authority that [`create`](Self::create) has made in `folder`.
    ///
    /// # Errors
    /// [`Error::File`] naming the file that is missing or damaged.
    pub fn open(folder: &Path) -> Result<Self> {
        let read = |name: &str| {
            let path = folder.join(name);
            fs::read_to_string(&path).map_err(FileError::at(&path))
        };
        let damaged = |name: &str, expected, why: rcgen::Error| {
            FileError::damaged(&folder.join(name), expected, why)
        };
        let key = KeyPair::from_pem(&read("ca.key")?)
            .map_err(|e| damaged("ca.key", "a private key", e))?;
        let certificate = read("ca.pem")?;
        let issuer = Issuer::from_ca_cert_pem(&certificate, key)
            .map_err(|e| damaged("ca.pem", "a certificate", e))?;
        let own = CertificateDer::from_pem_slice(certificate.as_bytes())
            .map_err(|e| FileError::damaged(&folder.join("ca.pem"), "a certificate", e))?;
        Ok(Self { folder: folder.to_owned(), issuer, own })
    }

    /// The certificate that both sides must be given.
    pub fn certificate(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// Makes the server's certificate for [`LOCAL_NAMES`] and `names` (host names or addresses).
    ///
    /// # Errors
    /// [`FileProblem::Exists`] if there is one already; [`Error::Configuration`] for a name that
    /// cannot stand in a certificate.
    pub fn issue_server(&self, names: &[&str]) -> Result<Identity> {
        self.issue(server_params(names)?, self.server())
    }

    /// Makes a certificate for a client of the account `name`.
    ///
    /// # Errors
    /// As [`issue_server`](Self::issue_server); a name has up to 64 letters, digits, `-`, `_`, `.`
    /// and `@`, and does not begin with a dot.
    pub fn issue_client(&self, name: &str) -> Result<Identity> {
        self.issue(client_params(name)?, self.client(name))
    }

    /// Puts a new key and a new certificate in the place of the server's, for `names`, or for those of the old one
    /// where there are none. At every moment the two files belong together; the old certificate stays valid until it
    /// ends or is [revoked](Self::revoke).
    ///
    /// # Errors
    /// As [`issue_server`](Self::issue_server); [`FileProblem::Io`] where there is no old one.
    pub fn renew_server(&self, names: &[&str]) -> Result<Identity> {
        let (_, old) = register::of_file(&self.server().certificate)?;
        let old = match names {
            [] => names_of(&old),
            names => names.iter().map(|&name| name.to_owned()).collect(),
        };
        let names: Vec<&str> = old.iter().map(String::as_str).collect();
        self.renew(server_params(&names)?, self.server())
    }

    /// The same for the account `name`.
    ///
    /// # Errors
    /// As [`issue_client`](Self::issue_client); [`FileProblem::Io`] where there is no old one.
    pub fn renew_client(&self, name: &str) -> Result<Identity> {
        let params = client_params(name)?;
        register::of_file(&self.client(name).certificate)?;
        self.renew(params, self.client(name))
    }

    fn server(&self) -> Identity {
        Identity::at(&self.folder.join("server"))
    }

    /// Where the certificate and the key of the account `name` are, if it has any.
    pub fn client(&self, name: &str) -> Identity {
        Identity::at(&self.folder.join("clients").join(name))
    }

    /// The key first: a certificate is never there without its key, nor unknown to the register.
    fn issue(&self, params: CertificateParams, at: Identity) -> Result<Identity> {
        let mut register = Register::open(&self.folder)?;
        let (key, signed) = self.sign(params)?;
        if at.certificate.exists() {
            return Err(FileError::at(&at.certificate)(FileProblem::Exists).into());
        }
        files::create(&at.key, &key, true)?;
        let made = register.enter(register::of_certificate(signed.der()).map_err(Error::Bug)?);
        made.and_then(|()| files::create(&at.certificate, &signed.pem(), false)).inspect_err(
            |_| {
                // A key without its certificate would be in the way of the next attempt.
                let _ = fs::remove_file(&at.key);
            },
        )?;
        Ok(at)
    }

    /// The certificate decides: until it is replaced the file of the key holds both keys, so that a reader finds the
    /// one that belongs to it, whatever happens between.
    fn renew(&self, params: CertificateParams, at: Identity) -> Result<Identity> {
        let mut register = Register::open(&self.folder)?;
        let (key, signed) = self.sign(params)?;
        let old = files::if_there(fs::read_to_string(&at.key)).map_err(FileError::at(&at.key))?;
        register.enter(register::of_certificate(signed.der()).map_err(Error::Bug)?)?;
        files::replace_secret(&at.key, &format!("{key}{}", old.unwrap_or_default()))?;
        files::replace(&at.certificate, signed.pem().as_bytes())?;
        files::replace_secret(&at.key, &key)?;
        Ok(at)
    }

    /// A fresh key and its certificate.
    fn sign(&self, mut params: CertificateParams) -> Result<(String, rcgen::Certificate)> {
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().map_err(bug)?;
        let signed = params.signed_by(&key, &self.issuer).map_err(bug)?;
        Ok((key.serialize_pem(), signed))
    }
}

impl Identity {
    /// The two files of this name: `stem` with `.pem` and with `.key` added.
    pub fn at(stem: &Path) -> Self {
        Self {
            certificate: stem.with_added_extension("pem"),
            key: stem.with_added_extension("key"),
        }
    }
}

/// A moment in seconds since 1970 as people write it, in UTC.
pub fn date(seconds: u64) -> String {
    trust::date(seconds)
}

/// Refuses what is no name of an account: see [`Authority::issue_client`].
///
/// # Errors
/// [`Error::Configuration`] with the rule.
pub fn check_account(name: &str) -> Result<()> {
    account::check_name(name).map_err(|why| Error::configuration("account name", why))
}

/// The uppermost folder on the way to `folder` that is not there yet.
fn first_missing(folder: &Path) -> Option<PathBuf> {
    let missing =
        folder.ancestors().take_while(|folder| !folder.as_os_str().is_empty() && !is_there(folder));
    missing.last().map(Path::to_owned)
}

fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// The files of an authority and its server.
const MADE: [&str; 5] = ["ca.key", "ca.pem", "server.key", "server.pem", register::FILE];

/// Signing with a fresh key of a supported kind does not fail.
fn bug(error: rcgen::Error) -> Error {
    Error::Bug(format!("making a certificate: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn nothing_is_overwritten_and_accounts_can_be_added_later() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::create(folder.path()).unwrap();
        authority.issue_server(&["gelu.example", "10.1.2.3"]).unwrap();
        authority.issue_client("alice").unwrap();
        let again = Authority::open(folder.path()).unwrap();
        again.issue_client("bob").unwrap();
        let before = fs::read(folder.path().join("clients/alice.key")).unwrap();
        for refused in [
            Authority::create(folder.path()).map(drop),
            again.issue_server(&[]).map(drop),
            again.issue_client("alice").map(drop),
        ] {
            let error = refused.unwrap_err();
            let exists = FileProblem::Exists.to_string();
            assert!(error.to_string().ends_with(&exists), "{error}");
        }
        assert_eq!(fs::read(folder.path().join("clients/alice.key")).unwrap(), before);
    }

    /// All that is below a folder, with what is in it.
    fn contents(folder: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        let below = |entry: fs::DirEntry| match entry.path() {
            path if path.is_dir() => contents(&path).into_iter().chain([(path, None)]).collect(),
            path => BTreeMap::from([(path.clone(), fs::read(path).ok())]),
        };
        fs::read_dir(folder).unwrap().flat_map(|entry| below(entry.unwrap())).collect()
    }

    #[test]
    fn an_authority_is_made_wholly_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let init = |name: &str| Authority::init(&at(name), &["good.example"], Some("alice"));
        assert!(Authority::init(&at("new/certs"), &["bad host"], None).is_err());
        assert!(Authority::init(&at("new/certs"), &[], Some("../alice")).is_err());
        assert!(!at("new").exists(), "names are checked first");
        // Whatever stands in the way of the first file or of the last stays as it is, alone. A lock that cannot be taken
        // is noticed when there are files already.
        let in_the_way = [
            "clients",
            "ca.pem",
            "server.key",
            "crl.pem",
            "issued.json",
            "issued.json.lock/folder",
            "clients/alice.key",
            "clients/alice.pem",
            "clients/bob.pem",
        ];
        for (n, name) in in_the_way.iter().enumerate() {
            let (certs, file) = (format!("{n}"), at(&format!("{n}/{name}")));
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, "mine").unwrap();
            let before = contents(&at(&certs));
            let error = init(&certs).unwrap_err().to_string();
            assert!(error.contains(name.trim_end_matches(".lock/folder")), "{name}: {error}");
            assert_eq!(contents(&at(&certs)), before, "{name}");
            fs::remove_file(&file).unwrap();
            let _ = fs::remove_dir(at(&format!("{n}/issued.json.lock")));
            let (authority, _) = init(&certs).unwrap();
            assert!(authority.client("alice").key.exists(), "{name}");
        }
        let before = contents(&at("0"));
        assert!(init("0").is_err());
        assert_eq!(contents(&at("0")), before);
        init("new/certs").unwrap();
    }

    #[test]
    fn of_two_at_the_same_moment_one_makes_an_authority() {
        for _ in 0..20 {
            let folder = tempfile::tempdir().unwrap();
            let init = || Authority::init(&folder.path().join("certs"), &[], Some("alice")).is_ok();
            let made = std::thread::scope(|scope| {
                let other = scope.spawn(init);
                [init(), other.join().unwrap()]
            });
            assert!(made.contains(&true) && made.contains(&false));
            let authority = Authority::open(&folder.path().join("certs")).unwrap();
            let alice = authority.client("alice");
            let of = |file| folder.path().join("certs").join(file);
            assert!(
                [alice.certificate, alice.key, of("server.pem"), of("server.key")]
                    .iter()
                    .all(|file| file.exists())
            );
        }
    }

    #[test]
    fn a_renewal_replaces_key_and_certificate_and_keeps_the_names() {
        let folder = tempfile::tempdir().unwrap();
        let (authority, server) =
            Authority::init(folder.path(), &["gelu.example", "10.1.2.3", "2001:db8::1"], None)
                .unwrap();
        let alice = authority.issue_client("alice").unwrap();
        let names =
            |identity: &Identity| names_of(&register::of_file(&identity.certificate).unwrap().1);
        let before = names(&server);
        for (old, renewed) in [
            (server.clone(), authority.renew_server(&[])),
            (alice, authority.renew_client("alice")),
        ] {
            assert_eq!(renewed.unwrap(), old, "in its place");
            let key = fs::read_to_string(&old.key).unwrap();
            assert_eq!(key.matches("BEGIN").count(), 1, "the old key is gone");
            assert!(!key.is_empty());
        }
        assert_eq!(names(&server), before);
        assert!(before.contains(&"2001:db8::1".into()) && before.contains(&"gelu.example".into()));
        authority.renew_server(&["other.example"]).unwrap();
        assert_eq!(names(&server), ["localhost", "127.0.0.1", "::1", "other.example"]);
        assert!(authority.renew_client("bob").is_err(), "nothing to renew");
        assert!(authority.renew_client("../x").is_err());
    }

    #[test]
    fn names_that_leave_the_folder_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::create(folder.path()).unwrap();
        for name in ["", "..", ".hidden", "a/b", "a\\b", "a b", "a\0", &"x".repeat(65)] {
            assert!(
                matches!(authority.issue_client(name), Err(Error::Configuration { .. })),
                "{name:?}"
            );
        }
        assert!(authority.issue_server(&["not a name"]).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn private_keys_are_private() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::create(folder.path()).unwrap();
        let identity = authority.issue_client("alice").unwrap();
        for key in [identity.key, folder.path().join("ca.key")] {
            assert_eq!(fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn a_damaged_authority_is_named() {
        let folder = tempfile::tempdir().unwrap();
        Authority::create(folder.path()).unwrap();
        fs::write(folder.path().join("ca.pem"), "nothing").unwrap();
        let error = Authority::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("ca.pem: not a certificate"), "{error}");
    }
}
