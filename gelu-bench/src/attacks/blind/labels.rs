//! Δ, from wrong choices in the transfers or from two sets of labels; and with Δ the sums.
//!
//! *Wrong choices.* Δ is 32 groups of four bits. A client that flips a choice in the columns of one group alone has a label
//! that is off by those four bits of Δ. A circuit whose class it knows tells which of the sixteen values makes its label
//! right again: six circuits a group, and one batch of transfers gives all of Δ. The check catches it, unless it has
//! guessed the bits.
//!
//! *Two sets.* The labels of both bits of a wire differ by Δ; two queries by one ticket bring both.
//!
//! *With Δ* the client evaluates the circuit on its share plus t, for any t:
//!
//! ```text
//! ReLU(z + t) + ρ  falls to ρ where z + t passes 2^(l−1)
//! ```
//!
//! and a search by halves gives z = W·x + b: the equation that an open query gives.

use gelu_core::circuit::two_party::Batch;
use gelu_core::circuit::{self, Local, Numbers, StageCircuit};
use gelu_core::linear::Dense;
use gelu_core::{LinearMap, Precision};
use gelu_garble::laboratory::{
    Flip, danger_blocks, danger_delta, danger_labels, danger_unchecked, danger_wrong_choices,
};
use gelu_garble::{Bits, CotReceiver, CotSender, Evaluator, Garbler, Offer, Session, Task};
use rand::rngs::ChaCha20Rng;
use rand::{Rng, RngExt, SeedableRng};

/// Groups of Δ's bits.
const GROUPS: usize = 32;
/// Circuits of known class for each group.
const EACH: usize = 6;
/// Classes, bits of a score, bits of a class.
const CLASSES: usize = 10;
const SCORE_BITS: u32 = 27;
const CLASS_BITS: u32 = 4;

/// Both parties of a session, after the base transfers.
struct Parties {
    name: Session,
    sender: CotSender,
    receiver: CotReceiver,
}

impl Parties {
    fn new(rng: &mut ChaCha20Rng) -> gelu_core::Result<Self> {
        let mut name = [0; 32];
        rng.fill_bytes(&mut name);
        let name = Session::new(name);
        let (offer, message) = Offer::new(name, rng);
        let (receiver, answer) = CotReceiver::answer(name, &message, rng)?;
        Ok(Self { name, sender: offer.accept(&answer)?, receiver })
    }
}

/// What the cheat in the transfers came to.
pub(super) struct Cheat {
    /// Bits of Δ that were found without the check.
    pub(super) found: u32,
    /// Whether the check refused the same message.
    pub(super) caught: bool,
}

/// One batch of transfers with a wrong choice in each circuit.
///
/// # Errors
/// None, unless there is a bug.
pub(super) fn wrong_choices(rng: &mut ChaCha20Rng) -> gelu_core::Result<Cheat> {
    let Parties { name, sender, mut receiver } = Parties::new(rng)?;
    let neurons = GROUPS * EACH;
    let circuit = circuit::argmax(CLASSES, SCORE_BITS)?;
    let task = Task::new(&circuit, neurons, CLASS_BITS)?;
    let scores: Vec<i64> =
        (0..neurons * CLASSES).map(|_| rng.random_range(-(1 << 24)..1 << 24)).collect();
    let classes = scores.chunks(CLASSES).map(|scores| {
        let best = (0..CLASSES).max_by_key(|class| scores[*class]);
        best.expect("there are classes") as u64
    });
    let classes: Vec<_> = classes.collect();
    let c: Vec<u64> = scores.iter().map(|_| rng.next_u64()).collect();
    let z: Vec<_> =
        scores.iter().zip(&c).map(|(z, c)| z.cast_unsigned().wrapping_sub(*c)).collect();
    // The lowest bit of the first score of each circuit.
    let wire = |neuron: usize| neuron * CLASSES * SCORE_BITS as usize;
    let flip = |neuron| Flip { group: neuron / EACH, bit: wire(neuron), guess: 0 };
    let flips: Vec<_> = (0..neurons).map(flip).collect();
    let choices = Bits::of_shares(&c, SCORE_BITS);
    let (own, message) = danger_wrong_choices(&mut receiver, &choices, &flips, rng);

    let zeros = danger_unchecked(&sender, choices.len(), &message);
    let delta = danger_delta(&sender.delta());
    let (garbling, tables) = Garbler::new(&name, sender.delta()).garble(&task, zeros, rng)?;
    let (labels, rho) = garbling.encode(&Bits::of_shares(&z, SCORE_BITS))?;
    let own = danger_blocks(&own);
    let mut found = 0;
    let mut possible = vec![Vec::new(); GROUPS];
    for alpha in 0..16_u128 {
        let mut own = own.clone();
        (0..neurons).for_each(|n| own[wire(n)] ^= alpha << (4 * (n / EACH)));
        let mut evaluator = Evaluator::new(&name);
        let evaluation = evaluator.receive(&task, danger_labels(own), tables.clone())?;
        let got = evaluation.evaluate(&task, &labels)?;
        let class = |n: usize| got[n].wrapping_sub(rho[n]) % (1 << CLASS_BITS);
        for (group, possible) in possible.iter_mut().enumerate() {
            if (EACH * group..EACH * (group + 1)).all(|n| class(n) == classes[n]) {
                possible.push(alpha);
            }
        }
    }
    for (group, possible) in possible.iter().enumerate() {
        let [alpha] = possible[..] else { continue };
        let right = delta >> (4 * group) & 0xf == alpha;
        found += if right { 4 } else { 0 };
    }
    Ok(Cheat { found, caught: sender.extend(choices.len(), &message).is_err() })
}

