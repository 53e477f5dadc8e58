//! How queries are asked: open or blind, and what a blind one tells.

use std::sync::Arc;

use anyhow::Result;
use clap::{Args, ValueEnum};
use gelu_core::blind;
use gelu_core::client::DataPolicy;
use gelu_core::{Backend, Network};
use gelu_service::client::{Answers, BlindSession, Statistics};
use gelu_service::handshake;
use gelu_service::{Connection, ModelCard, Session};
use ndarray::Array2;

use crate::backend::Scheme;
use crate::client::Answering;
use crate::problem::problem;

/// How a query is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// We decrypt every layer's sums and compute the activations: quick, and each query tells about the weights
    Open,
    /// Nobody sees the sums: a query tells its answer and nothing else about the model
    Blind,
}

impl From<Mode> for handshake::Mode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Open => Self::Open,
            Mode::Blind => Self::Blind,
        }
    }
}

/// What a blind query tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Answer {
    /// The class alone
    Class,
    /// All scores, and with them the probabilities
    Scores,
}

impl From<Answer> for blind::Answer {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Class => Self::Class,
            Answer::Scores => Self::Scores,
        }
    }
}

/// How to ask.
#[derive(Debug, Clone, Copy, Default, Args)]
#[command(next_help_heading = "Mode")]
pub struct ModeArgs {
    /// How to ask [default: what the server prefers]
    #[arg(long, value_enum)]
    pub mode: Option<Mode>,
    /// What a blind query tells [default: scores, where the server tells them]
    #[arg(long, value_enum)]
    pub answer: Option<Answer>,
    /// Tickets to make before the first blind query; each is good for one sample [default: as queries need them]
    #[arg(long, value_name = "N")]
    pub tickets: Option<usize>,
}

/// Samples of a blind query. A Paillier key of 2048 bits has slots for some 23 tickets' masks at once.
pub const BLIND_QUERY: usize = 16;

/// What was agreed with a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agreed {
    /// Open queries.
    Open,
    /// Blind ones, which tell this.
    Blind(blind::Answer),
}

impl ModeArgs {
    /// Whether open queries are asked for, or could be.
    pub(crate) fn may_be_open(self) -> bool {
        self.mode != Some(Mode::Blind)
    }

    /// Checks that nothing is asked for that only blind queries have.
    ///
    /// # Errors
    /// The options.
    pub(crate) fn check_open(self) -> Result<()> {
        match (self.answer, self.tickets) {
            (None, None) => Ok(()),
            _ => Err(problem(
                "--answer and --tickets are for blind queries, and these are open",
                "add --mode blind, or leave them out",
            )),
        }
    }

    /// Chooses among what the server offers.
    ///
    /// # Errors
    /// It does not offer what was asked for, and says why; more tickets than it keeps; options of blind queries for
    /// open ones.
    pub fn agree(self, card: &ModelCard) -> Result<Agreed> {
        let offered = |mode| card.modes.contains(&mode);
        let asked = self.mode.map(handshake::Mode::from);
        let mode = asked.or(card.modes.first().copied()).unwrap_or(handshake::Mode::Open);
        if !offered(mode) {
            let (why, other) = match mode {
                handshake::Mode::Open => (&card.inference, "blind"),
                handshake::Mode::Blind => (&card.blind, "open"),
            };
            return Err(problem(
                format!("the server answers no {mode} queries: {why}"),
                format!("leave out --mode {mode}, or ask with --mode {other}"),
            ));
        }
        match (mode, self.answer) {
            (handshake::Mode::Open, _) => self.check_open().map(|()| Agreed::Open),
            (handshake::Mode::Blind, _)
                if self.tickets.is_some_and(|n| n > card.tickets as usize) =>
            {
                let most = card.tickets;
                Err(problem(
                    format!("the server lets a session hold {most} tickets"),
                    format!(
                        "ask for --tickets {most} or fewer: more are made as queries need them"
                    ),
                ))
            }
            (handshake::Mode::Blind, Some(Answer::Scores)) if !card.scores => Err(problem(
                "the server tells the class alone, and no scores",
                "leave out --answer scores, or ask its operator to serve with --answer scores",
            )),
            (handshake::Mode::Blind, Some(answer)) => Ok(Agreed::Blind(answer.into())),
            (handshake::Mode::Blind, None) if card.scores => {
                Ok(Agreed::Blind(blind::Answer::Scores))
            }
            (handshake::Mode::Blind, None) => Ok(Agreed::Blind(blind::Answer::Class)),
        }
    }
}

impl Agreed {
    /// Whether answers have probabilities.
    pub fn tells_probabilities(self) -> bool {
        self != Self::Blind(blind::Answer::Class)
    }

    /// Opens a session, for queries alone.
    ///
    /// # Errors
    /// What the server says.
    pub async fn open<S: Scheme>(
        self,
        connection: Connection<S>,
        secret: Arc<S::SecretKey>,
    ) -> Result<Asking<S>> {
        Ok(match self {
            Self::Open => {
                Asking::Open(Box::new(connection.open(secret, DataPolicy::Enforce).await?))
            }
            Self::Blind(answer) => {
                Asking::Blind(Box::new(connection.open_blind(secret, answer).await?))
            }
        })
    }

    /// Its name in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Open => handshake::Mode::Open.name(),
            Self::Blind(_) => handshake::Mode::Blind.name(),
        }
    }
}

/// An open session of either mode.
pub enum Asking<B: Backend> {
    /// Of open queries, and of training.
    Open(Box<Session<B>>),
    /// Of blind ones.
    Blind(Box<BlindSession<B>>),
}

impl<S: Scheme> Asking<S> {
    /// Of `batch` samples as many as one query can have.
    pub fn query_of(&self, batch: usize) -> usize {
        match self {
            Self::Open(_) => batch,
            Self::Blind(session) => batch.min(session.largest_query()),
        }
    }

    /// What the server said at the greeting.
    pub fn card(&self) -> &ModelCard {
        match self {
            Self::Open(session) => session.card(),
            Self::Blind(session) => session.card(),
        }
    }

    /// The network as the protocol runs it.
    pub fn network(&self) -> &Arc<Network> {
        match self {
            Self::Open(session) => session.network(),
            Self::Blind(session) => session.network(),
        }
    }

    /// Values of all queries so far that were cut off, by layer as far as this side sees them.
    pub fn saturations(&self) -> &[u64] {
        match self {
            Self::Open(session) => session.saturations(),
            Self::Blind(session) => session.saturations(),
        }
    }

    /// Says goodbye; returns what the session has cost.
    pub async fn close(self) -> Statistics {
        match self {
            Self::Open(session) => session.close().await,
            Self::Blind(session) => session.close().await,
        }
    }
}

impl<S: Scheme> Answering for Asking<S> {
    async fn answer(&mut self, inputs: &Array2<f64>) -> gelu_service::Result<Answers> {
        match self {
            Self::Open(session) => session.answer(inputs).await,
            Self::Blind(session) => session.classify(inputs).await,
        }
    }
}
