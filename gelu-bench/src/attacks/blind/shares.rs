//! Equations, from what a blind query leaves at the client: the client's shares of the sums.
//!
//! ```text
//! open    z = W·x + b             an equation about each row
//! blind   c = W·r − s  mod 2^l    s uniform: an equation with an unknown of its own
//! ```
//!
//! The client chooses r, and what it encrypts in place of r: powers of two over the whole plaintext, as in
//! [`packing`](crate::attacks::packing). The mask covers the whole plaintext, too.

use std::sync::Arc;

use gelu_algebra::nearest;
use gelu_core::backend::{Layout, Shares};
use gelu_core::blind::{Answer, BlindPlan, Circuits};
use gelu_core::circuit::two_party::InsecureOpen;
use gelu_core::clear::ClearKey;
use gelu_core::error::PeerMisbehaved;
use gelu_core::fixed::centred;
use gelu_core::ledger::Policy;
use gelu_core::message::{ClientMessage, EncryptedStage, ServerMessage};
use gelu_core::pair::PairHost;
use gelu_core::server::{BlindServer, BlindTerms, ServedModel};
use gelu_core::slots::{MaskSlots, SlotShares};
use gelu_core::{AdditiveHE, Backend, Clear, Cryptosystem, SlotShape};
use gelu_nn::Model;
use gelu_paillier::{InsecurePaillier, SecretKey};
use ndarray::Array2;
use num_bigint_dig::BigInt;
use rand_core::CryptoRng;

use crate::attacks::digits;
use crate::attacks::extraction::Equations;
use crate::attacks::packing::{self, Server};
use crate::attacks::target::Target;
use crate::setting::Quiet;

/// Weights that were read right, of how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Right {
    pub(super) right: usize,
    pub(super) all: usize,
}

impl Right {
    fn of(read: &[Vec<i128>], truth: &[Vec<i128>]) -> Self {
        let right = read.iter().zip(truth).map(|(read, truth)| digits::right(read, truth)).sum();
        Self { right, all: truth.iter().map(Vec::len).sum() }
    }

    pub(super) fn share(self) -> f64 {
        self.right as f64 / self.all as f64
    }
}

/// c = W·r − s of the first stage, for each column of `r`: from a real server, asked for a ticket for each.
///
/// # Errors
/// When the server says that we misbehave.
pub(super) fn ask(
    model: &Model,
    r: &Array2<i128>,
    rng: &mut dyn CryptoRng,
) -> gelu_core::Result<Array2<i128>> {
    let (network, precision, tickets) = (model.network(), model.precision(), r.ncols());
    let key = ClearKey::new(2048)?;
    let host = PairHost::new(ServedModel::from(model), "attacker", Policy::Enforce);
    let mut server =
        BlindServer::<Clear, InsecureOpen>::sharing(Arc::default(), BlindTerms::default());
    let (backend, public_key) = (Clear::ID.into(), Clear::public_key_to_bytes(&key));
    let (nonce, answer) = ([0; 32], Answer::Class);
    let open = ClientMessage::OpenBlind { backend, public_key, nonce, answer };
    server.handle_message(open, &host, rng)?;
    server.poll_transmit();
    server.handle_message(ClientMessage::TransferAnswer { answer: Vec::new() }, &host, rng)?;
    let circuits = Arc::new(Circuits::new(network, precision, answer)?);
    let prices = Clear::prices(&key);
    let plan = BlindPlan::<Clear>::priced(network, &circuits, tickets, &key, &prices)?;
    let mut stages = Vec::new();
    for (n, (exchange, stage)) in plan.exchanges.iter().zip(network.stages()).enumerate() {
        let (layout, linear) = (exchange.exchange.layout(), &stage.linear);
        let nothing = Array2::zeros((linear.inputs(), tickets));
        let values = if n == 0 { r } else { &nothing };
        let ciphertexts = Layout::<Clear>::encrypt(layout, &key, linear, values, rng)?;
        stages.push(EncryptedStage { layout: layout.to_string(), ciphertexts });
    }
    let count = u32::try_from(tickets).expect("a plan has few tickets");
    server.handle_message(ClientMessage::EncryptedMasks { tickets: count, stages }, &host, rng)?;
    let shares = match server.poll_transmit() {
        Some(ServerMessage::EncryptedShares { stages, .. }) => stages,
        other => {
            let got = other.map_or("nothing", |message| message.name());
            return Err(
                PeerMisbehaved::UnexpectedMessage { expected: "EncryptedShares", got }.into()
            );
        }
    };
    let (first, bits) = (&plan.exchanges[0], circuits.stages()[0].ring_bits);
    let c = Shares::<Clear>::decrypt(&first.shares, first.exchange.layout(), &key, &shares[0])?;
    let (outputs, _) = c.dim();
    let samples: Vec<_> = (0..tickets).map(|n| c.sample(n)).collect();
    Ok(Array2::from_shape_fn((outputs, tickets), |(o, n)| centred(samples[n][o].into(), bits)))
}

