//! Tokens: a short-lived proof of an account for who cannot present a certificate, such as a browser.
//!
//! ```text
//! gelu1 . payload . signature        payload and signature in base64url, without padding
//! payload    {"account", "audience": "gelu", "not_before", "expires", "certificate", "id"}   JSON; seconds since 1970
//! signature  of everything before its dot, by the authority's key: ECDSA, P-256, SHA-256 (ASN.1)
//! ```
//!
//! The authority signs certificates and lists with the same key; those begin with a byte of DER, never with `gelu1.`.
//!
//! A token hangs on a certificate of its account, named by its serial: an account begins with a certificate, and when
//! that is revoked (or ends), its tokens end with it. So there is one list of what counts no more, and a renewed account
//! does not bring old tokens back.
//!
//! # Security
//! Who has the text is the account, until it expires: hand it over by TLS alone, and keep it short-lived.

use core::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::account;
use crate::error::{Error, Result};
use crate::revocation::Revocations;

/// No token is valid for longer.
pub const LONGEST: Duration = Duration::from_hours(24);

/// By how much the clocks of authority and server may differ.
pub const SKEW: Duration = Duration::from_mins(1);

/// What a token says. It comes from [`Authority::token`](crate::certs::Authority::token), or was verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    account: String,
    audience: String,
    not_before: u64,
    expires: u64,
    certificate: String,
    id: String,
}

/// Why a token proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// It is none, or was cut off.
    #[error("this is no token; copy all of what `gelu token` printed")]
    Malformed,
    /// None of our authorities has signed it.
    #[error("the token is not signed by the authority of this server; ask that one for a token")]
    Signature,
    /// It is for another service.
    #[error("the token is not for gelu; make one with `gelu token`")]
    Audience,
    /// It claims a longer life than any may have.
    #[error("the token is valid for more than 24 h, or ends before it begins; make another one")]
    Lifetime,
    /// Its time has not come.
    #[error("the token is valid only in {seconds} s; check the clocks of both machines")]
    NotYet {
        /// Until then.
        seconds: u64,
    },
    /// Its time is over.
    #[error("the token expired {seconds} s ago; make a new one with `gelu token`")]
    Expired {
        /// Since then.
        seconds: u64,
    },
    /// The account's certificate was revoked, and the token with it.
    #[error("the token's account was revoked; ask the authority for a new certificate")]
    Revoked,
}

impl Token {
    /// The account that it proves.
    pub fn account(&self) -> &str {
        &self.account
    }

    /// When it ends, in seconds since 1970.
    pub fn expires(&self) -> u64 {
        self.expires
    }

    /// Its own name, for logs: the text itself is a secret.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// A token from `now` on, for a [`check_lifetime`]d time.
    pub(crate) fn new(
        account: &str,
        certificate: &str,
        lifetime: Duration,
        now: SystemTime,
        id: [u8; 16],
    ) -> Self {
        let not_before = seconds(now);
        Self {
            account: account.to_owned(),
            audience: AUDIENCE.to_owned(),
            not_before,
            expires: not_before + lifetime.as_secs(),
            certificate: certificate.to_owned(),
            id: base16ct::lower::encode_string(&id),
        }
    }

    /// The same as text, signed.
    pub(crate) fn sign(&self, sign: impl FnOnce(&[u8]) -> Result<Vec<u8>>) -> Result<String> {
        let payload = serde_json::to_vec(self).expect("names and numbers only");
        let signed = format!("{PREFIX}.{}", BASE64.encode(payload));
        let signature = sign(signed.as_bytes())?;
        Ok(format!("{signed}.{}", BASE64.encode(signature)))
    }