/// In how many of `sessions` a guess of four bits of Δ passes the check.
///
/// # Errors
/// None, unless there is a bug.
pub(super) fn guesses(sessions: usize, rng: &mut ChaCha20Rng) -> gelu_core::Result<usize> {
    let mut passed = 0;
    for _ in 0..sessions {
        let Parties { sender, mut receiver, .. } = Parties::new(rng)?;
        let group = rng.random_range(0..GROUPS);
        // The lowest bit of Δ is always 1.
        let guess = rng.random_range(0..16) | u8::from(group == 0);
        let flip = Flip { group, bit: 0, guess };
        let choices = Bits::of_shares(&[0], 64);
        let (_, message) = danger_wrong_choices(&mut receiver, &choices, &[flip], rng);
        passed += usize::from(sender.extend(choices.len(), &message).is_ok());
    }
    Ok(passed)
}

/// What two sets of labels came to.
pub(super) struct Opened {
    /// Whether their difference is Δ.
    pub(super) delta: bool,
    /// Sums that were read, of how many.
    pub(super) sums: [usize; 2],
}

/// A garbler that answers two queries by one ticket: a ReLU layer of `neurons` outputs, with sums of 24 bits.
///
/// # Errors
/// None, unless there is a bug.
pub(super) fn two_sets(neurons: usize, rng: &mut ChaCha20Rng) -> gelu_core::Result<Opened> {
    let Parties { name, sender, mut receiver } = Parties::new(rng)?;
    let linear = LinearMap::from(Dense::new(1, neurons).expect("a small layer"));
    let numbers = Numbers::of("dense", &linear, &Precision::INFERENCE, 1 << 23)?;
    let stage = StageCircuit::new(&[("relu", Local::Relu)], neurons, &numbers)?;
    let batch = Batch { stage: &stage, ring_bits: 27 };
    let task = Task::new(&stage.circuit, neurons, batch.ring_bits)?;
    let sum = |_| rng.random_range(-(1_i64 << 23)..1 << 23);
    let sums: Vec<i64> = (0..neurons).map(sum).collect();
    let c: Vec<u64> = sums.iter().map(|_| rng.next_u64()).collect();
    let offset = u64::try_from(stage.offset).expect("half a unit");
    let share = |(z, c): (&i64, &u64)| z.cast_unsigned().wrapping_add(offset).wrapping_sub(*c);
    let first: Vec<_> = sums.iter().zip(&c).map(share).collect();
    let second: Vec<_> = sums.iter().map(|_| rng.next_u64()).collect();
    let bits = |shares: &[u64]| Bits::of_shares(shares, stage.bits);

    let (own, message) = receiver.extend(&bits(&c), rng)?;
    let (sender, zeros) = sender.extend(own.len(), &message)?;
    let zeros = danger_blocks(&zeros);
    // The same seed makes the same garbling: the ticket that is kept, and answered twice.
    let mut seed = [0; 32];
    rng.fill_bytes(&mut seed);
    let garble = || {
        let (rng, zeros) = (&mut ChaCha20Rng::from_seed(seed), danger_labels(zeros.clone()));
        Garbler::new(&name, sender.delta()).garble(&task, zeros, rng)
    };
    let (garbling, tables) = garble()?;
    let labels = garbling.encode(&bits(&first))?.0;
    let others = garble()?.0.encode(&bits(&second))?.0;

    // The client, from here on.
    let words = |bytes: &[u8]| -> Vec<u128> {
        bytes.as_chunks().0.iter().map(|word| u128::from_le_bytes(*word)).collect()
    };
    let pairs = words(&labels).into_iter().zip(words(&others));
    let delta = pairs.map(|(a, b)| a ^ b).find(|difference| *difference != 0).unwrap_or(0);
    let client = Client { name, task, stage: &stage, own: danger_blocks(&own), c, tables, labels };
    let read = client.sums(delta)?;
    let right = read.iter().zip(&sums).filter(|(read, sum)| read == sum).count();
    Ok(Opened { delta: delta == danger_delta(&sender.delta()), sums: [right, neurons] })
}

