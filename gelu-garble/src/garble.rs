//! The garbler: tables and rows offline, labels of its own bits online.
//!
//! An output bit with weight w is decoded by a projection to numbers, with one row less than it has labels. Let
//! X be the label whose lowest bit is 0, v the bit that it stands for, and H' the hash under the row's key:
//!
//! ```text
//! ρ = H'(X) − w·v            row = w·(1 − v) + ρ − H'(X ⊕ Δ)            mod 2^m
//! ```
//!
//! The evaluator gets H'(its label), plus the row where its label's lowest bit is 1: w·bit + ρ. To it ρ is
//! uniform, as v is; over the bits of an output that adds up to A + ρ.

use core::fmt;

use gelu_core::circuit::two_party::Packed;
use gelu_core::circuit::{Circuit, Output};
use gelu_core::error::{ApiMisuse, Result};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::bits::{Bits, Labels, check_count, write_blocks};
use crate::kernel::{Group, Kernel, LANES, Lanes};
use crate::session::{Delta, Session, Tweaks, random_block};

/// One circuit for many neurons, with the ring of its outputs.
#[derive(Debug, Clone, Copy)]
pub struct Task<'a> {
    pub(crate) circuit: &'a Circuit,
    pub(crate) neurons: usize,
    pub(crate) ring_bits: u32,
}

impl<'a> Task<'a> {
    /// `neurons` times `circuit`, whose outputs are numbers modulo 2^`ring_bits`.
    ///
    /// # Errors
    /// [`ApiMisuse::Configuration`] for no neuron, or a ring of no or more than 64 bits.
    pub fn new(circuit: &'a Circuit, neurons: usize, ring_bits: u32) -> Result<Self> {
        if neurons == 0 || !(1..=64).contains(&ring_bits) {
            let why =
                format!("of {neurons} neurons and {ring_bits} bits: need 1 or more, and 1 to 64");
            return Err(ApiMisuse::configuration("a batch of circuits", why).into());
        }
        Ok(Self { circuit, neurons, ring_bits })
    }

    /// Bits of the garbler and of the evaluator, over all neurons.
    pub fn inputs(&self) -> [usize; 2] {
        self.circuit.inputs().map(|inputs| inputs * self.neurons)
    }

    /// Numbers that come out.
    pub fn outputs(&self) -> usize {
        self.circuit.outputs().len() * self.neurons
    }

    /// Bytes of the tables and rows.
    pub fn offline_bytes(&self) -> usize {
        let tables = 2 * BLOCK * self.circuit.and_count();
        (tables + self.row_bytes() * self.circuit.decoded_bits()) * self.neurons
    }

    /// Bytes of the garbler's labels.
    pub fn online_bytes(&self) -> usize {
        BLOCK * self.inputs()[0]
    }

    pub(crate) fn row_bytes(&self) -> usize {
        if self.ring_bits <= 32 { 4 } else { 8 }
    }

    /// x mod 2^m.
    pub(crate) fn reduced(&self, x: u64) -> u64 {
        x & (u64::MAX >> (64 - self.ring_bits))
    }

    /// The neurons by eights: how many the last group has.
    pub(crate) fn groups(&self) -> impl Iterator<Item = (usize, usize)> + use<'_> {
        let used = |group| LANES.min(self.neurons - group * LANES);
        (0..self.neurons.div_ceil(LANES)).map(move |group| (group, used(group)))
    }
}

/// Bytes of a label.
pub(crate) const BLOCK: usize = 16;

/// The party that knows Δ, for a session: see the [module](crate).
#[derive(Debug)]
pub struct Garbler {
    delta: Delta,
    tweaks: Tweaks,
    pub(crate) kernel: Kernel,
}

impl Garbler {
    /// For the Δ of the session's [transfers](crate::CotSender::delta).
    ///
    /// One for each session: a second one would use keys again.
    pub fn new(session: &Session, delta: Delta) -> Self {
        Self { delta, tweaks: Tweaks::new(session), kernel: Kernel::best() }
    }

