//! Clients that come back until they have what they came for.

use std::sync::Arc;
use std::time::Duration;

use gelu_core::blind::Answer;
use gelu_core::clear::Clear;
use gelu_core::client::DataPolicy;
use gelu_service::client::BlindSession;
use gelu_service::{Connection, Error, Result, Session};
use tokio::time::{sleep, timeout};

use crate::liar;
use crate::server::{Site, limits};
use crate::subject;
use crate::world::{Broken, World};

/// Somebody, and what it comes for.
pub(crate) struct Client {
    account: &'static str,
    wants: Vec<Want>,
}

#[derive(Debug, Clone, Copy)]
enum Want {
    Query { samples: usize },
    Blind { samples: usize },
    Train { steps: u32 },
    Lie,
}

/// The clients of a run.
pub(crate) fn drawn(world: &World) -> Vec<Client> {
    let honest = (0..world.draw(2..4)).map(|_| {
        // Sessions of one account and of different ones.
        let account = if world.once_in(2) { "alice" } else { "bob" };
        let wants = (0..world.draw(1..4)).map(|_| match world.draw(0..16) {
            0..7 => Want::Query { samples: if world.once_in(2) { 1 } else { 3 } },
            7 => Want::Blind { samples: if world.once_in(2) { 1 } else { 2 } },
            _ => Want::Train { steps: if world.once_in(2) { 1 } else { 2 } },
        });
        Client { account, wants: wants.collect() }
    });
    let mut clients: Vec<_> = honest.collect();
    if world.once_in(12) {
        clients.push(Client { account: liar::ACCOUNT, wants: vec![Want::Lie] });
    }
    clients
}

/// A session of one mode or the other.
enum Open {
    Open(Box<Session<Clear>>),
    Blind(Box<BlindSession<Clear>>),
}

impl Client {
    /// Comes, asks, and comes again.
    pub(crate) async fn live(self, world: Arc<World>, site: Arc<Site>) -> Result<(), Broken> {
        let mut open = None;
        for want in self.wants {
            sleep(world.time(Duration::from_secs(4))).await;
            let mut last = None;
            for attempt in 0.. {
                if let Some(broken) = world.broken() {
                    return Err(broken);
                }
                if attempt == ATTEMPTS {
                    let why = last.map(|error: Error| error.to_string()).unwrap_or_default();
                    return Err(Broken::Liveness(format!("{} gave up: {why}", self.account)));
                }
                let session = open.take();
                match attempted(&world, &site, self.account, want, session).await {
                    Ok(session) => {
                        open = session;
                        break;
                    }
                    Err(error) => {
                        let blames = matches!(error.kind(), "bug" | "misbehaved");
                        if blames && self.account != liar::ACCOUNT {
                            return Err(Broken::Blame(format!("{}: {error}", self.account)));
                        }
                        last = Some(error);
                    }
                }
                sleep(world.time(Duration::from_secs(3))).await;
            }
        }
        match open {
            Some(Open::Open(session)) => drop(session.close().await),
            Some(Open::Blind(session)) => drop(session.close().await),
            None => {}
        }
        Ok(())
    }
}

/// Far more than the faults of a run can spoil.
const ATTEMPTS: u32 = 500;

/// One attempt, which some clients break off.
async fn attempted(
    world: &Arc<World>,
    site: &Site,
    account: &str,
    want: Want,
    session: Option<Open>,
) -> Result<Option<Open>> {
    let attempt = satisfied(world, site, account, want, session);
    match world.fault(8) {
        false => attempt.await,
        true => {
            let patience = world.time(Duration::from_millis(1 << world.draw(4..13)));
            timeout(patience, attempt).await.unwrap_or_else(|_| {
                world.count(|counts| counts.cancelled += 1);
                world.note("cancelled", account.as_bytes());
                Err(Error::SessionOver)
            })
        }
    }
}

async fn satisfied(
    world: &World,
    site: &Site,
    account: &str,
    want: Want,
    session: Option<Open>,
) -> Result<Option<Open>> {
    match want {
        Want::Lie => liar::repeats(world, site).await.map(|()| None),
        Want::Blind { samples } => {
            let mut session = match session {
                Some(Open::Blind(session)) => session,
                _ => {
                    let connection = connect(site, account).await?;
                    Box::new(connection.open_blind(subject::key(), Answer::Class).await?)
                }
            };
            session.classify(&subject::inputs(world, samples)).await?;
            Ok(Some(Open::Blind(session)))
        }
        Want::Query { .. } | Want::Train { .. } => {
            let mut session = match session {
                Some(Open::Open(session)) => session,
                _ => {
                    let policy = DataPolicy::AllowInputReconstruction;
                    Box::new(connect(site, account).await?.open(subject::key(), policy).await?)
                }
            };
            if let Want::Query { samples } = want {
                session.classify(&subject::inputs(world, samples)).await?;
            } else if let Want::Train { steps } = want {
                let batches = (0..steps).map(|_| subject::batch(world, BATCH));
                let batches: Vec<_> = batches.collect();
                session.train(steps, &mut batches.into_iter().peekable()).await?;
            }
            Ok(Some(Open::Open(session)))
        }
    }
}

const BATCH: usize = 3;

async fn connect(site: &Site, account: &str) -> Result<Connection<Clear>> {
    let io = site.dial(account).ok_or(Error::ConnectionLost { doing: "dialling" })?;
    let (read, write) = tokio::io::split(io);
    Connection::simulated(read, write, limits()).await
}
