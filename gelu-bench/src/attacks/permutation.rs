//! Permuting the neurons for each query is no defence: they are told by their values.
//!
//! ```text
//! query 0       z  = P₀·(W·a + b)                 P₀, P₁, … drawn by the server
//! query i       z' = Pᵢ·(W·(a + e·uᵢ) + b)        uᵢ: one input moved by one unit
//! ```
//!
//! A small step hardly moves the sums, so neurons keep their rank: sorting both answers puts the
//! same neuron at the same place, but for few that are closer to each other than the step moves
//! them. The differences are then the column uᵢ of W, exactly, neuron by neuron. Fan-in + 1 queries
//! give the layer as if nothing had been permuted. What stops it is the ledger, which counts
//! answers, in whatever order.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use gelu_core::clear::ClearKey;
use gelu_core::client::{Client, ClientOutput, DataPolicy};
use gelu_core::error::Refused;
use gelu_core::fixed::exp2;
use gelu_core::ledger::{Exposure, Ledger, Policy};
use gelu_core::message::Wire;
use gelu_core::pair::Frame;
use gelu_core::pass::bias_constant;
use gelu_core::plan::Purpose;
use gelu_core::server::{Host, ServedModel, Server};
use gelu_core::{Clear, Parameters, Precision};
use gelu_nn::{Activation, Model, Sequential};
use ndarray::Array2;
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;
use rand::seq::SliceRandom;

use super::scene::{Pictures, measured, noise, percent};
use super::view::{Answer, Batch, Knowledge, equations};
use crate::Error;
use crate::exhibit::{Axis, Claim, Column, Exhibit, ImageRow, Images, Lines, Part, Series, Table};
use crate::setting::{Extent, Progress, Setting};

/// A server's process that permutes the hidden neurons for every query: the supposed defence.
///
/// Rows and biases of the first layer and columns of the second move together, so the network
/// computes what it did.
struct Shuffling {
    model: Model,
    policy: Policy,
    ledger: Mutex<Ledger>,
    rng: Mutex<ChaCha20Rng>,
    /// The permutation of each query: place → neuron.
    orders: Mutex<Vec<Vec<usize>>>,
}

impl Host for Shuffling {
    fn model(&self) -> Arc<ServedModel> {
        let hidden = self.model.parameters().layers[0].biases.len();
        let mut order: Vec<usize> = (0..hidden).collect();
        order.shuffle(&mut *self.rng.lock().expect("no panic while held"));
        let parameters = permuted(self.model.parameters(), &order);
        self.orders.lock().expect("no panic while held").push(order);
        Arc::new(ServedModel { parameters, ..ServedModel::from(&self.model) })
    }

    fn charge(&self, version: u64, exposure: &Exposure, samples: u64) -> Result<(), Refused> {
        let mut ledger = self.ledger.lock().expect("no panic while held");
        ledger.charge("attacker", version, exposure, samples, self.policy)
    }
}

/// The same network with hidden neuron `order[place]` at `place`.
fn permuted(parameters: &Parameters, order: &[usize]) -> Parameters {
    let mut result = parameters.clone();
    let (first, second) = (&parameters.layers[0], &parameters.layers[1]);
    let (hidden, inputs) = (order.len(), first.weights.len() / order.len());
    for (place, &neuron) in order.iter().enumerate() {
        let row = |n: usize| n * inputs..(n + 1) * inputs;
        result.layers[0].weights[row(place)].copy_from_slice(&first.weights[row(neuron)]);
        result.layers[0].biases[place] = first.biases[neuron];
        for class in 0..second.biases.len() {
            result.layers[1].weights[class * hidden + place] =
                second.weights[class * hidden + neuron];
        }
    }
    result
}

/// What a client has seen of a server that permutes, and (for judging only) how it permuted.
struct Seen {
    answers: Vec<Answer>,
    orders: Vec<Vec<usize>>,
    /// Queries answered.
    answered: usize,
}

/// One session, one query a sample, until all are answered or the ledger refuses.
fn session(model: &Model, policy: Policy, batches: &[Batch], seed: u64) -> Result<Seen, Error> {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let host = Shuffling {
        model: model.clone(),
        policy,
        ledger: Mutex::default(),
        rng: Mutex::new(ChaCha20Rng::seed_from_u64(seed ^ 1)),
        orders: Mutex::default(),
    };
    let secret = Arc::new(ClearKey::new(2048)?);
    let network = Arc::clone(model.network());
    let data = DataPolicy::Enforce;
    let mut client = Client::<Clear>::new(network, *model.precision(), Arc::clone(&secret), data);
    let mut server = Server::<Clear>::new();
    let mut transcript = Vec::new();
    carry(&mut client, &mut server, &host, &mut transcript, &mut rng)?;
    let mut answered = 0;
    for (inputs, _) in batches {
        client.classify(inputs, &mut rng)?;
        match carry(&mut client, &mut server, &host, &mut transcript, &mut rng)?.last() {
            Some(ClientOutput::Probabilities(_)) => answered += 1,
            _ => break,
        }
    }
    let known = Knowledge {
        network: model.network(),
        precision: *model.precision(),
        purpose: Purpose::Inference,
        rate: 0.0,
        batches,
    };
    let answers = equations::<Clear>(&transcript, &secret, known)?;
    let orders = host.orders.into_inner().expect("no panic while held");
    Ok(Seen { answers, orders, answered })
}

