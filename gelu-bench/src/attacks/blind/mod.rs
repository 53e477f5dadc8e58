//! Blind queries, by a client that wants the weights and a server that wants the data.
//!
//! The sums of a layer are shared, so neither party reads them. Each attack is what brings them back when one thing is
//! left out:
//!
//! | module | left out | what comes back |
//! |---|---|---|
//! | `shares` | the mask s, over the whole plaintext | equations, and weights themselves |
//! | `labels` | the check of the transfers; labels that are sent once | Δ, and with it every sum |
//! | `tickets` | masks r that are used once | the difference of two inputs |

mod labels;
mod shares;
mod tickets;

use gelu_core::blind::{Answer, Circuits};
use gelu_core::ledger::{Exposure, Policy};
use gelu_core::{Cryptosystem, Precision};
use gelu_nn::{Model, zoo};
use gelu_paillier::InsecurePaillier;
use ndarray::{Array2, Axis};
use rand::rngs::ChaCha20Rng;
use rand::{RngExt, SeedableRng};

use super::extraction::{Equations, query};
use super::scene::{Pictures, Scene, noise};
use crate::Error;
use crate::exhibit::{Cell, Claim, Column, Exhibit, ImageRow, Images, Part, Row, Source, Table};
use crate::setting::{Extent, Progress, Setting};
use shares::Right;

/// Sums of a layer that two sets of labels are to open.
const SUMS: usize = 40;

/// What all runs came to.
struct Runs {
    /// Whether as many open queries as a row has unknowns give the layer.
    open: bool,
    questions: usize,
    solved: Right,
    /// Bits that a class tells, and those of all weights.
    bits: [u64; 2],
    bare: Right,
    masked: Right,
    cheat: labels::Cheat,
    /// Guesses that passed the check, of how many.
    guesses: [usize; 2],
    opened: labels::Opened,
    replay_refused: bool,
    images: Array2<f64>,
    differences: tickets::Differences,
}

impl Runs {
    fn make(setting: &Setting, progress: &dyn Progress) -> Result<Self, Error> {
        let rng = &mut ChaCha20Rng::seed_from_u64(setting.seed);
        let pictures = Pictures::small();
        let model = Model::initialise("blind", zoo::digits(), Precision::INFERENCE, rng)?;
        progress.begin("attacks on blind queries", 6);

        let questions = pictures.pixels() + 1;
        let scene = Scene::new(model.clone(), setting.seed, 2048);
        let mut session = scene.open(Policy::AllowModelExtraction)?;
        let asked = noise(pictures.pixels(), questions, 4.0, setting.seed);
        let answers = query(&mut session, &model, &asked)?;
        let layer = Equations::new(&model, &answers, 0).solve();
        let open = layer.as_ref() == Some(&model.parameters().layers[0]);
        let square = (pictures.pixels(), pictures.pixels());
        let r = Array2::from_shape_fn(square, |_| rng.random_range(-1000..1000));
        let solved = shares::solve(&model, &r, rng)?;
        let circuits = Circuits::new(model.network(), model.precision(), Answer::Class)?;
        let counted = &Exposure::blind(model.network(), model.precision(), &circuits).model[0];
        progress.step();

        let secret = InsecurePaillier::keygen(setting.key_bits, rng)?;
        let [bare, masked] = shares::pack(&model, &secret, rng)?;
        progress.step();
        let cheat = labels::wrong_choices(rng)?;
        progress.step();
        let sessions = if setting.extent == Extent::Paper { 1600 } else { 96 };
        let guesses = [labels::guesses(sessions, rng)?, sessions];
        progress.step();
        let opened = labels::two_sets(SUMS, rng)?;
        let replay_refused = tickets::replayed(&model, rng)?;
        progress.step();
        let images = pictures.train.features().select(Axis(1), &[0, 1]);
        let differences = tickets::differences(&model, &images, rng)?;
        progress.step();
        let bits = [counted.revealed_bits_per_sample, counted.secret_bits];
        Ok(Self {
            open,
            questions,
            solved,
            bits,
            bare,
            masked,
            cheat,
            guesses,
            opened,
            replay_refused,
            images,
            differences,
        })
    }

    /// Pixels of the difference that a server has right: under one r, and under two.
    fn pixels(&self) -> [usize; 2] {
        let differences = &self.differences;
        let right = |read: &[i128]| {
            read.iter().zip(&differences.truth).filter(|(read, truth)| read == truth).count()
        };
        [right(&differences.reused), right(&differences.fresh)]
    }

