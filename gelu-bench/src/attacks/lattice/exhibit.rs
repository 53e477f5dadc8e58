//! The exhibit `attack-lattice`.

use gelu_algebra::{correlation, nearest, norm};
use gelu_nn::zoo;
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;

use super::masking::{self, Received, divide, rest, uniform};
use super::{Scene, estimate, laboratory, noise};
use crate::Error;
use crate::attacks::digits::right;
use crate::exhibit::{Cell, Claim, Column, Exhibit, Part, Row, Source, Table};
use crate::setting::{Extent, Progress, Setting};

/// The four attacks, on the first layers of the networks for digits, Iris and conv1 under keys of degree 4096.
///
/// # Errors
/// [`Error::WrongAnswer`] when an honest answer is wrong.
pub fn exhibit(setting: &Setting, progress: &dyn Progress) -> Result<Exhibit, Error> {
    let rng = &mut ChaCha20Rng::seed_from_u64(setting.seed);
    progress.begin("four steps of sealing, left out and not", 4);
    let divided = Divided::make(rng)?;
    progress.step();
    let wires = wires(setting.extent, rng)?;
    progress.step();
    let cut = Cut::make(rng)?;
    progress.step();
    let noise = Noise::make(setting.extent, rng)?;
    progress.step();
    let [bare, twice, difference, real] = wires.each_ref();
    let mut claims = vec![
        Claim::new(
            format!(
                "no encryption of 0, c₁ modulo q: {} of {} weights by one division; with it {}",
                divided.bare, divided.asked, divided.hidden
            ),
            divided.bare == divided.asked && divided.hidden == 0,
        ),
        Claim::new(
            format!("no encryption of 0, c₁ on the wire: {bare} weights by lattice reduction"),
            bare.all(),
        ),
        Claim::new(
            format!("one encryption of 0 under two answers: {twice} weights from their difference"),
            twice.all(),
        ),
    ];
    for (name, wire) in [("sealed", real), ("two sealed answers, their difference", difference)] {
        claims.push(Claim::new(
            format!(
                "{name}: {wire} readings are right (chance makes less than 0.1); less the true sum, \
                 c₁ is {:.3} of the modulus from 0 on average, uniform ones 0.25",
                wire.rest
            ),
            wire.right <= 1 && wire.uniform,
        ));
    }
    claims.extend([
        Claim::new(
            format!(
                "all of c₀ sent: {} of {} weights from one question, for which the ledger books {} \
                 equations",
                cut.uncut, cut.asked, cut.booked
            ),
            cut.uncut == cut.asked && cut.booked < cut.asked,
        ),
        Claim::new(
            format!("outputs alone sent: {} numbers, as many as are booked", cut.sent),
            cut.sent == cut.booked,
        ),
        Claim::new(
            format!(
                "flooding of {} bits: {} of {} weights by least squares over {} questions",
                noise.rows[0].bits, noise.rows[0].right, noise.asked, noise.questions
            ),
            noise.rows[0].right * 10 >= noise.asked * 9,
        ),
        Claim::new(
            format!(
                "the real flooding of {} bits, before and on the wire: estimates are like the weights \
                 by {:.2} and {:.2}, as numbers that have nothing to do with them are",
                noise.real().bits, noise.real().alike, noise.wire
            ),
            [noise.real().alike, noise.wire].iter().all(|r| r.abs() < noise.limit()),
        ),
    ]);
    claims.push(keys());
    Ok(Exhibit {
        id: "attack-lattice".into(),
        title: "Weights from ciphertexts of a lattice scheme".into(),
        finding: format!(
            "A client reads {} weights from one answer without an encryption of 0, {twice} from two \
             answers under the same one, {} from one question if all of c₀ is sent, and {} of {} from {} \
             questions if flooding has {} bits. Of sealed answers no reading is right beyond chance, and \
             what is sent of c₀ is what the ledger books.",
            divided.bare,
            cut.uncut,
            noise.rows[0].right,
            noise.asked,
            noise.questions,
            noise.rows[0].bits,
        ),
        claims,
        parts: vec![Part::Table(table(&divided, &wires, &cut)), Part::Table(noise.table())],
        notes: vec![
            "The weights are random, as before training. Servers that leave out a step are the real \
             code up to that step."
                .into(),
            "On the wire, c₁ is rounded to w bits, and reading it is a lattice problem: found at once \
             for few weights in an answer, and not tried here for thousands. The client names the layout."
                .into(),
            "Short floods are looked at before the switch to 2^w. Its rounding errors are larger than all \
             of them, so a server that floods too little and switches does not fall to this attack; the \
             backend's bound does not count on that. The last row's questions follow from its error, as \
             four times the questions halve it."
                .into(),
        ],
    })
}

