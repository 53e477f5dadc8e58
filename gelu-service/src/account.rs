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
