//! Which certificates count no more: lists of revocations (RFC 5280, section 5) in one file of PEM, `crl.pem` beside
//! `ca.pem`.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use x509_parser::prelude::{ASN1Time, CertificateRevocationList, FromDer, X509Certificate};

use crate::error::{FileError, FileProblem};
use crate::trust;

/// The file of lists that belongs to an authority.
pub(crate) fn beside(authority: &Path) -> PathBuf {
    authority.with_file_name("crl.pem")
}

/// What a file of lists says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Revocations {
    lists: Vec<CertificateRevocationListDer<'static>>,
    /// When each serial was revoked, in seconds since 1970; by the name of its authority.
    revoked: BTreeMap<Issuer, BTreeMap<Serial, u64>>,
    /// The number of the last list of each authority.
    numbers: BTreeMap<Issuer, u64>,
}

/// A name as it stands in certificates.
type Issuer = Vec<u8>;

/// A serial number without leading zeros, big-endian.
pub(crate) type Serial = Vec<u8>;

impl Revocations {
    /// Reads the file, and checks the lists of the authorities that are given; nothing is revoked where it is not there.
    ///
    /// # Errors
    /// [`FileError`]: it cannot be read, a list in it is over, or is not signed by the authority that it names. A list
    /// that cannot be used is never passed over.
    pub(crate) fn read(path: &Path, authorities: &[CertificateDer<'_>]) -> Result<Self, FileError> {
        let pem = match std::fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            pem => pem.map_err(FileError::at(path))?,
        };
        const LIST: &str = "a list of revoked certificates in PEM";
        let damaged = |why: String| FileError::damaged(path, LIST, why);
        let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&pem).collect();
        let lists = lists.map_err(|e| damaged(e.to_string()))?;
        if lists.is_empty() {
            return Err(damaged("no list in it".into()));
        }
        let mut all = Self::default();
        for list in &lists {
            let (_, list) =
                CertificateRevocationList::from_der(list).map_err(|e| damaged(e.to_string()))?;
            check_signature(&list, authorities).map_err(damaged)?;
            check_time(&list).map_err(|why| FileError::at(path)(FileProblem::Certificate(why)))?;
            all.add(&list);
        }
        all.lists = lists;
        Ok(all)
    }

    fn add(&mut self, list: &CertificateRevocationList<'_>) {
        let revoked = self.revoked.entry(list.issuer().as_raw().to_vec()).or_default();
        for certificate in list.iter_revoked_certificates() {
            let when = u64::try_from(certificate.revocation_date.timestamp()).unwrap_or(0);
            revoked.insert(plain(certificate.raw_serial()), when);
        }
        let number = list.crl_number().and_then(|number| u64::try_from(number).ok());
        let last = self.numbers.entry(list.issuer().as_raw().to_vec()).or_default();
        *last = number.unwrap_or(0).max(*last);
    }

    /// The number of an authority's last list; 0 without one.
    pub(crate) fn number(&self, issuer: &[u8]) -> u64 {
        self.numbers.get(issuer).copied().unwrap_or(0)
    }

    /// Whether an authority's list of before is gone, or is an older one here.
    pub(crate) fn goes_back(&self, before: &Self) -> bool {
        let is_behind = |(issuer, number)| self.numbers.get(issuer).is_none_or(|n| n < number);
        before.numbers.iter().any(is_behind)
    }

    /// The lists themselves.
    pub(crate) fn lists(&self) -> &[CertificateRevocationListDer<'static>] {
        &self.lists
    }

    /// Whether a certificate is on a list of its authority. What is no certificate is not.
    pub(crate) fn contains(&self, certificate: &CertificateDer<'_>) -> bool {
        X509Certificate::from_der(certificate).is_ok_and(|(_, certificate)| {
            let serial = plain(certificate.raw_serial());
            self.when(certificate.issuer().as_raw(), &serial).is_some()
        })
    }

    /// When the certificate of this serial and issuer was revoked, if it was.
    pub(crate) fn when(&self, issuer: &[u8], serial: &[u8]) -> Option<u64> {
        self.revoked.get(issuer)?.get(serial).copied()
    }

    /// All revoked serials of an authority, and when.
    pub(crate) fn of(&self, issuer: &[u8]) -> impl Iterator<Item = (&Serial, u64)> {
        let revoked = self.revoked.get(issuer).into_iter().flatten();
        revoked.map(|(serial, when)| (serial, *when))
    }
}