/// What finding a client's key costs.
fn keys() -> Claim {
    let rings = gelu_lattice::Parameters::KEY_BITS.map(|degree| {
        let ring = gelu_lattice::Parameters::of_degree(degree).expect("one of the rings");
        estimate::Problem::ternary(ring.degree(), ring.modulus_bits()).estimate()
    });
    let [small, large] =
        rings.map(|e| format!("2^{:.0} ({:.0} by core-SVP)", e.bits, e.core_svp_bits));
    Claim::new(
        format!(
            "keys, by lattice reduction: {small} operations for the ring of degree 4096 and {large} for that of 8192, \
             estimated by the homomorphic encryption standard's model; claimed: 2^128 or more"
        ),
        rings.iter().all(|estimate| estimate.bits >= 128.0),
    )
}

/// c₁ modulo q, of digits' first layer.
struct Divided {
    asked: usize,
    bare: usize,
    hidden: usize,
}

impl Divided {
    fn make(rng: &mut ChaCha20Rng) -> Result<Self, Error> {
        let scene = Scene::new(zoo::digits(), DENSE, rng)?;
        let places = scene.places(0);
        let truth = scene.truth(&places);
        let question = scene.ask(&vec![7; scene.linear.inputs()], rng)?;
        let a = scene.uploads(&question).swap_remove(0);
        let read = |c1| {
            let all = divide(&c1, &a);
            right(&places.iter().map(|place| all[place.coefficient]).collect::<Vec<_>>(), &truth)
        };
        let [_, bare] = laboratory::danger_bare(&scene.evaluate(&question)?).swap_remove(0);
        let [_, hidden] = scene.hide(&question, 0, rng)?;
        Ok(Self { asked: truth.len(), bare: read(bare), hidden: read(hidden.into_evaluations()) })
    }
}

/// What was read of c₁ on the wire, over the layers.
struct OnTheWire {
    asked: usize,
    right: usize,
    /// The largest [`rest`], and whether all are uniform.
    rest: f64,
    uniform: bool,
}

impl OnTheWire {
    fn all(&self) -> bool {
        self.right == self.asked
    }
}

impl std::fmt::Display for OnTheWire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {}", self.right, self.asked)
    }
}

/// Of Iris' first layer and of filters of conv1, by the servers of [`masking::Server`] in order.
fn wires(extent: Extent, rng: &mut ChaCha20Rng) -> Result<[OnTheWire; 4], Error> {
    use masking::Server::{Bare, Difference, Real, ZeroTwice};
    let scenes = [
        Scene::new(zoo::iris(), "dense/1x4x5", rng)?,
        Scene::new(zoo::conv1(), "columns/256x13x1", rng)?,
    ];
    let most = match extent {
        Extent::Quick => 2,
        Extent::Paper => usize::MAX,
    };
    let mut run = |server| -> Result<OnTheWire, Error> {
        let mut all = OnTheWire { asked: 0, right: 0, rest: 0.0, uniform: true };
        for scene in &scenes {
            let received = Received::from(server, scene, rng)?;
            for i in 0..scene.answers().min(most) {
                let (wire, places) = (received.answer(i), scene.places(i));
                let rest = rest(scene, &wire, &places);
                all.asked += places.len();
                all.right += right(&wire.read(&places), &scene.truth(&places));
                all.rest = all.rest.max(rest);
                all.uniform &= uniform(rest, scene.degree());
            }
        }
        Ok(all)
    };
    Ok([run(Bare)?, run(ZeroTwice)?, run(Difference)?, run(Real)?])
}

/// All of c₀, and the outputs alone, of digits' first layer.
struct Cut {
    asked: usize,
    uncut: usize,
    /// Numbers of c₀ that the real server sends.
    sent: usize,
    /// Equations that the ledger books, of all rows.
    booked: usize,
}

impl Cut {
    fn make(rng: &mut ChaCha20Rng) -> Result<Self, Error> {
        let scene = Scene::new(zoo::digits(), DENSE, rng)?;
        let (question, places) = (scene.ask_one(rng)?, scene.places(0));
        let truth = scene.truth(&places);
        let uncut = right(&scene.read_uncut(&question, &places, rng)?, &truth);
        let outputs = scene.read_outputs(&question, rng)?;
        let honest = scene.weights.iter().step_by(scene.linear.inputs());
        if !outputs.iter().eq(honest) {
            return Err(Error::WrongAnswer("a weighted sum".into()));
        }
        let sent = scene.seal(scene.evaluate(&question)?, rng)[0].len() - scene.degree();
        let booked = usize::try_from(scene.exposure.equations_per_sample).expect("few");
        Ok(Self { asked: truth.len(), uncut, sent, booked: booked * scene.linear.outputs() })
    }
}