/// The attack: as many questions as a row has weights, solved as if c were W·r.
///
/// # Errors
/// As [`ask`].
pub(super) fn solve(
    model: &Model,
    r: &Array2<i128>,
    rng: &mut dyn CryptoRng,
) -> gelu_core::Result<Right> {
    let equations = Equations { inputs: r.clone(), sums: ask(model, r, rng)? };
    let guess = equations.guess();
    let layer = &model.parameters().layers[0];
    let truth = model.network().stages()[0].linear.entries(&layer.weights);
    let truth: Vec<_> = truth.chunks(r.nrows()).map(<[_]>::to_vec).collect();
    let row = |o: usize| (0..r.nrows()).map(|i| nearest(guess[(o, i)])).collect();
    let read: Vec<Vec<i128>> = (0..truth.len()).map(row).collect();
    Ok(Right::of(&read, &truth))
}

/// Powers of two over the whole plaintext of Paillier in place of r: what is read of the first layer from bare sums,
/// and from sums under the mask of a share.
///
/// # Errors
/// When the layer does not fit the key.
pub(super) fn pack(
    model: &Model,
    secret: &SecretKey,
    rng: &mut dyn CryptoRng,
) -> gelu_core::Result<[Right; 2]> {
    let public = secret.public_key();
    let target = Target::first_layer::<InsecurePaillier>(model, public)?;
    let rows = target.rows();
    let bare = packing::read_layer(secret, &target, Server::Bare, &Quiet, rng)?;
    let width = target.weight_bits;
    let bits = u32::try_from(width).expect("a weight has few bits");
    let places = InsecurePaillier::slots(public, bits);
    let slot = SlotShape { bits: slot_bits(model)?, count: 1 };
    let mut masked = vec![vec![0; target.inputs()]; target.outputs()];
    for question in packing::questions(target.inputs(), places, 0) {
        let sums = target.answer_bare::<InsecurePaillier>(
            public,
            &packing::encrypt(secret, &question, &target, rng)?,
        )?;
        let shaped: Vec<_> = sums.into_iter().map(|sum| (sum, slot)).collect();
        let (sealed, _) = InsecurePaillier::mask_many(public, &shaped, rng);
        let whole = SlotShape { bits, count: places };
        let shaped: Vec<_> = sealed.into_iter().map(|sum| (sum, whole)).collect();
        let read = InsecurePaillier::digits_many(secret, &shaped)?;
        for (row, digits_of) in masked.iter_mut().zip(&read) {
            let sum = digits_of.iter().enumerate();
            let sum: BigInt = sum.map(|(n, digit)| BigInt::from(*digit) << (width * n)).sum();
            let weights = digits::read(&sum, width, question.inputs.len());
            row[question.inputs.clone()].copy_from_slice(&weights);
        }
    }
    Ok([Right::of(&bare.rows, &rows), Right::of(&masked, &rows)])
}

/// Bits of a slot that carries shares of the first stage.
fn slot_bits(model: &Model) -> gelu_core::Result<u32> {
    let circuits = Circuits::new(model.network(), model.precision(), Answer::Class)?;
    let first = &circuits.stages()[0];
    let shares: Option<SlotShares> =
        Shares::<InsecurePaillier>::plan(first.ring_bits, first.product_bits);
    Ok(shares.map_or(0, |shares| Shares::<InsecurePaillier>::value_bits(&shares)))
}
