//! The exhibit `attack-randomness`.

use gelu_paillier::Noise;
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;
use rand_core::Rng;
use rayon::prelude::*;

use super::{Finish, MaliciousKey, Offer, P, answers_are_honest, digits, finish, offers};
use crate::Error;
use crate::attacks::target::{self, Target};
use crate::exhibit::{Axis, Bar, Bars, Cell, Claim, Column, Exhibit, Part, Row, Source, Table};
use crate::setting::{Extent, Progress, Setting};

/// The attack on a layer of 784 inputs, with responses finished in four ways.
///
/// # Errors
/// [`Error::WrongAnswer`] when an honest decryption is wrong.
pub fn exhibit(setting: &Setting, progress: &dyn Progress) -> Result<Exhibit, Error> {
    let runs = Runs::make(setting, progress)?;
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
             chance makes {by_chance:.1}.",
            total(sealed)
        ),
        claims,
        parts: vec![Part::Table(runs.table()), Part::Table(runs.keys()), Part::Bars(runs.bars())],
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
    fn make(setting: &Setting, progress: &dyn Progress) -> Result<Self, Error> {
        let rng = &mut ChaCha20Rng::seed_from_u64(setting.seed);
        let (model, origin) = target::model(setting)?;
        progress.begin("key, questions, four ways to finish", 6);
        let key = MaliciousKey::make(setting.key_bits, rng);
        let public = key.public();
        progress.step();
        let outputs = match setting.extent {
            Extent::Quick => 4,
            Extent::Paper => 40,
        };
        let target = Target::first_layer::<P>(&model, public)?.head(outputs);
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
            ("the real seal: powers of 64 bases", self.asked, self.sealed),
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
            "What remains: noise of 64 bases is within 2^−61 of uniform for two prime factors; under \
             a modulus of k > 60 factors, which no check excludes, a response may show k − 60 bits."
                .into(),
        ]
    }
}