/// One length of flooding.
struct Flooded {
    bits: u32,
    hiding: f64,
    right: usize,
    alike: f64,
    /// The mean error of an estimate, as the root of squares.
    error: f64,
}

/// Estimates from noise, of conv1's filters.
struct Noise {
    asked: usize,
    questions: usize,
    /// Equations of a question.
    equations: usize,
    /// By the bits of flooding, the real ones last.
    rows: Vec<Flooded>,
    /// How much the estimates from the real wire are like the weights.
    wire: f64,
}

impl Noise {
    fn make(extent: Extent, rng: &mut ChaCha20Rng) -> Result<Self, Error> {
        let scene = Scene::new(zoo::conv1(), "image/1x1x5", rng)?;
        let budget = *scene.layout.budget();
        let questions = match extent {
            Extent::Quick => 24,
            Extent::Paper => 240,
        };
        let places = scene.places(0);
        let truth = scene.truth(&places);
        let weights: Vec<_> = truth.iter().map(|&w| w as f64).collect();
        let mut rows = Vec::new();
        for bits in [8, 16, 24, budget.flood_bits] {
            let read = scene.read_noise(noise::Server::Floods(bits), &places, questions, rng)?;
            let errors: Vec<_> = read.iter().zip(&weights).map(|(a, b)| a - b).collect();
            rows.push(Flooded {
                bits,
                hiding: budget.hiding_bits - f64::from(budget.flood_bits - bits),
                right: right(&read.iter().map(|&w| nearest(w)).collect::<Vec<_>>(), &truth),
                alike: correlation(&read, &weights),
                error: norm(&errors) / (errors.len() as f64).sqrt(),
            });
        }
        let wire = scene.read_noise(noise::Server::Real, &places, questions, rng)?;
        let equations = scene.outputs().len();
        Ok(Self {
            asked: truth.len(),
            questions,
            equations,
            rows,
            wire: correlation(&wire, &weights),
        })
    }

    fn real(&self) -> &Flooded {
        self.rows.last().expect("four rows")
    }

    /// Five standard deviations of the correlation of independent numbers.
    fn limit(&self) -> f64 {
        5.0 / (self.asked as f64).sqrt()
    }

    fn table(&self) -> Table {
        let row = |flooded: &Flooded| {
            let needed = self.questions as f64 * (2.0 * flooded.error).powi(2);
            Row {
                source: Source::Measured,
                cells: vec![
                    Cell::Count(flooded.bits.into()),
                    Cell::Number(flooded.hiding.max(0.0)),
                    Cell::Number(flooded.alike),
                    flooded.right.into(),
                    format!("2^{:.0}", libm::log2(needed)).into(),
                ],
            }
        };
        Table {
            caption: format!(
                "Noise of {} questions, {} coefficients each, against the errors in them: the {} weights of \
                 conv1's filters by least squares (the last row is the real length)",
                self.questions, self.equations, self.asked
            ),
            columns: vec![
                Column::with_unit("flooding", "bits"),
                Column::with_unit("hides at least", "bits"),
                Column::new("correlation with the weights"),
                Column::new("weights read"),
                Column::new("questions for an error of 1/2"),
            ],
            rows: self.rows.iter().map(row).collect(),
        }
    }
}

fn table(divided: &Divided, [bare, twice, difference, real]: &[OnTheWire; 4], cut: &Cut) -> Table {
    let row = |what: &str, asked: usize, undefended: usize, defended: usize| Row {
        source: Source::Measured,
        cells: vec![what.into(), asked.into(), undefended.into(), defended.into()],
    };
    Table {
        caption: "Weights read from answers, without a step of sealing and with all".into(),
        columns: vec![
            Column::new("left out"),
            Column::new("weights"),
            Column::new("read without it"),
            Column::new("read with it"),
        ],
        rows: vec![
            row("the encryption of 0; c₁ modulo q", divided.asked, divided.bare, divided.hidden),
            row("the encryption of 0; c₁ on the wire", bare.asked, bare.right, real.right),
            row(
                "a new encryption of 0 for each answer",
                twice.asked,
                twice.right,
                difference.right,
            ),
            row("the cut of c₀ to outputs", cut.asked, cut.uncut, cut.sent),
        ],
    }
}

/// All of digits' first layer in one upload and one answer.
const DENSE: &str = "dense/1x64x32";
