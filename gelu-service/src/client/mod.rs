//! The client: connects, reads the card, opens a session with its key, asks and trains.
//!
//! ```no_run
//! # use std::{path::Path, sync::Arc};
//! # use gelu_core::{clear::{Clear, ClearKey}, client::DataPolicy};
//! # use gelu_service::{certs::Identity, ClientTls, Connection, Limits};
//! # async fn example(identity: Identity, batches: Vec<(ndarray::Array2<f64>, Vec<usize>)>)
//! # -> Result<(), Box<dyn std::error::Error>> {
//! let tls = ClientTls::read(Path::new("ca.pem"), &identity)?;
//! let connection = Connection::<Clear>::connect(
//!     "server.example:7878", "server.example", "", &tls, Limits::default(), |event| println!("{event:?}"),
//! ).await?;
//! println!("{}: {}", connection.card().name, connection.card().training);
//! let key = Arc::new(ClearKey::new(2048)?);
//! let mut session = connection.open(key, DataPolicy::Enforce).await?;
//! let report = session.train(100, &mut batches.into_iter().peekable()).await?;
//! println!("version {} after {} steps", report.version, report.steps.len());
//! session.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! A refusal leaves the session open, without its lease if it had one, and so does a request that
//! the machine does not accept (inputs of another shape). After every other error it is over:
//! connect again. A call that is cancelled leaves an exchange half done; drop the session then, and
//! the server rolls back.

mod answers;
mod blind;
mod driver;
mod line;
mod session;
mod statistics;
mod sums;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use gelu_core::blind::Answer;
use gelu_core::client::{Client, DataPolicy, StepReport};
use gelu_core::error::PeerIncompatible;
use gelu_core::ledger::{DataLedger, SumLedger};
use gelu_core::{Backend, Network};
use gelu_nn::{Schema, Sequential};
#[cfg(feature = "simulation")]
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::ToSocketAddrs;

use crate::compute::on_pool;
use crate::error::Result;
use crate::handshake::{Described, ModelCard};
use crate::limits::Limits;
use crate::tls::ClientTls;
pub use answers::Answers;
pub use blind::BlindSession;
use line::Line;
pub use session::{LeaseReport, Session};
pub use statistics::{Cost, Phase, Statistics};
pub use sums::SumsFile;

/// What a client can tell while it works: for progress bars and logs.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ClientEvent {
    /// Others train first.
    Waiting {
        /// So many hold or await the lease before us.
        position: u32,
    },
    /// A question was answered.
    Round {
        /// What it was for.
        phase: Phase,
        /// The stage, from 0, where the question belongs to one.
        stage: Option<usize>,
        /// How many stages the network has.
        stages: usize,
        /// Bytes of the question.
        up: u64,
        /// Bytes of the answer.
        down: u64,
        /// From the last byte written to the last byte read: the network and the server.
        waited: Duration,
    },
    /// Tickets for blind queries were made.
    TicketsMade {
        /// Those that are there.
        tickets: usize,
        /// Those that were asked for.
        wanted: usize,
    },
    /// A lease has begun.
    LeaseGranted {
        /// The version that it starts from.
        base: u64,
        /// Mini-batches.
        steps: u32,
        /// Whether the rate is the server's secret: see [`LeaseRate::Secret`](gelu_core::message::LeaseRate)
        /// for what the client then trusts it with.
        secret_rate: bool,
    },
    /// A mini-batch is done.
    StepDone(StepReport),
    /// The lease has become a version.
    Committed {
        /// The new version.
        version: u64,
    },
}

/// A server that has introduced itself. Nothing of ours has been sent but a certificate.
pub struct Connection<B: Backend> {
    line: Line,
    card: ModelCard,
    architecture: Sequential,
    network: Arc<Network>,
    schema: Option<Schema>,
    backend: core::marker::PhantomData<fn() -> B>,
}

impl<B: Backend> Connection<B> {
    /// Connects, authenticates both sides, agrees on a version, and checks the server's card.
    ///
    /// `server_name` must be a name or an address in the server's certificate; `model` is the name of the one that is
    /// wanted, and may be empty where the server has one for us; `observer` is told of everything that happens.
    ///
    /// # Errors
    /// `Network`, `Tls`, `PeerIncompatible`, `Ended` with what the server said, `Model` when its
    /// architecture or schema is none (variants of [`crate::Error`]).
    pub async fn connect(
        address: impl ToSocketAddrs,
        server_name: &str,
        model: &str,
        tls: &ClientTls,
        limits: Limits,
        observer: impl FnMut(&ClientEvent) + Send + 'static,
    ) -> Result<Self> {
        let line =
            Line::open(address, [server_name, model], tls, limits, B::ID, Box::new(observer))
                .await?;
        Self::checked(line).await
    }

