//! What garbling costs: the ReLUs of a LeNet-5, with transfers and base transfers, on one thread.
//!
//! ```sh
//! cargo run --release -p gelu-garble --example garble
//! GELU_FORCE_PORTABLE=1 cargo run --release -p gelu-garble --example garble     without AES instructions
//! ```
//!
//! Every result is compared with the plain circuit. Times are the least of several rounds. Half of the garbling's time
//! is the first touch of the tables' memory, as glibc gives large blocks back: with `MALLOC_TRIM_THRESHOLD_`,
//! `MALLOC_MMAP_THRESHOLD_` and `MALLOC_TOP_PAD_` at 1000000000, 1000000000 and 100000000 it keeps them.

use std::time::{Duration, Instant};

use gelu_core::Result;
use gelu_core::circuit::{Circuit, Local, Numbers, StageCircuit};
use gelu_core::fixed::Precision;
use gelu_garble::{Bits, CotReceiver, Evaluator, Garbler, Offer, Session, Task};
use rand::rngs::ChaCha20Rng;
use rand::{Rng, SeedableRng};

/// Neurons and bits of the sums of LeNet-5's stages in the precision of inference, and the divisor's bits
/// (a test of gelu-nn, `circuits_of_lenet_5_have_the_sizes_of_the_example`, holds them to it).
const STAGES: [(usize, u32, u32); 4] = [(864, 28, 2), (256, 31, 2), (120, 30, 0), (84, 28, 0)];

const ROUNDS: usize = 15;

/// What one round took, in nanoseconds, and moved, in bytes.
#[derive(Clone, Copy)]
struct Round {
    base: f64,
    transfers: f64,
    garbling: f64,
    encoding: f64,
    evaluating: f64,
    transfer_bytes: usize,
    offline_bytes: usize,
    online_bytes: usize,
}

fn main() -> Result<()> {
    let Precision { activations, weights, .. } = Precision::INFERENCE;
    let mut layers = Vec::new();
    for (neurons, bits, divisor_bits) in STAGES {
        let fraction = activations.fraction + weights.fraction + divisor_bits;
        let half = 1 << (fraction - activations.fraction) >> 1;
        let numbers = Numbers { bound: (1 << (bits - 1)) - 1 - half, fraction, activations };
        let built = StageCircuit::new(&[("relu", Local::Relu)], neurons, &numbers)?;
        layers.push((neurons, built.bits, built.circuit));
    }
    let ands: usize =
        layers.iter().map(|(neurons, _, circuit)| neurons * circuit.and_count()).sum();
    let bits: usize = layers.iter().map(|(neurons, bits, _)| neurons * *bits as usize).sum();
    let neurons: usize = layers.iter().map(|(neurons, ..)| neurons).sum();
    let rng = &mut ChaCha20Rng::seed_from_u64(1);
    let rounds: Vec<_> = (0..ROUNDS).map(|_| round(&layers, rng)).collect::<Result<_>>()?;
    let least = |time: fn(&Round) -> f64| rounds.iter().map(time).fold(f64::INFINITY, f64::min);
    let (garbling, evaluating) = (least(|r| r.garbling), least(|r| r.evaluating));
    let (transfers, encoding) = (least(|r| r.transfers), least(|r| r.encoding));
    println!("engine {}; {neurons} ReLUs, {ands} ANDs, {bits} transfers", gelu_garble::engine());
    println!("base transfers  {:8.2} ms, both parties, once a session", least(|r| r.base) / 1e6);
    println!(
        "transfers       {:8.3} ms, both parties; {:.1} million a second, {:.2} bytes each",
        transfers / 1e6,
        bits as f64 / transfers * 1e3,
        rounds[0].transfer_bytes as f64 / bits as f64
    );
    for (what, time) in [("garbling  ", garbling), ("evaluating", evaluating)] {
        println!("{what}      {:8.3} ms, {:.2} ns an AND, all in", time / 1e6, time / ands as f64);
    }
    println!("encoding        {:8.3} ms (online, the garbler)", encoding / 1e6);
    println!(
        "bytes           offline {} up, {} down; online {} down",
        rounds[0].transfer_bytes, rounds[0].offline_bytes, rounds[0].online_bytes
    );
    Ok(())
}

/// One whole session for all layers.
fn round(layers: &[(usize, u32, Circuit)], rng: &mut ChaCha20Rng) -> Result<Round> {
    let mut name = [0; 32];
    rng.fill_bytes(&mut name);
    let session = Session::new(name);
    let begin = Instant::now();
    let (offer, first) = Offer::new(session, rng);
    let (mut receiver, answer) = CotReceiver::answer(session, &first, rng)?;
    let mut sender = offer.accept(&answer)?;
    let base = nanoseconds(begin.elapsed());
    let mut garbler = Garbler::new(&session, sender.delta());
    let mut evaluator = Evaluator::new(&session);
    let mut result = Round {
        base,
        transfers: 0.0,
        garbling: 0.0,
        encoding: 0.0,
        evaluating: 0.0,
        transfer_bytes: 0,
        offline_bytes: 0,
        online_bytes: 0,
    };
    for (neurons, bits, circuit) in layers {
        let task = Task::new(circuit, *neurons, 32)?;
        let mut shares = || (0..*neurons).map(|_| rng.next_u64()).collect::<Vec<_>>();
        let (first, second) = (shares(), shares());
        let own = Bits::of_shares(&second, *bits);
        let begin = Instant::now();
        let (labels, message) = receiver.extend(&own, rng)?;
        let zeros;
        (sender, zeros) = sender.extend(own.len(), &message)?;
        result.transfers += nanoseconds(begin.elapsed());
        result.transfer_bytes += message.len();
        let begin = Instant::now();
        let (garbling, tables) = garbler.garble(&task, zeros, rng)?;
        result.garbling += nanoseconds(begin.elapsed());
        result.offline_bytes += tables.len();
        let evaluation = evaluator.receive(&task, labels, tables)?;
        let begin = Instant::now();
        let (labels, rho) = garbling.encode(&Bits::of_shares(&first, *bits))?;
        result.encoding += nanoseconds(begin.elapsed());
        result.online_bytes += labels.len();
        let begin = Instant::now();
        let got = evaluation.evaluate(&task, &labels)?;
        result.evaluating += nanoseconds(begin.elapsed());
        for (neuron, (first, second)) in first.iter().zip(&second).enumerate() {
            let bits =
                [first, second].map(|share| (0..*bits).map(move |place| share >> place & 1 == 1));
            let plain = circuit.evaluate(&bits.into_iter().flatten().collect::<Vec<_>>())[0];
            let sum = got[neuron].wrapping_sub(rho[neuron]) & 0xffff_ffff;
            assert_eq!(i128::from(sum), plain, "neuron {neuron}");
        }
    }
    Ok(result)
}

fn nanoseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}
