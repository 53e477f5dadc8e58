//! Accounts: whom a certificate names.

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The account of a verified client certificate: its Common Name.
///
/// # Errors
/// One sentence for the log, when the certificate names no account.
pub(crate) fn of_certificate(
    certificates: Option<&[CertificateDer<'_>]>,
) -> Result<String, String> {
    let leaf = certificates.and_then(<[_]>::first).ok_or("it came without a certificate")?;
    let (_, certificate) = X509Certificate::from_der(leaf).map_err(|e| e.to_string())?;
    let mut names = certificate.subject().iter_common_name();
    let (Some(name), None) = (names.next(), names.next()) else {
        return Err("its certificate needs exactly one Common Name".into());
    };
    let name = name.as_str().map_err(|e| e.to_string())?;
    check_name(name).map_err(|why| format!("the Common Name of its certificate {why}"))?;
    Ok(name.to_owned())
}

/// An account's name is shown in logs and names files, so it is kept plain.
pub(crate) fn check_name(name: &str) -> Result<(), &'static str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    match name {
        "" => Err("is empty"),
        _ if name.len() > 64 => Err("has more than 64 letters"),
        _ if name.starts_with('.') => Err("begins with a dot"),
        _ if !name.chars().all(plain) => Err("may hold letters, digits, '-', '_', '.' and '@'"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

    fn of_names<const N: usize>(names: [(DnType, &str); N]) -> Result<String, String> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        names.into_iter().for_each(|(kind, name)| params.distinguished_name.push(kind, name));
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        of_certificate(Some(&[certificate.der().clone()]))
    }

    #[test]
    fn an_account_is_the_one_common_name_of_a_certificate() {
        let alice = || (DnType::CommonName, "alice");
        assert_eq!(of_names([alice()]).unwrap(), "alice");
        assert_eq!(of_names([(DnType::OrganizationName, "gelu"), alice()]).unwrap(), "alice");
        // By its number, because a type stands there once.
        let second = (DnType::CustomDnType(vec![2, 5, 4, 3]), "bob");
        for account in [of_names([]), of_names([alice(), second])] {
            assert_eq!(account.unwrap_err(), "its certificate needs exactly one Common Name");
        }
        let error = of_names([(DnType::CommonName, "../ledger")]).unwrap_err();
        assert_eq!(error, "the Common Name of its certificate begins with a dot");
        for none in [None, Some(&[][..])] {
            assert_eq!(of_certificate(none).unwrap_err(), "it came without a certificate");
        }
    }

    #[test]
    fn names_of_accounts_are_plain() {
        for name in ["a", "Z", "7", "-", "_", "a.b@c", &"x".repeat(64)] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        for (name, why) in [
            ("", "is empty"),
            (".", "begins with a dot"),
            ("a/b", "may hold letters, digits, '-', '_', '.' and '@'"),
            ("\u{e9}", "may hold letters, digits, '-', '_', '.' and '@'"),
            (&*"x".repeat(65), "has more than 64 letters"),
        ] {
            assert_eq!(check_name(name), Err(why), "{name}");
        }
    }
}
