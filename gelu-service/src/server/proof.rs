//! What proves an account, for as long as it counts.

use std::future::pending;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use tokio::time::sleep;

use crate::error::Goodbye;
use crate::tls::ServerTls;
use crate::token::TokenError;

/// See the [module](self).
pub(super) enum Proof {
    /// A client's certificate.
    Certificate(CertificateDer<'static>),
    /// A token, of a browser.
    Token(String),
    /// Nothing: the channel is as good as who has opened it.
    None,
}

impl Proof {
    /// Is ready when it counts no more, with what its session is told. Cancelling this loses nothing.
    pub(super) async fn ends(&self, tls: &ServerTls) -> Goodbye {
        let token = match self {
            Self::Certificate(certificate) => {
                tls.revoked(certificate).await;
                return Goodbye::Revoked;
            }
            Self::Token(token) => token,
            Self::None => return pending().await,
        };
        let mut changes = tls.changes();
        loop {
            let now = SystemTime::now();
            let expires = match tls.check_token(token, now) {
                Ok(token) => token.expires(),
                Err(TokenError::Revoked) => return Goodbye::Revoked,
                Err(_) => return Goodbye::TimeLimit,
            };
            let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            let left = Duration::from_secs(expires.saturating_sub(now).clamp(1, LOOK_EVERY));
            tokio::select! {
                biased;
                () = sleep(left) => {}
                _ = changes.changed() => {}
            }
        }
    }
}

/// Seconds after which the clock is looked at again: it may have been set.
const LOOK_EVERY: u64 = 60;