    /// As [`connect`](Self::connect), on a channel of the simulation's.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    #[cfg(feature = "simulation")]
    pub async fn simulated(
        read: impl AsyncRead + Send + Unpin + 'static,
        write: impl AsyncWrite + Send + Unpin + 'static,
        limits: Limits,
    ) -> Result<Self> {
        let channel = (Box::new(read) as _, Box::new(write) as _);
        let dialled = std::future::ready(Ok(channel));
        Self::checked(Line::over(dialled, "", limits, B::ID, Box::new(|_| {})).await?).await
    }

    /// Apart from [`connect`](Self::connect), so that it is compiled once and not for every observer.
    async fn checked((mut line, card): (Line, ModelCard)) -> Result<Self> {
        if card.backend != B::ID {
            line.close().await;
            let theirs = card.backend;
            return Err(PeerIncompatible::Backend { ours: B::ID.into(), theirs }.into());
        }
        let own = card.clone();
        let Described { architecture, network, schema } = on_pool(move || own.describe()).await??;
        let network = Arc::new(network);
        let backend = core::marker::PhantomData;
        Ok(Self { line, card, architecture, network, schema, backend })
    }

    /// What the server says about its model and its terms.
    pub fn card(&self) -> &ModelCard {
        &self.card
    }

    /// The architecture, checked.
    pub fn architecture(&self) -> &Sequential {
        &self.architecture
    }

    /// The network as the protocol runs it.
    pub fn network(&self) -> &Arc<Network> {
        &self.network
    }

    /// What the model's inputs and classes mean, if the server knows; checked, and of the network's size.
    pub fn schema(&self) -> Option<&Schema> {
        self.schema.as_ref()
    }

    /// Sends the public half of `secret`; from here on the session can ask and train. The sums of its
    /// leases are counted as long as it lives; where earlier ones count, as they should for data that is
    /// used again, take [`open_counted`](Self::open_counted).
    ///
    /// # Errors
    /// [`PeerIncompatible::KeySize`] without a word to the server; what the server says.
    pub async fn open(self, secret: Arc<B::SecretKey>, policy: DataPolicy) -> Result<Session<B>> {
        let sums = Arc::new(Mutex::new(DataLedger::new([0; 32])));
        self.open_counted(secret, policy, sums).await
    }

    /// As [`open`](Self::open), with the ledger of the sums that this client has revealed, such as a
    /// [`SumsFile`].
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn open_counted(
        self,
        secret: Arc<B::SecretKey>,
        policy: DataPolicy,
        sums: Arc<dyn SumLedger>,
    ) -> Result<Session<B>> {
        let Self { line, card, network, .. } = self.accepting(&secret).await?;
        let client = Client::new(Arc::clone(&network), card.precision, secret, policy);
        Session::begin(line, card, network, client.with_sums(sums)).await
    }

    /// As [`open`](Self::open), for [blind](gelu_core::blind) queries alone: from here on the session can make tickets
    /// and ask.
    ///
    /// # Errors
    /// As [`open`](Self::open); a network that cannot be computed blindly, without a word to the server;
    /// [`Error::Refused`](crate::Error::Refused) when it tells classes alone and `answer` asks for scores.
    pub async fn open_blind(
        self,
        secret: Arc<B::SecretKey>,
        answer: Answer,
    ) -> Result<BlindSession<B>> {
        let Self { line, card, network, .. } = self.accepting(&secret).await?;
        BlindSession::begin(line, card, network, secret, answer).await
    }

    /// Leaves unless the server takes keys of this size.
    async fn accepting(mut self, secret: &B::SecretKey) -> Result<Self> {
        let (least, most) = self.card.key_bits;
        let got = B::key_bits(B::public_key(secret));
        if (least..=most).contains(&got) {
            return Ok(self);
        }
        self.line.close().await;
        let accepted = format!("{least} to {most} bits");
        Err(PeerIncompatible::KeySize { got, accepted }.into())
    }

    /// Leaves without having asked anything.
    pub async fn close(mut self) {
        self.line.close().await;
    }
}
