//! The exhibit `attack-randomness`.

use gelu_nn::Model;
use gelu_paillier::Noise;
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;
use rand_core::Rng;
use rayon::prelude::*;

use super::many_factors::ManyFactors;
use super::{Finish, MaliciousKey, Offer, P, answers_are_honest, digits, finish, offers};
use crate::Error;
use crate::attacks::target::{self, Target};
use crate::exhibit::{Axis, Bar, Bars, Cell, Claim, Column, Exhibit, Part, Row, Source, Table};
use crate::setting::{Extent, Progress, Setting};

/// Bits of the key of many factors: the least that a server accepts.
const MANY_BITS: usize = 2048;

/// Bases of noise: what sealing once had, and a base for each digit, which it has.
const BASES: [u32; 2] = [64, 363];

/// The attack on a layer of 784 inputs, with responses finished in four ways; and that of a key of many
/// factors, with noise from two numbers of bases.
///
/// # Errors
/// [`Error::WrongAnswer`] when an honest decryption is wrong.
pub fn exhibit(setting: &Setting, progress: &dyn Progress) -> Result<Exhibit, Error> {
    let (model, origin) = target::model(setting)?;
    let runs = Runs::make(setting, &model, origin, progress)?;
    let many = Many::make(setting, &model, progress)?;
    let Runs { asked, asked_one, bare, one_base, sealed, uniform, .. } = runs;
    let chance = runs.chance();
    // Right readings of all responses together: five deviations above what chance makes.
    let limit = chance + (5.0 * (chance * runs.outputs).sqrt() + 1.0) / runs.outputs;
    let by_chance = chance * runs.outputs;
    let total =
        |read: f64| format!("{:.0} of {:.0}", read * runs.outputs, asked as f64 * runs.outputs);
    let no_more = |read: f64| read <= limit;
    let claims = vec![
        Claim::new(
            format!("not rerandomised: {bare} of {asked} weights from one response"),
            bare == asked as f64,
        ),
        Claim::new(
            format!("powers of one base: {one_base} of {asked_one}; such noise cannot seal"),
            one_base == asked_one as f64,
        ),
        Claim::new(
            format!("sealed: {} readings are right; chance makes {by_chance:.1}", total(sealed)),
            no_more(sealed),
        ),
        Claim::new(
            format!("uniform: {} readings are right; chance makes {by_chance:.1}", total(uniform)),
            no_more(uniform),
        ),
        Claim::new(
            format!(
                "a certified key of {} factors, noise of {} bases: {:.0} bits and {} of {} weights \
                 from one response",
                many.factors, BASES[0], many.bits[0], many.read[0], many.asked
            ),
            many.read[0] == many.asked as f64,
        ),
        Claim::new(
            format!(
                "the same key, noise of {} bases, as seals have: {:.0} bits; {:.0} readings are right, \
                 chance makes {:.1}",
                BASES[1],
                many.bits[1],
                many.read[1] * many.outputs,
                many.by_chance()
            ),
            many.bits[1] == 0.0 && many.read[1] * many.outputs <= 5.0 + 5.0 * many.by_chance(),
        ),
        Claim::new(
            "the server accepts this key: nobody sees p − 1, so the noise has to protect",
            runs.offers[0].refused.is_none(),
        ),
        Claim::new(
            "even, square, small-factored and unproven moduli are refused",
            runs.offers[1..].iter().all(|offer| offer.refused.is_some()),
        ),
    ];
    Ok(Exhibit {
        id: "attack-randomness".into(),
        title: "Weights from a response's randomness".into(),
        finding: format!(
            "With a key made for it, a client reads {bare} of {asked} weights from one response \
             that is not rerandomised, while the plaintexts are an honest image. Through noise with \
             one base it reads {one_base} of {asked_one}. In sealed responses {} readings are right; \
             chance makes {by_chance:.1}. A key of {} factors reads {} weights through noise of {} \
             bases, and none through that of {}.",
            total(sealed),
            many.factors,
            many.read[0],
            BASES[0],
            BASES[1]
        ),
        claims,
        parts: vec![
            Part::Table(runs.table()),
            Part::Table(many.table()),
            Part::Table(runs.keys()),
            Part::Bars(runs.bars()),
        ],
        notes: runs.notes(),
    })
}