/// Carries messages, in their wire form, until both machines wait.
fn carry(
    client: &mut Client<Clear>,
    server: &mut Server<Clear>,
    host: &Shuffling,
    transcript: &mut Vec<Frame>,
    rng: &mut ChaCha20Rng,
) -> Result<Vec<ClientOutput>, Error> {
    loop {
        while let Some(message) = client.poll_transmit() {
            transcript.push(Frame::Up(message.to_bytes()));
            server.handle_message(message, host, rng)?;
        }
        let Some(message) = server.poll_transmit() else {
            return Ok(core::iter::from_fn(|| client.poll_output()).collect());
        };
        transcript.push(Frame::Down(message.to_bytes()));
        client.handle_message(message, rng)?;
    }
}

/// For each place of `base`, the place of the same neuron in `view`, by rank.
pub fn realign(base: &[i128], view: &[i128]) -> Vec<usize> {
    let ranked = |values: &[i128]| {
        let mut places: Vec<usize> = (0..values.len()).collect();
        places.sort_by_key(|&place| values[place]);
        places
    };
    let mut places = vec![0; base.len()];
    for (b, v) in ranked(base).into_iter().zip(ranked(view)) {
        places[b] = v;
    }
    places
}

/// Column `input` of the first layer, in the order of the base query: what one unit of the input
/// adds to the sums, exactly, of all neurons that are realigned rightly.
pub fn column(base: &[i128], view: &[i128], step: i128, places: &[usize]) -> Vec<i128> {
    base.iter().zip(places).map(|(b, &place)| (view[place] - b) / step).collect()
}

/// The queries: a base, and for each of the first `inputs` inputs the base with that one moved by
/// `step` units of the encoding.
fn queries(model: &Model, inputs: usize, step: i128, seed: u64) -> Vec<Batch> {
    let format = model.precision().activations;
    let (drawn, label) = noise(model.network().inputs(), 1, format.decode(format.max() / 2), seed);
    // On the grid of the encoding, so that a step is a step.
    let units = exp2(format.fraction);
    let base = drawn.mapv(|x| (x * units).round() / units);
    let moved = |input: usize| {
        let mut query = base.clone();
        query[[input, 0]] += format.decode(step);
        (query, label.clone())
    };
    [(base.clone(), label.clone())].into_iter().chain((0..inputs).map(moved)).collect()
}

/// What realigning by ranks got right.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Right {
    /// Share of the neurons put to their right place.
    neurons: f64,
    /// Share of the weights got, bit for bit.
    weights: f64,
    /// The same without realigning: places taken for neurons.
    naive: f64,
}

/// The stolen weights, `[place in the base query, input]`: realigned, and as they came.
fn steal(seen: &Seen, step: i128) -> [Array2<i128>; 2] {
    let sums: Vec<Vec<i128>> = first_layer(seen);
    let hidden = sums[0].len();
    let zeros = || Array2::zeros((hidden, sums.len() - 1));
    let mut stolen = [zeros(), zeros()];
    let as_they_came: Vec<usize> = (0..hidden).collect();
    for (input, view) in sums[1..].iter().enumerate() {
        for (kind, places) in [realign(&sums[0], view), as_they_came.clone()].iter().enumerate() {
            let values = column(&sums[0], view, step, places);
            stolen[kind].column_mut(input).assign(&ndarray::Array1::from(values));
        }
    }
    stolen
}

fn first_layer(seen: &Seen) -> Vec<Vec<i128>> {
    let first = seen.answers.iter().filter(|answer| answer.stage == 0);
    first.map(|answer| answer.sums.column(0).to_vec()).take(seen.answered).collect()
}