    /// What the token says, if one of `authorities` has signed it, it is valid `now`, and its certificate is not revoked.
    ///
    /// # Errors
    /// What is wrong with it; nothing of what it says is looked at before its signature.
    pub(crate) fn verify(
        text: &str,
        authorities: &[CertificateDer<'_>],
        now: SystemTime,
        revocations: &Revocations,
    ) -> Result<Self, TokenError> {
        use TokenError::{Audience, Expired, Lifetime, Malformed, NotYet, Revoked, Signature};
        if text.len() > MOST_BYTES {
            return Err(Malformed);
        }
        let (signed, signature) = text.trim().rsplit_once('.').ok_or(Malformed)?;
        let payload = signed.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix('.'));
        let payload = BASE64.decode(payload.ok_or(Malformed)?).map_err(|_| Malformed)?;
        let signature = BASE64.decode(signature).map_err(|_| Malformed)?;
        let signer = |authority: &&CertificateDer<'_>| {
            X509Certificate::from_der(authority).is_ok_and(|(_, authority)| {
                let key = &authority.public_key().subject_public_key.data;
                let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key);
                key.verify(signed.as_bytes(), &signature).is_ok()
            })
        };
        let authority = authorities.iter().find(signer).ok_or(Signature)?;
        let token: Self = serde_json::from_slice(&payload).map_err(|_| Malformed)?;
        account::check_name(&token.account).map_err(|_| Malformed)?;
        if token.audience != AUDIENCE {
            return Err(Audience);
        }
        let lifetime = token.expires.checked_sub(token.not_before);
        if lifetime.is_none_or(|lifetime| lifetime > LONGEST.as_secs()) {
            return Err(Lifetime);
        }
        let (now, skew) = (seconds(now), SKEW.as_secs());
        if now.saturating_add(skew) < token.not_before {
            return Err(NotYet { seconds: token.not_before - now });
        }
        if token.expires.saturating_add(skew) < now {
            return Err(Expired { seconds: now - token.expires });
        }
        let serial = base16ct::lower::decode_vec(&token.certificate).map_err(|_| Malformed)?;
        let (_, authority) = X509Certificate::from_der(authority).map_err(|_| Signature)?;
        match revocations.when(authority.subject().as_raw(), &serial) {
            Some(_) => Err(Revoked),
            None => Ok(token),
        }
    }
}

/// What may be shown: not the text.
impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "token {} of {}", self.id, self.account)
    }
}