/// Weights read from one response, on average over the outputs, by how it was finished.
struct Runs {
    origin: &'static str,
    outputs: f64,
    /// Bits of a weight.
    width: usize,
    /// Weights asked for modulo both primes; and modulo one, when the other is to show the noise.
    asked: usize,
    asked_one: usize,
    bare: f64,
    one_base: f64,
    sealed: f64,
    uniform: f64,
    offers: Vec<Offer>,
}

impl Runs {
    fn make(
        setting: &Setting,
        model: &Model,
        origin: &'static str,
        progress: &dyn Progress,
    ) -> Result<Self, Error> {
        let rng = &mut ChaCha20Rng::seed_from_u64(setting.seed);
        progress.begin("key, questions, four ways to finish", 6);
        let key = MaliciousKey::make(setting.key_bits, rng);
        let public = key.public();
        progress.step();
        let outputs = match setting.extent {
            Extent::Quick => 4,
            Extent::Paper => 40,
        };
        let target = Target::first_layer::<P>(model, public)?.head(outputs);
        let (rows, width) = (target.rows(), target.weight_bits);
        let places = key.places(width);
        let both = [places, places.min(target.inputs() - places)];
        // Three places stay free, so that the search knows when it has found the noise.
        let one = [places - 3, 0];
        let pixels: Vec<u32> = (0..target.inputs()).map(|_| rng.next_u32() % 256).collect();
        let ask = |places: [usize; 2]| {
            target.answer_bare::<P>(public, &key.encrypt_prepared(&pixels, width, places))
        };
        let (answers, answers_one) = (ask(both)?, ask(one)?);
        progress.step();
        let mut run = |how: Finish| -> Result<f64, Error> {
            let one_base = how == Finish::With(Noise::HalfExponent);
            let answers = if one_base { &answers_one } else { &answers };
            let responses = finish(public, answers, &target, how, rng)?;
            if !answers_are_honest(&key, &responses, &target, &rows, &pixels)? {
                return Err(Error::WrongAnswer("a weighted sum".into()));
            }
            let read = responses.par_iter().zip(&rows).map(|(response, row)| {
                let read = match one_base {
                    true => key.read_through_one_base(response, width, one[0]),
                    false => Some(key.read(response, width, both)),
                };
                read.map_or(0, |read| digits::right(&read, row))
            });
            let right: usize = read.sum();
            progress.step();
            Ok(right as f64 / outputs as f64)
        };
        Ok(Self {
            origin,
            outputs: outputs as f64,
            width,
            asked: both[0] + both[1],
            asked_one: one[0],
            bare: run(Finish::Bare)?,
            one_base: run(Finish::With(Noise::HalfExponent))?,
            sealed: run(Finish::Sealed)?,
            uniform: run(Finish::With(Noise::Uniform))?,
            offers: offers(&key, rng),
        })
    }

    /// Weights that are right by chance: a uniform reading is one of 2^width.
    fn chance(&self) -> f64 {
        self.asked as f64 * libm::exp2(-(self.width as f64))
    }