fn judge(model: &Model, seen: &Seen, step: i128) -> Right {
    let sums = first_layer(seen);
    let stolen = steal(seen, step);
    let (hidden, queried) = stolen[0].dim();
    let inputs = model.network().inputs();
    let truth = |place: usize, input: usize| {
        model.parameters().layers[0].weights[seen.orders[0][place] * inputs + input]
    };
    let share = |stolen: &Array2<i128>| {
        let right = stolen.indexed_iter().filter(|&((p, i), &w)| truth(p, i) == w).count();
        right as f64 / (hidden * queried) as f64
    };
    let mut neurons = 0;
    for (view, order) in sums[1..].iter().zip(&seen.orders[1..]) {
        let places = realign(&sums[0], view);
        let right = |place: &usize| order[places[*place]] == seen.orders[0][*place];
        neurons += (0..hidden).filter(right).count();
    }
    Right {
        neurons: neurons as f64 / (hidden * queried) as f64,
        weights: share(&stolen[0]),
        naive: share(&stolen[1]),
    }
}

/// `attack-permutation`.
///
/// # Errors
/// What the data folder and the machines say.
pub fn exhibit(setting: &Setting, progress: &dyn Progress) -> Result<Exhibit, Error> {
    let pictures = match setting.extent {
        Extent::Quick => Pictures::small(),
        Extent::Paper => Pictures::load(setting)?,
    };
    let rng = &mut ChaCha20Rng::seed_from_u64(setting.seed);
    let (pixels, classes) = (pictures.pixels(), pictures.train.classes());
    let architecture = Sequential::dense(pixels, &[HIDDEN], classes, Activation::Sigmoid)?;
    let model = Model::initialise("victim", architecture, Precision::INFERENCE, rng)?;
    let inputs = model.network().inputs();
    let unit = model.precision().activations.one();
    let steps: Vec<i128> =
        [1, 4, 16, 64, 256, 1024].into_iter().filter(|s| *s <= 4 * unit).collect();
    progress.begin("sessions", steps.len() + 2);

    let all = session(&model, Policy::AllowModelExtraction, &queries(&model, inputs, 1, 2), 3)?;
    let whole = judge(&model, &all, 1);
    progress.step();
    let some = inputs.min(24);
    let mut curve = Vec::new();
    for &step in &steps {
        let batches = queries(&model, some, step, 2);
        let seen = session(&model, Policy::AllowModelExtraction, &batches, 4)?;
        curve.push((step as f64 / unit as f64, judge(&model, &seen, step)));
        progress.step();
    }
    let defended = session(&model, Policy::Enforce, &queries(&model, inputs, 1, 2), 3)?;
    let columns = defended.answered.saturating_sub(1);
    progress.step();
    let hidden = all.orders[0].len();
    let distinct = all.orders.iter().collect::<BTreeSet<_>>().len();
    let constant =
        bias_constant(&model.network().stages()[0].linear, model.precision().activations);
    Ok(Exhibit {
        id: "attack-permutation".into(),
        title: "Neurons permuted for every query, and realigned".into(),
        finding: format!(
            "With {hidden} neurons permuted anew for each of {} queries, sorting puts {} of them \
             back and gives {} of the first layer's weights bit for bit; taken as they come, {}. \
             The ledger answers {} queries, permuted or not: {columns} of {inputs} columns.",
            inputs + 1,
            percent(whole.neurons),
            percent(whole.weights),
            percent(whole.naive),
            defended.answered,
        ),
        claims: vec![
            Claim::new(
                format!("{distinct} different permutations in {} queries", inputs + 1),
                distinct == all.answered,
            ),
            Claim::new(
                format!(
                    "permuted only: {} of the neurons realigned, {} of the weights got bit for bit, \
                     97% or more",
                    percent(whole.neurons),
                    percent(whole.weights)
                ),
                whole.neurons >= 0.97 && whole.weights >= 0.97,
            ),
            Claim::new(
                format!("without realigning {} of the weights are right", percent(whole.naive)),
                whole.naive < 0.2,
            ),
            Claim::new(
                format!(
                    "defended by the ledger: {} queries answered, {columns} of {inputs} columns",
                    defended.answered
                ),
                defended.answered < inputs / 2,
            ),
        ],
        parts: vec![
            Part::Images(images(&pictures, &model, &all)),
            Part::Lines(lines(&curve)),
            Part::Table(table(&curve, &whole, &defended, inputs)),
        ],
        notes: vec![
            format!(
                "{}, network {}, random weights at the precision of inference ({constant} units \
                 to one), over the mock cryptosystem, which sends what Paillier would.",
                pictures.name,
                model.architecture()
            ),
            format!("The curve is of the first {some} inputs."),
            "A client that sends the base along with each query, as a second sample, needs no \
             small steps: the same sums mark the same neurons."
                .into(),
        ],
    })
}

/// As many hidden neurons as the paper's network for MNIST has: the more there are, the closer they
/// lie and the harder they are to tell apart.
const HIDDEN: usize = 300;

