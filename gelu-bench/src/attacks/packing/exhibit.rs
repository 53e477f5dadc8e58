//! The exhibit `attack-packing`.

use std::sync::Arc;

use gelu_core::{AdditiveHE, Cryptosystem};
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;

use super::{
    P, Question, Reading, Server, digits, questions, questions_allowed, read_layer, read_slots,
    right_by_input, tight_spacing,
};
use crate::Error;
use crate::attacks::target::{self, Session, Target};
use crate::exhibit::{
    Cell, Claim, Column, Exhibit, Image, ImageRow, Images, Part, Row, Source, Table,
};
use crate::setting::{Extent, Progress, Setting};

/// The attack on a layer of 784 inputs and 300 outputs, by servers that send bare sums, that seal,
/// and that keep a ledger besides.
///
/// # Errors
/// When a model or data cannot be read, or the layer does not fit the key.
pub fn exhibit(setting: &Setting, progress: &dyn Progress) -> Result<Exhibit, Error> {
    let runs = Runs::make(setting, progress)?;
    let Runs { inputs, outputs, slot, allowed, .. } = runs;
    let bits = runs.width;
    let finding = format!(
        "A client that encrypts powers of two reads {} weights from one bare response, and all {} \
         from {} questions. Sealed, a response has the {slot} bits of a slot: {:.2} weights. The \
         ledger counts those bits and refuses after {allowed} questions; by then {:.0} % of the \
         layer can be known.",
        runs.question.inputs.len(),
        inputs * outputs,
        runs.bare.questions,
        runs.in_slot(),
        runs.share(),
    );
    let [right, readings] = runs.masked();
    let chance = readings as f64 * libm::exp2(-(bits as f64));
    let mut claims = vec![
        Claim::new(
            format!(
                "bare: {} questions give all {} weights and {outputs} biases, {} weights from one \
                 response",
                runs.bare.questions,
                inputs * outputs,
                runs.question.inputs.len()
            ),
            runs.bare.rows == runs.rows && runs.bare.offsets == runs.offsets,
        ),
        Claim::new(
            format!(
                "sealed: {slot} bits hold {:.2} weights of {bits} bits; {:.2} are read",
                f64::from(slot) / bits as f64,
                runs.in_slot()
            ),
            runs.in_slot() <= runs.held as f64 && runs.in_slot() >= (slot as usize / bits) as f64,
        ),
        Claim::new(
            format!(
                "sealed: under the mask {right} of {readings} readings are right; chance makes \
                 {chance:.1}"
            ),
            right as f64 <= chance + 5.0 * (chance + 1.0).sqrt(),
        ),
        Claim::new(
            format!(
                "the ledger refuses question {}; until then {} of {inputs} weights of a row can be \
                 read at {} bits each, less than half",
                allowed + 1,
                runs.most_weights(),
                runs.spacing
            ),
            2 * runs.most_weights() < inputs as u64,
        ),
    ];
    if setting.extent == Extent::Paper {
        claims.push(Claim::new(
            format!("the real server answered {} questions, then refused", runs.slots.questions),
            runs.slots.questions as u64 == allowed,
        ));
    }
    Ok(Exhibit {
        id: "attack-packing".into(),
        title: "Out-of-range packing: a layer in a few questions".into(),
        finding,
        claims,
        parts: vec![Part::Table(runs.table()), Part::Images(runs.images())],
        notes: runs.notes(),
    })
}

/// What the runs read, and the truth.
struct Runs {
    origin: &'static str,
    inputs: usize,
    outputs: usize,
    /// Bits of a weight.
    width: usize,
    /// Bits of a slot.
    slot: u32,
    /// Weights that a slot holds, the last one perhaps in part.
    held: usize,
    /// Bits that 99 of 100 weights fit.
    spacing: usize,
    rows: Vec<Vec<i128>>,
    offsets: Vec<i128>,
    /// One of the questions, without a bias in its places.
    question: Question,
    bare: Reading,
    sealed: Reading,
    /// From the real server.
    slots: Reading,
    /// Questions that its ledger allows.
    allowed: u64,
}

impl Runs {
    fn make(setting: &Setting, progress: &dyn Progress) -> Result<Self, Error> {
        let rng = &mut ChaCha20Rng::seed_from_u64(setting.seed);
        let (model, origin) = target::model(setting)?;
        let secret = Arc::new(P::keygen(setting.key_bits, rng)?);
        let target = Target::first_layer::<P>(&model, secret.public_key())?;
        let (width, slot) = (target.weight_bits, target.slot.bits);
        let (inputs, outputs) = (target.inputs(), target.outputs());
        let held = (slot as usize).div_ceil(width);
        let places = P::slots(secret.public_key(), u32::try_from(width).expect("few bits"));
        let mut asked = questions(inputs, places, held - 1);
        let question = asked.swap_remove(usize::from(asked.len() > 1));

        let bare = read_layer(&secret, &target, Server::Bare, progress, rng)?;
        // Some sealed outputs tell as much as all, and three questions to the server as much as more.
        let allowed = questions_allowed(&model, &secret)?;
        let (some, most) = match setting.extent {
            Extent::Quick => (20, 3),
            Extent::Paper => (outputs, usize::MAX),
        };
        let sealed = read_layer(&secret, &target.head(some), Server::Sealing, progress, rng)?;
        let mut session = Session::<P>::open(&model, &secret, rng)?;
        let most = most.min(usize::try_from(allowed).unwrap_or(usize::MAX).saturating_add(1));
        let (rows, offsets) = (target.rows(), target.offsets().to_vec());
        let spacing = tight_spacing(&rows);
        let slots = read_slots(&mut session, &target, spacing, most, progress, rng)?;
        Ok(Self {
            origin,
            inputs,
            outputs,
            width,
            slot,
            held,
            spacing,
            rows,
            offsets,
            question,
            bare,
            sealed,
            slots,
            allowed,
        })
    }