    fn claims(&self) -> Vec<Claim> {
        let [passed, sessions] = self.guesses;
        let expected = sessions as f64 / 16.0;
        let far = 5.0 * (expected + 1.0).sqrt();
        let [sums, all] = self.opened.sums;
        let ([reused, fresh], pixels) = (self.pixels(), self.differences.truth.len());
        let chance = |right: Right| right.share() < 0.05;
        vec![
            Claim::new(
                format!("{} open queries give the whole first layer, bit for bit", self.questions),
                self.open,
            ),
            Claim::new(
                format!(
                    "blind: as many tickets for r of the client's choice, solved in the same way: {} of {} weights",
                    self.solved.right, self.solved.all
                ),
                chance(self.solved),
            ),
            Claim::new(
                format!(
                    "powers of two in place of r: {} of {} weights from bare sums, {} under the mask of a share",
                    self.bare.right, self.bare.all, self.masked.right
                ),
                self.bare.right == self.bare.all && chance(self.masked),
            ),
            Claim::new(
                format!(
                    "wrong choices in one batch of transfers: {} of 128 bits of Δ without the check; with it, caught",
                    self.cheat.found
                ),
                self.cheat.found == 128 && self.cheat.caught,
            ),
            Claim::new(
                format!(
                    "a session staked on four bits of Δ passes {passed} of {sessions} times: one of 16 is {expected}"
                ),
                (passed as f64 - expected).abs() < far,
            ),
            Claim::new(
                format!("two sets of labels of one ticket: Δ, and {sums} of {all} sums of a layer"),
                self.opened.delta && sums == all,
            ),
            Claim::new(
                "the real server ends a session that names a ticket twice, and sends no label",
                self.replay_refused,
            ),
            Claim::new(
                format!(
                    "two queries under one r: {reused} of {pixels} pixels of x − x'; by the real client {fresh}"
                ),
                reused == pixels && fresh * 10 < pixels,
            ),
        ]
    }

    fn table(&self) -> Table {
        let of =
            |right: usize, all: usize, what: &str| Cell::from(format!("{right} of {all} {what}"));
        let weights = |right: Right| of(right.right, right.all, "weights");
        let [reused, fresh] = self.pixels();
        let [sums, all] = self.opened.sums;
        let pixels = self.differences.truth.len();
        let checked = if self.cheat.caught { 0 } else { self.cheat.found as usize };
        let again = if self.replay_refused { 0 } else { sums };
        let row = |who: &str, what: &str, undefended: Cell, defence: &str, defended: Cell| Row {
            source: Source::Measured,
            cells: vec![who.into(), what.into(), undefended, defence.into(), defended],
        };
        let layer = Right { right: if self.open { self.solved.all } else { 0 }, ..self.solved };
        Table {
            caption: "What comes back when one thing is left out".into(),
            columns: ["who", "does what", "learns, undefended", "defence", "learns, defended"]
                .map(Column::new)
                .to_vec(),
            rows: vec![
                row("client", "solves equations", weights(layer), "shares", weights(self.solved)),
                row(
                    "client",
                    "encrypts powers of two",
                    weights(self.bare),
                    "a mask over all of the plaintext",
                    weights(self.masked),
                ),
                row(
                    "client",
                    "flips choices of a transfer",
                    of(self.cheat.found as usize, 128, "bits of Δ"),
                    "the check",
                    of(checked, 128, "bits; four, at odds of 1 to 15"),
                ),
                row(
                    "client",
                    "asks twice by one ticket",
                    of(sums, all, "sums"),
                    "tickets are spent first",
                    of(again, all, "sums"),
                ),
                row(
                    "server",
                    "subtracts two queries",
                    of(reused, pixels, "pixels of x − x'"),
                    "r is used once",
                    of(fresh, pixels, "pixels"),
                ),
            ],
        }
    }

    fn pictures(&self) -> Images {
        let pictures = Pictures::small();
        let differences = &self.differences;
        let values = |numbers: &[i128]| numbers.iter().map(|n| *n as f64).collect::<Vec<_>>();
        let row = |name: &str, image| ImageRow { name: name.into(), images: vec![image] };
        let column = |n: usize| self.images.index_axis(Axis(1), n).to_vec();
        Images {
            caption: "What a server sees of two images".into(),
            rows: vec![
                row("x", pictures.image(&column(0), "")),
                row("x'", pictures.image(&column(1), "")),
                row("one r", pictures.stretched(&values(&differences.reused), "")),
                row("two r", pictures.stretched(&values(&differences.fresh), "")),
            ],
        }
    }
}

/// The exhibit `attack-blind`.
///
/// # Errors
/// What the machines of the runs say.
pub fn exhibit(setting: &Setting, progress: &dyn Progress) -> Result<Exhibit, Error> {
    let runs = Runs::make(setting, progress)?;
    let [bits, secret] = runs.bits;
    Ok(Exhibit {
        id: "attack-blind".into(),
        title: "Blind queries: what each part of the protocol holds back".into(),
        finding: format!(
            "A client that solves {} open answers has a layer; from blind ones it has {} of {} weights, which is \
             chance. Without the check of the transfers one batch gives {} of 128 bits of Δ, and a ticket that is \
             answered twice gives {} of {} sums; the real server checks, and spends tickets first.",
            runs.questions,
            runs.solved.right,
            runs.solved.all,
            runs.cheat.found,
            runs.opened.sums[0],
            runs.opened.sums[1]
        ),
        claims: runs.claims(),
        parts: vec![Part::Table(runs.table()), Part::Images(runs.pictures())],
        notes: vec![
            "A dense network for the 8x8 digits with random weights. Shares are asked of the real server machine; sums of \
             powers of two are masked by the call that it makes."
                .into(),
            "The check is left out, and labels are sent twice, by the attack's own code: the product has no switch for \
             either."
                .into(),
            format!(
                "What remains: a blind answer tells {bits} bits, of {secret} that all weights have, and is counted. No part \
                 of the protocol hides what answers teach."
            ),
        ],
    })
}