/// Eight neurons' weights as pictures: true, realigned, as they came.
fn images(pictures: &Pictures, model: &Model, seen: &Seen) -> Images {
    let [realigned, naive] = steal(seen, 1);
    let inputs = model.network().inputs();
    let places = 0..realigned.nrows().min(8);
    let of = |stolen: &Array2<i128>| {
        let row = |p: usize| stolen.row(p).iter().map(|&w| w as f64).collect::<Vec<_>>();
        places.clone().map(|p| pictures.stretched(&row(p), "")).collect::<Vec<_>>()
    };
    let truth = Array2::from_shape_fn(realigned.dim(), |(p, i)| {
        model.parameters().layers[0].weights[seen.orders[0][p] * inputs + i]
    });
    let row = |name: &str, images| ImageRow { name: name.into(), images };
    Images {
        caption: "Weights of eight neurons of the first layer, as pictures".into(),
        rows: vec![
            row("true", of(&truth)),
            row("permuted, realigned", of(&realigned)),
            row("permuted, as they came", of(&naive)),
        ],
    }
}

fn lines(curve: &[(f64, Right)]) -> Lines {
    let series = |name: &str, value: fn(&Right) -> f64| {
        Series::curve(name, curve.iter().map(|(step, right)| (*step, value(right))))
    };
    Lines {
        caption: "Small steps keep the ranks of the neurons".into(),
        x: Axis::log("step of one input (1: white to black)"),
        y: Axis::linear("share"),
        series: vec![
            series("neurons realigned", |r| r.neurons),
            series("weights got bit for bit", |r| r.weights),
            series("weights without realigning", |r| r.naive),
        ],
    }
}

fn table(curve: &[(f64, Right)], whole: &Right, defended: &Seen, inputs: usize) -> Table {
    let row = |what: String, queries: usize, right: &Right| {
        measured(vec![
            what.into(),
            queries.into(),
            percent(right.neurons).into(),
            percent(right.weights).into(),
            percent(right.naive).into(),
        ])
    };
    let mut rows = vec![row("whole layer, smallest step".into(), inputs + 1, whole)];
    rows.extend(curve.iter().map(|(step, right)| {
        row(format!("first inputs, step {step:.4}"), inputs.min(24) + 1, right)
    }));
    let part = defended.answered.saturating_sub(1) as f64 / inputs as f64;
    rows.push(measured(vec![
        "defended by the ledger".into(),
        defended.answered.into(),
        "".into(),
        percent(part).into(),
        "".into(),
    ]));
    Table {
        caption: "Neurons permuted for each query".into(),
        columns: vec![
            Column::new("attack"),
            Column::new("queries answered"),
            Column::new("neurons realigned"),
            Column::new("weights got"),
            Column::new("without realigning"),
        ],
        rows,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gelu_nn::zoo;
    use rand::RngExt;

    fn victim() -> Model {
        let rng = &mut ChaCha20Rng::seed_from_u64(11);
        Model::initialise("victim", zoo::digits(), Precision::INFERENCE, rng).unwrap()
    }

    #[test]
    fn ranks_realign_what_is_permuted() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let base: Vec<i128> = (0..50).map(|_| rng.random_range(-1_000_000..1_000_000)).collect();
        let mut order: Vec<usize> = (0..50).collect();
        order.shuffle(&mut rng);
        let view: Vec<i128> = order.iter().map(|&n| base[n] + 3).collect();
        let places = realign(&base, &view);
        assert!((0..50).all(|n| order[places[n]] == n));
        assert!(column(&base, &view, 3, &places).iter().all(|&w| w == 1));
    }

    #[test]
    fn permuting_the_neurons_does_not_keep_the_weights() {
        let model = victim();
        let batches = queries(&model, 64, 1, 2);
        let seen = session(&model, Policy::AllowModelExtraction, &batches, 3).unwrap();
        assert_eq!(seen.answered, 65);
        let right = judge(&model, &seen, 1);
        assert!(right.neurons >= 0.97 && right.weights >= 0.97, "{right:?}");
        assert!(right.naive < 0.2, "{right:?}");
    }

    #[test]
    fn counting_answers_does() {
        let model = victim();
        let seen = session(&model, Policy::Enforce, &queries(&model, 64, 1, 2), 3).unwrap();
        assert!((2..32).contains(&seen.answered), "{}", seen.answered);
    }

    /// The supposed defence changes nothing for honest clients: it is a fair opponent.
    #[test]
    fn a_permuted_network_computes_the_same() {
        let model = victim();
        let order: Vec<usize> = (0..32).rev().collect();
        let other = model.successor(permuted(model.parameters(), &order)).unwrap();
        let (inputs, _) = noise(64, 3, 1.0, 4);
        assert_eq!(
            model.probabilities(&inputs).unwrap().0,
            other.probabilities(&inputs).unwrap().0
        );
    }
}
