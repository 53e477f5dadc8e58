//! What proves an account, for as long as it counts.

use std::future::pending;
use std::pin::Pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use tokio::sync::watch;
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

/// The end of a proof: is ready when it counts no more, with what its session is told.
pub(super) type End = Pin<Box<dyn Future<Output = Goodbye> + Send>>;

impl Proof {
    /// Its end, one for a whole session, which may poll it as seldom as it waits for something: what a token says is
    /// verified when this is polled for the first time, and again only when that may have changed.
    pub(super) fn end(self, tls: ServerTls) -> End {
        match self {
            Self::Certificate(certificate) => Box::pin(async move {
                tls.revoked(&certificate).await;
                Goodbye::Revoked
            }),
            Self::Token(token) => Box::pin(async move {
                let verify = |now| tls.check_token(&token, now).map(|token| token.expires());
                end_of_token(verify, tls.changes()).await
            }),
            Self::None => Box::pin(pending()),
        }
    }
}

/// `verify` says when the token expires, in seconds since 1970, or why it counts no more; it is asked at first, when what is
/// in force has changed, at the token's end, and from time to time.
async fn end_of_token(
    verify: impl Fn(SystemTime) -> Result<u64, TokenError>,
    mut changes: watch::Receiver<u64>,
) -> Goodbye {
    loop {
        let now = SystemTime::now();
        let expires = match verify(now) {
            Ok(expires) => expires,
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

/// Seconds after which the clock is looked at again: it may have been set.
const LOOK_EVERY: u64 = 60;

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
    use tokio::task::yield_now;
    use tokio::time::advance;

    /// A message of the session comes: its wait polls the proof and is cut off.
    async fn message(end: &mut Pin<&mut impl Future<Output = Goodbye>>) -> Option<Goodbye> {
        tokio::select! {
            biased;
            goodbye = end => Some(goodbye),
            () = yield_now() => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_verified_once_for_many_messages_and_again_when_it_may_have_changed() {
        let (verified, is_revoked) = (AtomicU32::new(0), AtomicBool::new(false));
        let (changed, changes) = watch::channel(0);
        let expires = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 3_600;
        let verify = |_| {
            verified.fetch_add(1, Ordering::Relaxed);
            let revoked = is_revoked.load(Ordering::Relaxed);
            if revoked { Err(TokenError::Revoked) } else { Ok(expires) }
        };
        let mut end = std::pin::pin!(end_of_token(verify, changes));
        let count = || verified.load(Ordering::Relaxed);
        for _ in 0..100 {
            assert_eq!(message(&mut end).await, None);
        }
        assert_eq!(count(), 1);
        // A change that does not concern it, and the look at the clock.
        changed.send_replace(1);
        assert_eq!((message(&mut end).await, count()), (None, 2));
        advance(Duration::from_secs(LOOK_EVERY)).await;
        assert_eq!((message(&mut end).await, count()), (None, 3));
        // A revocation while nobody waits is the first that the next message meets.
        is_revoked.store(true, Ordering::Relaxed);
        assert_eq!((message(&mut end).await, count()), (None, 3));
        changed.send_replace(2);
        assert_eq!(message(&mut end).await, Some(Goodbye::Revoked));
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_verified_at_its_end() {
        let (_changed, changes) = watch::channel(0);
        let expires = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 10;
        let over = AtomicBool::new(false);
        let verify = |_| match over.load(Ordering::Relaxed) {
            true => Err(TokenError::Expired { seconds: 1 }),
            false => Ok(expires),
        };
        let mut end = std::pin::pin!(end_of_token(verify, changes));
        assert_eq!(message(&mut end).await, None);
        over.store(true, Ordering::Relaxed);
        advance(Duration::from_secs(5)).await;
        assert_eq!(message(&mut end).await, None);
        advance(Duration::from_secs(6)).await;
        assert_eq!(message(&mut end).await, Some(Goodbye::TimeLimit));
    }
}