    /// Garbles a batch, with `zeros` for the labels of 0 of the evaluator's bits, neuron by neuron. Gives what is
    /// kept for the one query, and the bytes for the evaluator. Both parties take batches in the same order.
    ///
    /// # Errors
    /// [`ApiMisuse`] for a wrong number of labels, or when the session is used up.
    pub fn garble(
        &mut self,
        task: &Task<'_>,
        zeros: Labels,
        rng: &mut dyn CryptoRng,
    ) -> Result<(Garbling, Vec<u8>)> {
        let Task { circuit, .. } = task;
        check_count(task.inputs()[1], zeros.len())?;
        let spans = self.tweaks.take(circuit, task.neurons)?;
        let (seed, inputs) = (Zeroizing::new(random_block(rng)), task.inputs()[0]);
        let own = labels_of_zero(*seed, inputs, self.kernel);
        let mut rho = Zeroizing::new(Vec::with_capacity(task.outputs()));
        let [first, second] = circuit.inputs();
        let (half_gates, rows) = (2 * circuit.and_count(), circuit.decoded_bits());
        let mut wires = Zeroizing::new(Vec::with_capacity(circuit.wires()));
        let mut tables = Vec::with_capacity(half_gates);
        let mut hashes = Zeroizing::new(vec![Lanes::default(); 2 * rows]);
        let mut out = Vec::with_capacity(task.offline_bytes());
        for (group, used) in task.groups() {
            let keys = spans.group(group, half_gates, rows);
            wires.clear();
            push_inputs(&mut wires, &own, first, group, used);
            push_inputs(&mut wires, &zeros.0, second, group, used);
            tables.clear();
            let (gates, wires, tables) = (circuit.gates(), &mut wires, &mut tables);
            self.kernel
                .garble(&mut Group { gates, keys: keys.gates, wires, tables }, self.delta.value());
            tables.iter().for_each(|table| write_blocks(&table.0[..used], &mut out));
            let labels = circuit.outputs().iter().flat_map(|output| &output.terms);
            for ((wire, _), hashes) in labels.zip(hashes.as_chunks_mut::<2>().0) {
                // The label with lowest bit 0, and the other one.
                let zeros = wires[*wire as usize].0;
                let even = zeros.map(|x| x ^ (odd(x) & self.delta.value()));
                *hashes = [Lanes(even), Lanes(even.map(|x| x ^ self.delta.value()))];
            }
            self.kernel.hash(keys.rows, 2, &mut hashes);
            project(task, wires, used, &hashes, &mut rho, &mut out);
        }
        let (delta, rho) = (self.delta.clone(), Packed::new(&rho, task.ring_bits));
        Ok((Garbling { delta, seed, inputs, rho }, out))
    }
}

/// All ones where the lowest bit is set.
fn odd(x: u128) -> u128 {
    0u128.wrapping_sub(x & 1)
}

/// Writes the rows of `used` neurons, and adds up ρ of each output.
fn project(
    task: &Task<'_>,
    wires: &[Lanes],
    used: usize,
    hashes: &[Lanes],
    rho: &mut Vec<u64>,
    out: &mut Vec<u8>,
) {
    let mut hashes = hashes.as_chunks::<2>().0.iter();
    let outputs = task.circuit.outputs().len();
    let first = rho.len();
    rho.resize(first + used * outputs, 0);
    for (n, Output { terms, .. }) in task.circuit.outputs().iter().enumerate() {
        for ((wire, weight), [even, other]) in terms.iter().zip(&mut hashes) {
            let weight = low(*weight as u128);
            for lane in 0..used {
                // The bit that the label with lowest bit 0 stands for.
                let v = 0u64.wrapping_sub(low(wires[*wire as usize].0[lane] & 1));
                let share = low(even.0[lane]).wrapping_sub(weight & v);
                let row = (weight & !v).wrapping_add(share).wrapping_sub(low(other.0[lane]));
                out.extend_from_slice(&task.reduced(row).to_le_bytes()[..task.row_bytes()]);
                let sum = &mut rho[first + lane * outputs + n];
                *sum = task.reduced(sum.wrapping_add(share));
            }
        }
    }
}

/// The lower half.
#[expect(clippy::cast_possible_truncation, reason = "numbers are taken modulo 2^64 and then 2^m")]
pub(crate) fn low(x: u128) -> u64 {
    x as u64
}

/// Appends wires with the labels of a group, which are stored neuron by neuron, `each` for one.
pub(crate) fn push_inputs(
    wires: &mut Vec<Lanes>,
    labels: &[u128],
    each: usize,
    group: usize,
    used: usize,
) {
    let first = wires.len();
    wires.resize(first + each, Lanes::default());
    let labels = &labels[group * LANES * each..][..used * each];
    for (lane, labels) in labels.chunks_exact(each.max(1)).enumerate() {
        for (wire, label) in wires[first..].iter_mut().zip(labels) {
            wire.0[lane] = *label;
        }
    }
}

/// A garbled batch whose labels have not been sent: what the garbler keeps until the query. It is small (a seed,
/// and a number for each output) and used once, by [`encode`](Self::encode).
pub struct Garbling {
    delta: Delta,
    seed: Zeroizing<u128>,
    inputs: usize,
    rho: Packed,
}

impl Garbling {
    /// The labels of the garbler's own bits, neuron by neuron, as bytes for the evaluator; and ρ modulo 2^m for
    /// each output of each neuron: the evaluator gets the output + ρ.
    ///
    /// # Errors
    /// [`ApiMisuse::Shape`] for a wrong number of bits. The garbling is gone then, too: nothing was sent.
    pub fn encode(self, bits: &Bits) -> Result<(Vec<u8>, Zeroizing<Vec<u64>>)> {
        check_count(self.inputs, bits.len())?;
        let mut labels = labels_of_zero(*self.seed, self.inputs, Kernel::best());
        for (n, label) in labels.iter_mut().enumerate() {
            *label ^= self.delta.value() & bits.mask(n);
        }
        let mut bytes = Vec::with_capacity(BLOCK * labels.len());
        write_blocks(&labels, &mut bytes);
        Ok((bytes, self.rho.unpack()))
    }
}

/// The labels of 0 of the garbler's own bits.
fn labels_of_zero(seed: u128, bits: usize, kernel: Kernel) -> Zeroizing<Vec<u128>> {
    let mut out = [vec![0; bits]];
    kernel.streams(&[seed], 0, &mut out);
    let [labels] = out;
    Zeroizing::new(labels)
}

impl fmt::Debug for Garbling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Garbling({} bits)", self.inputs)
    }
}