    /// How a response is finished, weights asked for, weights read.
    fn lines(&self) -> [(&'static str, usize, f64); 4] {
        [
            ("nothing (the paper)", self.asked, self.bare),
            ("powers of one base, good for encryption", self.asked_one, self.one_base),
            ("the real seal", self.asked, self.sealed),
            ("uniform noise", self.asked, self.uniform),
        ]
    }

    fn table(&self) -> Table {
        let row = |(what, asked, read): (&str, usize, f64)| Row {
            source: Source::Measured,
            cells: vec![what.into(), asked.into(), Cell::Number(read)],
        };
        Table {
            caption: format!(
                "Weights read from the randomness of one response (mean of {})",
                self.outputs
            ),
            columns: vec![
                Column::new("the response is finished with"),
                Column::new("weights asked for"),
                Column::new("read"),
            ],
            rows: self.lines().map(row).into(),
        }
    }

    fn keys(&self) -> Table {
        let row = |offer: &Offer| {
            let answer = offer.refused.clone().unwrap_or_else(|| "accepted".into());
            Row { source: Source::Measured, cells: vec![offer.what.into(), answer.into()] }
        };
        Table {
            caption: "What a server says to a client's key".into(),
            columns: vec![Column::new("key"), Column::new("answer")],
            rows: self.offers.iter().map(row).collect(),
        }
    }

    fn bars(&self) -> Bars {
        let bar =
            |(what, _, read): (&str, usize, f64)| Bar { name: what.into(), values: vec![read] };
        Bars {
            caption: "Weights read from one response".into(),
            axis: Axis::linear("weights"),
            segments: vec!["weights read".into()],
            bars: self.lines().map(bar).into(),
        }
    }

    fn notes(&self) -> Vec<String> {
        vec![
            format!("The weights: {}. Every response decrypts to the honest sum.", self.origin),
            "A server could look for smooth p − 1 with Pollard's method; a client then takes factors \
             a little beyond its patience. Checks of keys do not stop this client, noise does."
                .into(),
            "No check sees how many factors above 2^16 a modulus has. So seals have a base for each \
             digit of their exponents: 64 more than a key can have factors, and more."
                .into(),
        ]
    }
}

/// What a key of many factors reads through noise from each of the [`BASES`], on average over the
/// outputs.
struct Many {
    factors: usize,
    outputs: f64,
    asked: usize,
    /// Bits of a response's randomness that the noise leaves.
    bits: [f64; 2],
    /// Weights that were read right.
    read: [f64; 2],
}

impl Many {
    fn make(setting: &Setting, model: &Model, progress: &dyn Progress) -> Result<Self, Error> {
        let rng = &mut ChaCha20Rng::seed_from_u64(setting.seed);
        progress.begin("a key of many factors, two kinds of noise", 3);
        let key = ManyFactors::make(MANY_BITS)?;
        progress.step();
        let target = Target::first_layer::<P>(model, key.public())?.head(4);
        let (rows, outputs) = (target.rows(), target.outputs() as f64);
        let pixels: Vec<u32> = (0..target.inputs()).map(|_| rng.next_u32() % 256).collect();
        let characters = key.factors().characters(BASES[0]);
        let inputs = key.encrypt_prepared(&pixels, &characters);
        let answers = target.answer_bare::<P>(key.public(), &inputs)?;
        let mut read = [0.0; 2];
        for (read, bases) in read.iter_mut().zip(BASES) {
            let sent = finish(key.public(), &answers, &target, Finish::Bases(bases), rng)?;
            for ((response, row), offset) in sent.iter().zip(&rows).zip(target.offsets()) {
                let sum: i128 = row.iter().zip(&pixels).map(|(w, &x)| w * i128::from(x)).sum();
                if key.decrypt(response, target.slot) != (sum + offset).into() {
                    return Err(Error::WrongAnswer("a weighted sum".into()));
                }
                let weights = key.read(response, &characters);
                *read += digits::right(&weights, row) as f64 / outputs;
            }
            progress.step();
        }
        Ok(Self {
            factors: key.factors().count(),
            outputs,
            asked: characters.places(),
            bits: [characters.bits(), key.factors().characters(BASES[1]).bits()],
            read,
        })
    }

    /// Readings of all responses that are right by chance: a uniform reading is one of 2310.
    fn by_chance(&self) -> f64 {
        self.asked as f64 * self.outputs / 2310.0
    }

    fn table(&self) -> Table {
        let row = |i: usize| Row {
            source: Source::Measured,
            cells: vec![
                Cell::Count(BASES[i].into()),
                Cell::Number(self.bits[i]),
                self.asked.into(),
                Cell::Number(self.read[i]),
            ],
        };
        Table {
            caption: format!(
                "A certified key of {MANY_BITS} bits and {} factors, each 1 modulo 2310: one response \
                 (mean of {})",
                self.factors, self.outputs
            ),
            columns: vec![
                Column::new("bases of the noise"),
                Column::new("bits of randomness left"),
                Column::new("weights asked for"),
                Column::new("read"),
            ],
            rows: vec![row(0), row(1)],
        }
    }
}