/// What a client holds of one batch.
struct Client<'a> {
    name: Session,
    task: Task<'a>,
    stage: &'a StageCircuit,
    own: Vec<u128>,
    c: Vec<u64>,
    tables: Vec<u8>,
    labels: Vec<u8>,
}

impl Client<'_> {
    /// What comes out for sums that are larger by `shift`, one for each neuron.
    fn evaluate(&self, delta: u128, shift: &[u64]) -> gelu_core::Result<Vec<u64>> {
        let mut own = self.own.clone();
        let labels = own.chunks_exact_mut(self.stage.bits as usize);
        for ((labels, c), t) in labels.zip(&self.c).zip(shift) {
            let flipped = c ^ c.wrapping_add(*t);
            let set = |bit: usize| flipped >> bit & 1 == 1;
            labels.iter_mut().enumerate().filter(|(n, _)| set(*n)).for_each(|(_, l)| *l ^= delta);
        }
        let mut evaluator = Evaluator::new(&self.name);
        let evaluation = evaluator.receive(&self.task, danger_labels(own), self.tables.clone())?;
        evaluation.evaluate(&self.task, &self.labels)
    }

    /// All sums: of the four quarters of the ring one is where ReLU falls to 0, and then by halves.
    fn sums(&self, delta: u128) -> gelu_core::Result<Vec<i64>> {
        let (neurons, ring) = (self.c.len(), 1_u64 << self.stage.bits);
        let quarter = ring / 4;
        let quarters = (0..4).map(|n| self.evaluate(delta, &vec![n * quarter; neurons]));
        let quarters = quarters.collect::<gelu_core::Result<Vec<_>>>()?;
        // ρ is what comes out for negative sums: no other output is below it, modulo the ring of outputs.
        let (outputs, half) = (1_u64 << 27, 1_u64 << 26);
        let above = |a: u64, rho: u64| a.wrapping_sub(rho) % outputs;
        let rho = |n: usize| {
            let lowest = |rho: &u64| quarters.iter().all(|out| above(out[n], *rho) < half);
            quarters.iter().map(|out| out[n]).find(lowest).unwrap_or(0)
        };
        let rho: Vec<_> = (0..neurons).map(rho).collect();
        let falls = |n: usize| {
            let positive = |q: usize| quarters[q % 4][n] != rho[n];
            (0..4).find(|&q| positive(q) && !positive(q + 1)).unwrap_or(0) as u64 * quarter
        };
        // Positive at `low`, and no more at `low` + `step`.
        let mut low: Vec<_> = (0..neurons).map(falls).collect();
        let mut step = quarter / 2;
        while step > 0 {
            let middle: Vec<_> = low.iter().map(|low| low + step).collect();
            let out = self.evaluate(delta, &middle)?;
            for (n, low) in low.iter_mut().enumerate() {
                *low += if out[n] == rho[n] { 0 } else { step };
            }
            step /= 2;
        }
        // z + offset + low is the largest number of the ring.
        let offset = u64::try_from(self.stage.offset).expect("half a unit");
        let sum = |low: &u64| {
            let z = (ring / 2).wrapping_sub(1 + low + offset) % ring;
            let z = z.cast_signed();
            if z < (ring / 2).cast_signed() { z } else { z - ring.cast_signed() }
        };
        Ok(low.iter().map(sum).collect())
    }
}
