//! What a certificate says: whose it is, what for, and how long.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, ServerName};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::{LOCAL_NAMES, check_account};
use crate::error::{Error, Result};

const CA_DAYS: u64 = 3650;
const LEAF_DAYS: u64 = 825;

/// For an authority.
pub(super) fn authority_params() -> Result<CertificateParams> {
    let mut params = params("gelu development authority", &[], CA_DAYS)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

/// For a server of [`LOCAL_NAMES`] and these.
pub(super) fn server_params(names: &[&str]) -> Result<CertificateParams> {
    check_names(names)?;
    let mut all = LOCAL_NAMES.to_vec();
    all.extend(names.iter().filter(|name| !LOCAL_NAMES.contains(name)));
    let mut params = params("gelu server", &all, LEAF_DAYS)?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
}

/// For a client of an account.
pub(super) fn client_params(name: &str) -> Result<CertificateParams> {
    check_account(name)?;
    let mut params = params(name, &[], LEAF_DAYS)?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

fn check_names(names: &[&str]) -> Result<()> {
    for &name in names {
        ServerName::try_from(name)
            .map_err(|e| Error::configuration("name of the server", format!("{name:?}: {e}")))?;
    }
    Ok(())
}

/// Valid from yesterday (clocks differ) for so many days.
fn params(common_name: &str, names: &[&str], days: u64) -> Result<CertificateParams> {
    let names: Vec<String> = names.iter().map(|&n| n.to_owned()).collect();
    let mut params = CertificateParams::new(names)
        .map_err(|e| Error::configuration("name of the server", e.to_string()))?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    const DAY: u64 = 86_400;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::from_secs(DAY));
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + now.saturating_sub(Duration::from_secs(DAY));
    params.not_after = epoch + now + Duration::from_secs(days * DAY);
    Ok(params)
}

/// The host names and addresses of a certificate.
pub(super) fn names_of(certificate: &CertificateDer<'_>) -> Vec<String> {
    let parsed = X509Certificate::from_der(certificate).ok();
    let names = parsed.as_ref().and_then(|(_, certificate)| {
        certificate
            .subject_alternative_name()
            .ok()
            .flatten()
            .map(|names| &names.value.general_names)
    });
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match <[u8; 4]>::try_from(*bytes) {
            Ok(v4) => Some(Ipv4Addr::from(v4).to_string()),
            Err(_) => Some(Ipv6Addr::from(<[u8; 16]>::try_from(*bytes).ok()?).to_string()),
        },
        _ => None,
    };
    names.into_iter().flatten().filter_map(name).collect()
}
