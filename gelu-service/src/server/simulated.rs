//! A server without sockets and certificates, for the [simulation](crate::simulation).

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use futures_util::future::join;
use gelu_store::Store;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::greeting::welcome;
use super::proof::Proof;
use super::shared::Shared;
use super::{AnyOffer, Config, Handle, Open, count_use, follow, session};
use crate::error::Result;

/// A server whose process is a value: dropped with all that [`attend`](Self::attend) and [`upkeep`](Self::upkeep) have
/// returned, it has crashed.
pub struct Server {
    open: Open,
}

impl Server {
    /// Opens the models. The address and the certificates of the configuration are not used.
    ///
    /// # Errors
    /// As [`Server::bind`](super::Server::bind).
    pub async fn start(config: Config, models: Vec<AnyOffer>) -> Result<Self> {
        let open = Open(Arc::new(Shared::new(config)?));
        Handle(Arc::clone(&open.0)).serve(models).await?;
        Ok(Self { open })
    }

    /// Serves a connection of an account from its first byte to its last.
    pub fn attend(
        &self,
        read: impl AsyncRead + Send + Unpin + 'static,
        write: impl AsyncWrite + Send + Unpin + 'static,
        account: &str,
    ) -> impl Future<Output = ()> + Send + 'static {
        let (shared, account) = (Arc::clone(&self.open.0), account.to_owned());
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let place = shared.strangers.admit(peer.ip());
        async move {
            let (read, write) = (Box::new(read), Box::new(write));
            let greeting = welcome(&shared, read, write, Some(Ok(account)), Proof::None, peer);
            session::run(&shared, greeting, peer, place).await;
        }
    }

    /// What goes on beside the sessions. It does not end.
    pub fn upkeep(&self) -> impl Future<Output = ()> + Send + 'static {
        let shared = Arc::clone(&self.open.0);
        async move {
            join(follow(&shared), count_use(&shared)).await;
        }
    }

    /// Its books.
    pub fn store(&self) -> &Store {
        &self.open.0.config.store
    }

    /// Asks all sessions to end, as a server does that shuts down.
    pub fn stop(&self) {
        let grace = self.open.0.config.limits.grace;
        self.open.0.stop.send_replace(Some(Instant::now() + grace));
    }
}