    /// Right weights of the question, sealed: those within the slot, and those under the mask.
    fn of_sealed_question(&self) -> [usize; 2] {
        let right = right_by_input(&self.sealed, &self.rows);
        let (slot, masked) = right[self.question.inputs.clone()].split_at(self.held);
        [slot.iter().sum(), masked.iter().sum()]
    }

    /// Weights of a slot that are read from one sealed response, on average.
    fn in_slot(&self) -> f64 {
        self.of_sealed_question()[0] as f64 / self.sealed.rows.len() as f64
    }

    /// Readings under the mask: right ones, and all.
    fn masked(&self) -> [usize; 2] {
        let all = (self.question.inputs.len() - self.held) * self.sealed.rows.len();
        [self.of_sealed_question()[1], all]
    }

    /// Weights of a row that can be read before the ledger refuses; one question tells the biases.
    fn most_weights(&self) -> u64 {
        let held = self.slot as u64 / self.spacing as u64;
        self.allowed.saturating_sub(1).saturating_mul(held).min(self.inputs as u64)
    }

    /// The same in percent.
    fn share(&self) -> f64 {
        100.0 * self.most_weights() as f64 / self.inputs as f64
    }

    fn table(&self) -> Table {
        let right = |reading: &Reading| {
            let rows = reading.rows.iter().zip(&self.rows);
            rows.map(|(a, b)| digits::right(a, b)).sum::<usize>() as f64
        };
        let layer = (self.inputs * self.outputs) as f64;
        let percent = |reading: &Reading| {
            let outputs = reading.rows.len() as f64;
            100.0 * right(reading) / (outputs * self.inputs as f64)
        };
        let bare = &self.bare.rows[0][self.question.inputs.clone()];
        let bare = digits::right(bare, &self.rows[0][self.question.inputs.clone()]);
        let sealed: usize = self.of_sealed_question().iter().sum();
        let sealed = sealed as f64 / self.sealed.rows.len() as f64;
        let answers = (self.slots.questions.max(2) - 1) * self.outputs;
        let row = |server: String, source, questions: Cell, response: Cell, layer: f64| Row {
            source,
            cells: vec![server.into(), questions, response, layer.into()],
        };
        Table {
            caption: format!(
                "Weights read of a layer of {} inputs and {} outputs",
                self.inputs, self.outputs
            ),
            columns: vec![
                Column::new("the server"),
                Column::new("questions"),
                Column::new("weights from a response"),
                Column::with_unit("of the layer", "%"),
            ],
            rows: vec![
                row(
                    "sends bare sums".into(),
                    Source::Measured,
                    self.bare.questions.into(),
                    bare.into(),
                    percent(&self.bare),
                ),
                row(
                    format!("seals ({} outputs measured)", self.sealed.rows.len()),
                    Source::Measured,
                    self.sealed.questions.into(),
                    sealed.into(),
                    percent(&self.sealed),
                ),
                row(
                    format!("the real one, asked at {} bits a weight", self.spacing),
                    Source::Measured,
                    self.slots.questions.into(),
                    (right(&self.slots) / answers as f64).into(),
                    100.0 * right(&self.slots) / layer,
                ),
                row(
                    "the same, until its ledger refuses".into(),
                    Source::Counted,
                    self.allowed.into(),
                    (self.slot as usize / self.spacing).into(),
                    self.share(),
                ),
            ],
        }
    }

    /// The weights of the first outputs as images of the input.
    fn images(&self) -> Images {
        let side = (1..).find(|w| w * w >= self.inputs).expect("a square is large enough");
        let shown = 6.min(self.sealed.rows.len());
        let pixel = |weight: i128, largest: i128| {
            u8::try_from((128 + weight * 127 / largest).clamp(0, 255)).expect("clamped")
        };
        let image = |all: &[Vec<i128>], o: usize| {
            let largest = self.rows[o].iter().map(|w| w.abs()).max().unwrap_or(1).max(1);
            let weight = |i: usize| all[o].get(i).copied().unwrap_or(0);
            Image {
                width: u32::try_from(side).expect("few inputs"),
                pixels: (0..side * side).map(|i| pixel(weight(i), largest)).collect(),
                label: String::new(),
            }
        };
        let row = |name: &str, all: &[Vec<i128>]| ImageRow {
            name: name.into(),
            images: (0..shown).map(|o| image(all, o)).collect(),
        };
        Images {
            caption: "Weights of six neurons, each an image of the input (grey is 0)".into(),
            rows: vec![
                row("the server's weights", &self.rows),
                row("read from bare sums", &self.bare.rows),
                row("read from sealed sums", &self.sealed.rows),
            ],
        }
    }

    fn notes(&self) -> Vec<String> {
        vec![
            format!("The weights: {}.", self.origin),
            format!(
                "The real server was asked {} questions in this run; what its ledger allows was \
                 counted with its ledger.",
                self.slots.questions
            ),
            format!(
                "Weights of {} bits are mostly small: 99 of 100 fit {}, and a client that knows this \
                 reads them that close. So the ledger counts what weights of such a layer are usually \
                 worth, not their format. What remains: something unknown of every row is not every \
                 weight of it.",
                self.width, self.spacing
            ),
        ]
    }
}
