//! Question 5: whether homomorphic encryption is suitable.
//!
//! An answer in words, with two numbers of this run behind it: what the data party itself must do at
//! each refresh, against what the step would cost it in the clear; and what the client of a base
//! network must do, against asking the network itself.

use std::time::Duration;

use anyhow::Result;
use gelu_fhe_baseline::packed::{Client, Layer, Network, Privacy, Server};
use gelu_nn::{FloatParameters, zoo};
use gelu_transfer::{Settings, Sigmoid};
use rand::rngs::ChaCha20Rng;
use rand::{RngExt, SeedableRng};

use super::case::Case;
use crate::exhibit::{Cell, Claim, Column, Exhibit, Part, Row, Source, Table};
use crate::setting::{Progress, Setting};
use crate::timing::{Patience, on_one_core};

/// Medians of some runs.
const PATIENCE: Patience = Patience { least: 3, most: 21, budget: Duration::from_millis(300) };

/// Seconds of one party for one piece of work, and of the same in the clear.
struct Work {
    what: &'static str,
    own: f64,
    clear: f64,
}

impl Work {
    fn ratio(&self) -> f64 {
        self.own / self.clear
    }
}

/// Measures, and answers.
///
/// # Errors
/// What a party refuses.
pub fn exhibit(setting: &Setting, progress: &dyn Progress) -> Result<Exhibit> {
    progress.begin("an owner's own work", 2);
    let work = on_one_core(|| {
        let head = head(setting)?;
        progress.step();
        let base = base(setting)?;
        progress.step();
        Ok::<_, anyhow::Error>([head, base])
    })?;
    let [head, base] = &work;
    let claims = vec![
        Claim::new(
            format!(
                "at each refresh the data party's own work, {:.1} ms, is {:.1} times the step in the clear, {:.1} ms: who has data and labels \
                 and any computer trains the head alone",
                1e3 * head.own,
                head.ratio(),
                1e3 * head.clear
            ),
            head.ratio() > 1.0,
        ),
        Claim::new(
            format!(
                "to encrypt an image and to decrypt its scores takes {:.1} ms, {:.1} times what the network takes in the clear: setup 1 pays for \
                 who does not have the network, not for who lacks the time",
                1e3 * base.own,
                base.ratio()
            ),
            base.ratio() > 1.0,
        ),
    ];
    Ok(Exhibit {
        id: "table-suitable".into(),
        title: "Question 5: whether it is suitable".into(),
        finding: format!(
            "Where the other party contributes what the owner lacks: a base network, or other owners' data. For computing power alone it is not: \
             an owner's own share of the work is {:.1} times the step in the clear, and {:.1} times the base network's answer.",
            head.ratio(),
            base.ratio()
        ),
        claims,
        parts: vec![Part::Table(measured(&work)), Part::Table(answers())],
        notes: vec![
            "The head: 1,024 abstracts of 384 numbers, a line, a refresh after each iteration; the data party's own work is to encrypt the head, to decrypt the \
             gradient and to take the step. What it encrypts once is not in it. The base: Conv-1 with squares, random weights."
                .into(),
            "In the clear both are computed by plain loops in double precision; a tuned library would make the ratios larger."
                .into(),
        ],
    })
}

/// The data party at a refresh.
fn head(setting: &Setting) -> Result<Work> {
    let rng = &mut ChaCha20Rng::seed_from_u64(setting.seed);
    let case = Case::abstracts()?.head(1024, None)?;
    let settings = Settings {
        rows: case.rows(),
        features: case.features(),
        heads: 1,
        batch: case.rows(),
        sigmoid: Sigmoid::fit(1, 8.0)?,
        rate: 4.0,
        unattended: 1,
    };
    let done = case.encrypted(settings, case.train.labels(), 6, rng)?;
    let [_, own, clear] = done.each;
    Ok(Work { what: "a step of training a head: the data party", own, clear })
}

/// The client of a base network.
fn base(setting: &Setting) -> Result<Work> {
    let rng = &mut ChaCha20Rng::seed_from_u64(setting.seed);
    let weights = FloatParameters::initialise(&zoo::conv1_square(), rng);
    let layers = weights.layers.iter();
    let layers: Vec<_> = layers.map(|l| Layer { weights: &l.weights, biases: &l.biases }).collect();
    let image: Vec<f64> = (0..Network::PIXELS).map(|_| rng.random_range(0.0..1.0)).collect();
    let server = Server::new(Network::Conv1, &layers, Privacy::Plain, [image.as_slice()])?;
    let client = Client::generate(server.exchange(), rng);
    let keys = server.read_keys(&client.keys(rng)?)?;
    let answer = server.answer(&keys, &client.encrypt(&image, rng)?, rng)?;
    let own = PATIENCE.median(|| {
        client.encrypt(&image, rng).map_err(refused)?;
        client.decrypt(&answer).map_err(refused)
    })?;
    let clear = PATIENCE.median(|| Network::Conv1.evaluate(&layers, &image).map_err(refused))?;
    Ok(Work { what: "an image through Conv-1: the client", own, clear })
}

/// Nothing here is refused unless there is a bug.
fn refused(why: gelu_fhe_baseline::packed::Error) -> crate::Error {
    crate::Error::Program { program: "gelu-fhe-baseline".into(), reason: why.to_string() }
}

fn measured(work: &[Work]) -> Table {
    let row = |work: &Work| {
        let mut cells = vec![Cell::from(work.what)];
        cells.extend([1e3 * work.own, 1e3 * work.clear, work.ratio()].map(Cell::from));
        Row { source: Source::Measured, cells }
    };
    Table {
        caption: "What a party must do itself, beside all of it in the clear, one core".into(),
        columns: vec![
            Column::new("work"),
            Column::with_unit("its own share", "ms"),
            Column::with_unit("all of it, in the clear", "ms"),
            Column::new("ratio"),
        ],
        rows: work.iter().map(row).collect(),
    }
}

/// Who should take what.
fn answers() -> Table {
    let rows = [
        [
            "data, labels and any computer",
            "nothing: train in the clear",
            "the step takes milliseconds; sending nothing is the best protection",
        ],
        [
            "data and labels; a public embedding model",
            "setup 2 in the clear",
            "the same: features need not leave",
        ],
        [
            "data and labels; the base belongs to another, who may see the head",
            "exact protocol, frozen stages",
            "exact activations, the weights of the clear; the base is given away equation by equation, counted",
        ],
        [
            "the same, and the head must stay with the data",
            "CKKS, setup 1",
            "the compute party learns sizes; polynomials, approximate",
        ],
        [
            "several owners of data, one head",
            "exact protocol, leases in turn",
            "no owner shows rows; each sum of a lease is over many",
        ],
        [
            "nobody may learn a weight of the base",
            "packed CKKS, answers hidden",
            "the client learns scores, from which a model can still be rebuilt in time",
        ],
        [
            "a party that may deviate from the protocol",
            "neither",
            "both engines assume parties that follow it",
        ],
    ];
    let row =
        |cells: [&str; 3]| Row { source: Source::Counted, cells: cells.map(Cell::from).to_vec() };
    Table {
        caption: "Who has what, and what to take".into(),
        columns: ["who has", "take", "because"].map(Column::new).to_vec(),
        rows: rows.map(row).to_vec(),
    }
}