/// The serial of a certificate, as lists are searched for it.
pub(crate) fn serial(certificate: &X509Certificate<'_>) -> Serial {
    plain(certificate.raw_serial())
}

/// A number is written with a zero in front where its first bit is set.
fn plain(serial: &[u8]) -> Serial {
    serial.iter().copied().skip_while(|&byte| byte == 0).collect()
}

/// Lists of authorities that we do not know belong to intermediate ones; TLS checks them with the chain.
fn check_signature(
    list: &CertificateRevocationList<'_>,
    authorities: &[CertificateDer<'_>],
) -> Result<(), String> {
    let named = authorities.iter().filter_map(|authority| {
        let (_, authority) = X509Certificate::from_der(authority).ok()?;
        (authority.subject().as_raw() == list.issuer().as_raw()).then_some(authority)
    });
    let mut named = named.peekable();
    if named.peek().is_none() || named.any(|a| list.verify_signature(a.public_key()).is_ok()) {
        return Ok(());
    }
    Err(format!("the authority {} has not signed it", list.issuer()))
}

fn check_time(list: &CertificateRevocationList<'_>) -> Result<(), String> {
    const AGAIN: &str = "ask the authority for a new one (`gelu certs revoke` writes it)";
    let Some(until) = list.next_update() else {
        return Err(format!("the list does not say how long it is valid; {AGAIN}"));
    };
    let left = until.timestamp() - ASN1Time::now().timestamp();
    if left < 0 {
        return Err(format!("the list of revoked certificates ended on {until}; {AGAIN}"));
    }
    if trust::is_soon(left) {
        tracing::warn!(list = %list.issuer(), ends = %until, "the list of revoked certificates ends soon");
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use rcgen::{Issuer, KeyPair};

    /// A list of nobody, of this number, that ended in 2001.
    pub(crate) fn ended_list(
        issuer: &Issuer<'_, KeyPair>,
        number: u64,
    ) -> rcgen::CertificateRevocationList {
        let list = rcgen::CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2000, 1, 1),
            next_update: rcgen::date_time_ymd(2001, 1, 1),
            crl_number: number.into(),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        list.signed_by(issuer).unwrap()
    }

    #[test]
    fn no_authority_goes_back_behind_the_number_of_another_one() {
        let read = |lists: &[(&str, u64)]| {
            let mut all = Revocations::default();
            for &(authority, number) in lists {
                let mut named = rcgen::CertificateParams::default();
                named.distinguished_name.push(rcgen::DnType::CommonName, authority);
                let issuer = Issuer::new(named, KeyPair::generate().unwrap());
                let list = ended_list(&issuer, number);
                all.add(&CertificateRevocationList::from_der(list.der()).unwrap().1);
            }
            all
        };
        let before = read(&[("A", 2), ("B", 7)]);
        for (lists, goes_back) in [
            (&[("A", 2), ("B", 7)][..], false),
            (&[("B", 8), ("A", 2), ("C", 1)], false),
            (&[("A", 1), ("A", 3), ("B", 7)], false),
            (&[("A", 1), ("B", 8)], true),
            (&[("B", 8)], true),
            (&[], true),
        ] {
            assert_eq!(read(lists).goes_back(&before), goes_back, "{lists:?}");
        }
        assert!(!before.goes_back(&Revocations::default()));
    }
}
