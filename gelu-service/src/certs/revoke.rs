//! Taking certificates back, and telling what was given out.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rand::Rng;
use rcgen::{
    CertificateRevocationListParams, KeyIdMethod, RevokedCertParams, SerialNumber, SigningKey,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::register::{self, Issued, Register};
use super::{Authority, bug};
use crate::error::{Error, FileError, FileProblem, Result};
use crate::files;
use crate::randomness::fresh_rng;
use crate::revocation::{self, Revocations, Serial};
use crate::token::{self, Token};

/// Whose certificates are revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whom<'a> {
    /// All of an account.
    Account(&'a str),
    /// All of an account but the one in its file: those before a renewal.
    OlderOf(&'a str),
    /// All of the server but the one in its file.
    OlderOfServer,
    /// The one in this file.
    Certificate(&'a Path),
}

/// A certificate that was issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Whose it is; `None` for the server.
    pub account: Option<String>,
    /// Its serial number, in hexadecimal.
    pub serial: String,
    /// When it ends, in seconds since 1970.
    pub expires: u64,
    /// When it was revoked, if it was.
    pub revoked: Option<u64>,
}

impl Authority {
    /// Puts certificates on the list of those that count no more, `crl.pem`, and returns the serials that were not on it
    /// before. The list is valid as long as the authority.
    ///
    /// # Errors
    /// [`Error::Configuration`] where nothing was issued to that account; [`Error::File`] for a certificate of another
    /// authority, and for a list that this authority has not signed.
    pub fn revoke(&self, whom: Whom<'_>) -> Result<Vec<String>> {
        let register = Register::open(&self.folder)?;
        let old = self.revocations()?;
        let serials = self.serials(&register, whom)?;
        let is_new = |serial: &&String| self.when(&old, serial).is_none();
        let new: Vec<String> = serials.iter().filter(is_new).cloned().collect();
        if !new.is_empty() {
            self.write_list(&old, &new)?;
        }
        Ok(new)
    }

    /// The list of revoked certificates, where there is one.
    pub fn revocation_list(&self) -> PathBuf {
        revocation::beside(&self.certificate())
    }

    /// Every certificate that was issued, in order.
    ///
    /// # Errors
    /// [`Error::File`] naming what cannot be read.
    pub fn list(&self) -> Result<Vec<Entry>> {
        let revocations = self.revocations()?;
        let entry = |Issued { account, serial, expires }: Issued| {
            let revoked = self.when(&revocations, &serial);
            Entry { account, serial, expires, revoked }
        };
        Ok(register::read_all(&self.folder)?.into_iter().map(entry).collect())
    }

    /// A token for an account, as [`token`] describes it, and its text. It hangs on the last certificate
    /// of the account that counts.
    ///
    /// # Errors
    /// [`Error::Configuration`] for an account without such a certificate, and for a lifetime that is no
    /// time or more than [`LONGEST`](crate::token::LONGEST); [`Error::File`] for an authority whose key is of another
    /// kind than those that we make.
    pub fn token(
        &self,
        account: &str,
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<(Token, String)> {
        token::check_lifetime(lifetime)?;
        if self.issuer.key().algorithm() != &rcgen::PKCS_ECDSA_P256_SHA256 {
            let why = "tokens need a key for ECDSA over P-256; `gelu certs init` makes one";
            let key = self.folder.join("ca.key");
            return Err(FileError::at(&key)(FileProblem::Certificate(why.into())).into());
        }
        let ends = now + lifetime;
        let counts = |entry: &Entry| {
            entry.account.as_deref() == Some(account)
                && entry.revoked.is_none()
                && UNIX_EPOCH + Duration::from_secs(entry.expires) >= ends
        };
        let Some(entry) = self.list()?.into_iter().rfind(counts) else {
            let why = format!(
                "{account:?} has no certificate here that counts until then; `gelu certs add {account}` or \
                 `gelu certs renew {account}` makes one"
            );
            return Err(Error::configuration("account", why));
        };
        let mut id = [0; 16];
        fresh_rng()?.fill_bytes(&mut id);
        let token = Token::new(account, &entry.serial, lifetime, now, id);
        let text = token.sign(|bytes| self.issuer.key().sign(bytes).map_err(bug))?;
        Ok((token, text))
    }

    fn serials(&self, register: &Register, whom: Whom<'_>) -> Result<Vec<String>> {
        let (account, kept) = match whom {
            Whom::Certificate(path) => return Ok(vec![self.own_serial(path)?]),
            Whom::Account(name) => (Some(name), None),
            Whom::OlderOf(name) => (Some(name), Some(self.client(name).certificate)),
            Whom::OlderOfServer => (None, Some(self.server().certificate)),
        };
        let kept = kept.map(|path| register::of_file(&path)).transpose()?;
        let mut of =
            register.issued().iter().filter(|i| i.account.as_deref() == account).peekable();
        if of.peek().is_none() {
            let why = format!(
                "{:?} has no certificate of this authority; `gelu certs list` shows who has",
                account.unwrap_or("the server")
            );
            return Err(Error::configuration("account", why));
        }
        let is_kept =
            |serial: &String| kept.as_ref().is_some_and(|(kept, _)| kept.serial == *serial);
        Ok(of.map(|issued| issued.serial.clone()).filter(|serial| !is_kept(serial)).collect())
    }

    /// The serial of a certificate that this authority has signed.
    fn own_serial(&self, path: &Path) -> Result<String> {
        let (issued, der) = register::of_file(path)?;
        let foreign = || {
            let why = "it was issued by another authority, which alone can revoke it";
            FileError::at(path)(FileProblem::Certificate(why.into()))
        };
        let (_, certificate) = X509Certificate::from_der(&der).map_err(|_| foreign())?;
        let (_, own) = X509Certificate::from_der(&self.own).map_err(|_| foreign())?;
        certificate.verify_signature(Some(own.public_key())).map_err(|_| foreign())?;
        Ok(issued.serial)
    }

    pub(super) fn revocations(&self) -> Result<Revocations> {
        let own = std::slice::from_ref(&self.own);
        Ok(Revocations::read(&self.revocation_list(), own)?)
    }

    pub(super) fn when(&self, revocations: &Revocations, serial: &str) -> Option<u64> {
        revocations.when(&self.name(), &bytes(serial)?)
    }

    /// The authority's name, as it stands in what it signs.
    fn name(&self) -> Vec<u8> {
        let own = X509Certificate::from_der(&self.own);
        own.map(|(_, own)| own.subject().as_raw().to_vec()).unwrap_or_default()
    }

    fn write_list(&self, old: &Revocations, new: &[String]) -> Result<()> {
        let at = |seconds| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let name = self.name();
        let before = old.of(&name).map(|(serial, when)| (serial.clone(), when));
        let new = new.iter().filter_map(|serial| Some((bytes(serial)?, now.as_secs())));
        let revoked = before.chain(new).map(|(serial, when)| RevokedCertParams {
            serial_number: SerialNumber::from(serial),
            revocation_time: at(when),
            reason_code: None,
            invalidity_date: None,
        });
        let ends = X509Certificate::from_der(&self.own)
            .map_or(0, |(_, own)| own.validity().not_after.timestamp());
        let params = CertificateRevocationListParams {
            this_update: at(now.as_secs()),
            next_update: at(u64::try_from(ends).unwrap_or(0)),
            crl_number: SerialNumber::from(old.number(&name) + 1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let signed = params.signed_by(&self.issuer).map_err(|error| match error {
            rcgen::Error::IssuerNotCrlSigner | rcgen::Error::InvalidCrlNextUpdate => {
                let why = "it has ended, or may not sign lists of revocations; make a new authority \
                           with `gelu certs init --dir NEW`";
                FileError::at(&self.certificate())(FileProblem::Certificate(why.into())).into()
            }
            error => bug(error),
        })?;
        let pem = signed.pem().map_err(bug)?;
        Ok(files::replace(&self.revocation_list(), pem.as_bytes())?)
    }
}

/// The bytes of a serial in hexadecimal.
fn bytes(serial: &str) -> Option<Serial> {
    base16ct::lower::decode_vec(serial).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn authority() -> (tempfile::TempDir, Authority) {
        let folder = tempfile::tempdir().unwrap();
        let (authority, _) = Authority::init(folder.path(), &["gelu.example"], None).unwrap();
        (folder, authority)
    }

    fn revoked(authority: &Authority) -> Vec<(String, bool)> {
        let entries = authority.list().unwrap().into_iter();
        let of = |entry: &Entry| entry.account.clone().unwrap_or("server".into());
        entries.map(|entry| (of(&entry), entry.revoked.is_some())).collect()
    }

    fn rows(expected: &[(&str, bool)]) -> Vec<(String, bool)> {
        expected.iter().map(|&(name, revoked)| (name.to_owned(), revoked)).collect()
    }

    #[test]
    fn an_account_is_revoked_with_all_its_certificates_and_stays_so() {
        let (folder, authority) = authority();
        for account in ["alice", "bob"] {
            authority.issue_client(account).unwrap();
        }
        authority.renew_client("alice").unwrap();
        assert_eq!(authority.revoke(Whom::Account("alice")).unwrap().len(), 2);
        let expected = [("server", false), ("alice", true), ("bob", false), ("alice", true)];
        assert_eq!(revoked(&authority), rows(&expected));
        // Again, by another process, and beside others: what is on the list stays there.
        let again = Authority::open(folder.path()).unwrap();
        assert_eq!(again.revoke(Whom::Account("alice")).unwrap(), [""; 0]);
        again.revoke(Whom::Account("bob")).unwrap();
        let expected = [("server", false), ("alice", true), ("bob", true), ("alice", true)];
        assert_eq!(revoked(&again), rows(&expected));
        assert_eq!(again.revocations().unwrap().number(&again.name()), 2);
        let unknown = again.revoke(Whom::Account("carol")).unwrap_err().to_string();
        assert!(unknown.contains("\"carol\" has no certificate"), "{unknown}");
    }

    #[test]
    fn one_certificate_can_be_revoked_by_its_file_if_it_is_ours() {
        let (folder, authority) = authority();
        let alice = authority.issue_client("alice").unwrap().certificate;
        let kept = folder.path().join("old.pem");
        fs::copy(&alice, &kept).unwrap();
        authority.renew_client("alice").unwrap();
        authority.revoke(Whom::Certificate(&kept)).unwrap();
        let expected = [("server", false), ("alice", true), ("alice", false)];
        assert_eq!(revoked(&authority), rows(&expected));
        let (_other, foreign) = self::authority();
        let theirs = foreign.revoke(Whom::Certificate(&alice)).unwrap_err().to_string();
        assert!(theirs.contains("alice.pem: it was issued by another authority"), "{theirs}");
        assert!(!foreign.revocation_list().exists());
    }

    #[test]
    fn what_is_older_than_a_renewal_can_be_revoked_after_it() {
        let (_folder, authority) = authority();
        authority.issue_client("alice").unwrap();
        authority.renew_client("alice").unwrap();
        authority.renew_server(&[]).unwrap();
        assert_eq!(authority.revoke(Whom::OlderOf("alice")).unwrap().len(), 1);
        assert_eq!(authority.revoke(Whom::OlderOfServer).unwrap().len(), 1);
        let expected = [("server", true), ("alice", true), ("alice", false), ("server", false)];
        assert_eq!(revoked(&authority), rows(&expected));
    }

    #[test]
    fn a_folder_without_a_register_is_read_from_its_certificates() {
        let (folder, authority) = authority();
        authority.issue_client("alice").unwrap();
        fs::remove_file(folder.path().join("issued.json")).unwrap();
        assert_eq!(authority.revoke(Whom::Account("alice")).unwrap().len(), 1);
        authority.issue_client("bob").unwrap();
        let expected = [("alice", true), ("server", false), ("bob", false)];
        assert_eq!(revoked(&authority), rows(&expected));
    }

    #[test]
    fn a_list_or_a_register_that_cannot_be_used_is_named_and_not_replaced() {
        let (folder, authority) = authority();
        authority.issue_client("alice").unwrap();
        let (_other, foreign) = self::authority();
        foreign.issue_client("mallory").unwrap();
        foreign.revoke(Whom::Account("mallory")).unwrap();
        let list = authority.revocation_list();
        for (bytes, why) in [
            (fs::read(foreign.revocation_list()).unwrap(), "has not signed it"),
            (b"nothing".to_vec(), "no list in it"),
        ] {
            fs::write(&list, &bytes).unwrap();
            let error = authority.revoke(Whom::Account("alice")).unwrap_err().to_string();
            assert!(error.contains("crl.pem") && error.contains(why), "{error}");
            assert_eq!(fs::read(&list).unwrap(), bytes);
        }
        fs::remove_file(&list).unwrap();
        // One whose serial cannot be put on a list would be called revoked, and let in.
        let upper =
            r#"{"format": 1, "issued": [{"account": "alice", "serial": "0A", "expires": 0}]}"#;
        for text in ["{", r#"{"format": 2, "issued": []}"#, upper] {
            fs::write(folder.path().join("issued.json"), text).unwrap();
            let error = authority.revoke(Whom::Account("alice")).unwrap_err().to_string();
            assert!(error.contains("issued.json: not a register"), "{error}");
        }
    }

    #[test]
    fn accounts_that_are_added_at_the_same_time_are_all_in_the_register() {
        let (_folder, authority) = authority();
        std::thread::scope(|scope| {
            for account in ["a", "b", "c", "d"] {
                let authority = &authority;
                scope.spawn(move || authority.issue_client(account).unwrap());
            }
        });
        assert_eq!(authority.list().unwrap().len(), 5);
    }
}
