//! Tickets: how the client makes them, and what it keeps until their query.

use std::collections::VecDeque;
use std::vec::IntoIter;

use rand_core::CryptoRng;
use serde_bytes::ByteBuf;
use zeroize::Zeroizing;

use crate::backend::{Backend, Share};
use crate::blind::{BlindPlan, Circuits};
use crate::circuit::two_party::{ClientTicket, TwoParty, reduced};
use crate::error::{PeerMisbehaved, Result};
use crate::message::ClientMessage;

/// Secret numbers of a ring.
pub(super) type Numbers = Zeroizing<Vec<u64>>;

/// One query's worth of masks and garbled circuits, for one sample.
pub(super) struct Ticket<P: TwoParty> {
    pub(super) number: u64,
    stages: Vec<StageTicket<ClientTicket<P>>>,
}

/// The part of one stage, with what there is of its circuits.
pub(super) struct StageTicket<T> {
    /// What hides the stage's inputs.
    pub(super) r: Numbers,
    pub(super) half: Half<T>,
}

/// What turns the server's share of the sums into what comes next.
pub(super) enum Half<T> {
    /// A stage with circuits.
    Circuit(T),
    /// c = W·r − s, the client's own share of the scores.
    Scores(Numbers),
}

impl<P: TwoParty> Ticket<P> {
    /// Its stages, for its one query.
    pub(super) fn spend(self) -> IntoIter<StageTicket<ClientTicket<P>>> {
        self.stages.into_iter()
    }
}

/// The masks r of new tickets: by stage, then by ticket.
pub(super) struct NewMasks(Vec<Vec<Numbers>>);

impl NewMasks {
    /// `count` uniform masks for each stage of (inputs, ring bits).
    pub(super) fn draw(
        stages: impl Iterator<Item = (usize, u32)>,
        count: usize,
        rng: &mut dyn CryptoRng,
    ) -> Self {
        let masks = stages.map(|(inputs, bits)| {
            let mut mask = || {
                let mut r = Zeroizing::new(Vec::with_capacity(inputs));
                r.extend((0..inputs).map(|_| reduced(rng.next_u64(), bits)));
                r
            };
            (0..count).map(|_| mask()).collect()
        });
        Self(masks.collect())
    }

    /// Those of a stage, one for each ticket.
    pub(super) fn stage(&self, stage: usize) -> &[Numbers] {
        &self.0[stage]
    }
}

/// New tickets between their transfers and their garbled circuits.
pub(super) struct Making<P: TwoParty> {
    pub(super) version: u64,
    first: u64,
    requested: VecDeque<Vec<StageTicket<P::Request>>>,
    made: Vec<Ticket<P>>,
}

impl<P: TwoParty> Making<P> {
    /// Asks for the transfers of the bits of c: `shares` by stage, for tickets that the server has numbered from
    /// `first` on. Gives the messages, one for each ticket.
    pub(super) fn request<B: Backend>(
        evaluator: &mut P::Evaluator,
        plan: &BlindPlan<B>,
        masks: NewMasks,
        shares: &[Share],
        (version, first): (u64, u64),
        rng: &mut dyn CryptoRng,
    ) -> Result<(Self, Vec<ClientMessage>)> {
        let mut masks: Vec<_> = masks.0.into_iter().map(Vec::into_iter).collect();
        let (mut requested, mut messages) = (VecDeque::new(), Vec::new());
        for n in 0..plan.tickets {
            let (mut ticket, mut requests) = (Vec::new(), Vec::new());
            for ((stage, r), c) in plan.circuits.stages().iter().zip(&mut masks).zip(shares) {
                let (r, c) = (r.next().expect("a mask of each ticket"), c.sample(n));
                let half = match stage.batch() {
                    Some(batch) => {
                        let (request, bytes) =
                            ClientTicket::<P>::request(evaluator, &batch, &c, rng)?;
                        requests.push(ByteBuf::from(bytes));
                        Half::Circuit(request)
                    }
                    None => Half::Scores(c),
                };
                ticket.push(StageTicket { r, half });
            }
            messages.push(ClientMessage::TransferRequest { stages: requests });
            requested.push_back(ticket);
        }
        Ok((Self { version, first, requested, made: Vec::new() }, messages))
    }

    /// Takes the garbled circuits of the next ticket.
    pub(super) fn receive(
        &mut self,
        evaluator: &mut P::Evaluator,
        circuits: &Circuits,
        garbled: Vec<ByteBuf>,
    ) -> Result<()> {
        let requested = self.requested.pop_front().expect("a ticket is due");
        let due = circuits.garbled_stages();
        PeerMisbehaved::check_equal("stages of a garbled ticket", garbled.len(), due)?;
        let (mut garbled, mut stages) = (garbled.into_iter(), Vec::new());
        for (stage, StageTicket { r, half }) in circuits.stages().iter().zip(requested) {
            let half = match (half, stage.batch()) {
                (Half::Circuit(request), Some(batch)) => {
                    let bytes = garbled.next().expect("counted above").into_vec();
                    Half::Circuit(ClientTicket::receive(evaluator, &batch, request, bytes)?)
                }
                (Half::Scores(c), _) => Half::Scores(c),
                (Half::Circuit(_), None) => unreachable!("asked for by a circuit"),
            };
            stages.push(StageTicket { r, half });
        }
        let number = self.first.wrapping_add(self.made.len() as u64);
        self.made.push(Ticket { number, stages });
        Ok(())
    }

    /// The tickets, if all are there.
    pub(super) fn finish(self) -> Result<Vec<Ticket<P>>, Self> {
        if self.requested.is_empty() { Ok(self.made) } else { Err(self) }
    }
}