/// Refuses a lifetime that no token may have.
pub(crate) fn check_lifetime(lifetime: Duration) -> Result<()> {
    match (Duration::from_secs(1)..=LONGEST).contains(&lifetime) {
        true => Ok(()),
        false => Err(Error::configuration("lifetime of a token", "must be 1 s to 24 h")),
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

const PREFIX: &str = "gelu1";
const AUDIENCE: &str = "gelu";
const MOST_BYTES: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certs::{Authority, Whom};
    use rcgen::{CertificateParams, KeyPair, SigningKey};

    const HOUR: Duration = Duration::from_hours(1);

    fn now() -> SystemTime {
        SystemTime::now()
    }

    struct Site {
        folder: tempfile::TempDir,
        authority: Authority,
    }

    impl Site {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let authority = Authority::create(folder.path()).unwrap();
            authority.issue_client("alice").unwrap();
            Self { folder, authority }
        }

        fn authorities(&self) -> Vec<CertificateDer<'static>> {
            vec![self.authority.own.clone()]
        }

        fn verify(&self, text: &str, now: SystemTime) -> Result<Token, TokenError> {
            let list = self.authority.revocation_list();
            let revocations = Revocations::read(&list, &self.authorities()).unwrap();
            Token::verify(text, &self.authorities(), now, &revocations)
        }
    }

    #[test]
    fn a_token_proves_its_account_for_its_time() {
        let site = Site::new();
        let made = now();
        let (token, text) = site.authority.token("alice", HOUR, made).unwrap();
        assert!(text.starts_with("gelu1.") && text.len() < 512, "{text}");
        assert!(!token.to_string().contains(&text));
        for (seconds, valid) in
            [(-61, false), (-60, true), (0, true), (3_660, true), (3_662, false)]
        {
            let offset = Duration::from_secs(i64::unsigned_abs(seconds));
            let at = if seconds < 0 { made - offset } else { made + offset };
            let verified = site.verify(&text, at);
            assert_eq!(verified.is_ok(), valid, "{seconds}: {verified:?}");
        }
        let verified = site.verify(&format!("{text}\n"), made).unwrap();
        assert_eq!((verified.account(), &verified), ("alice", &token));
        let another = site.authority.token("alice", HOUR, made).unwrap().0;
        assert_ne!(another.id(), token.id());
    }

    #[test]
    fn what_is_not_given_is_not_signed() {
        let site = Site::new();
        for (account, lifetime) in
            [("alice", Duration::ZERO), ("alice", LONGEST + HOUR), ("bob", HOUR), ("../x", HOUR)]
        {
            let refused = site.authority.token(account, lifetime, now()).unwrap_err();
            assert!(matches!(refused, Error::Configuration { .. }), "{account}: {refused}");
        }
    }

    #[test]
    fn a_revoked_account_has_no_tokens_and_a_renewed_one_no_old_ones() {
        let site = Site::new();
        let (_, text) = site.authority.token("alice", HOUR, now()).unwrap();
        site.authority.revoke(Whom::Account("alice")).unwrap();
        assert_eq!(site.verify(&text, now()), Err(TokenError::Revoked));
        let refused = site.authority.token("alice", HOUR, now()).unwrap_err().to_string();
        assert!(refused.contains("gelu certs renew alice"), "{refused}");
        site.authority.renew_client("alice").unwrap();
        let (_, new) = site.authority.token("alice", HOUR, now()).unwrap();
        assert!(site.verify(&new, now()).is_ok());
        assert_eq!(site.verify(&text, now()), Err(TokenError::Revoked));
    }

    #[test]
    fn no_other_bytes_are_a_token() {
        let site = Site::new();
        let (_, text) = site.authority.token("alice", HOUR, now()).unwrap();
        for place in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            // The last character of the signature may carry bits that mean nothing; those are refused as well.
            assert!(site.verify(&changed, now()).is_err(), "{place}: {changed}");
            assert!(site.verify(&text[..place], now()).is_err(), "cut off at {place}");
        }
        assert_eq!(site.verify(&"a".repeat(MOST_BYTES + 1), now()), Err(TokenError::Malformed));
        let other = Site::new();
        assert_eq!(other.verify(&text, now()), Err(TokenError::Signature));
    }

    /// What an authority with another program might sign.
    #[test]
    fn even_signed_words_are_held_to_the_rules() {
        let site = Site::new();
        let pem = std::fs::read_to_string(site.folder.path().join("ca.key")).unwrap();
        let key = KeyPair::from_pem(&pem).unwrap();
        let sign = |token: &Token| {
            let sign = |bytes: &[u8]| Ok(key.sign(bytes).unwrap());
            site.verify(&token.sign(sign).unwrap(), now())
        };
        let good = site.authority.token("alice", HOUR, now()).unwrap().0;
        assert!(sign(&good).is_ok());
        let long = good.not_before + LONGEST.as_secs() + 1;
        for (bad, why) in [
            (Token { audience: "other".into(), ..good.clone() }, TokenError::Audience),
            (Token { expires: long, ..good.clone() }, TokenError::Lifetime),
            (Token { expires: good.not_before - 1, ..good.clone() }, TokenError::Lifetime),
            (Token { account: "../x".into(), ..good.clone() }, TokenError::Malformed),
            (Token { certificate: "no serial".into(), ..good.clone() }, TokenError::Malformed),
        ] {
            assert_eq!(sign(&bad), Err(why));
        }
        let never = Token { not_before: u64::MAX, expires: u64::MAX, ..good };
        assert!(matches!(sign(&never), Err(TokenError::NotYet { .. })));
        // A certificate is not a token, though the same key has signed it.
        let certificate = CertificateParams::default().self_signed(&key).unwrap();
        let text = format!("gelu1.{}.{}", BASE64.encode(certificate.der()), BASE64.encode([0; 64]));
        assert_eq!(site.verify(&text, now()), Err(TokenError::Signature));
    }
}
