//! The evaluator: from tables and one label of each input to the outputs, hidden by the garbler's ρ.

use core::fmt;

use gelu_core::error::Result;
use zeroize::Zeroizing;

use crate::bits::{Labels, check_count, check_length, read_blocks};
use crate::garble::{BLOCK, Task, low, push_inputs};
use crate::kernel::{Group, Kernel, LANES, Lanes};
use crate::session::{Session, Spans, Tweaks};

/// The party that holds one label of each wire, for a session: see the [module](crate).
#[derive(Debug)]
pub struct Evaluator {
    tweaks: Tweaks,
    pub(crate) kernel: Kernel,
}

impl Evaluator {
    /// One for each session.
    pub fn new(session: &Session) -> Self {
        Self { tweaks: Tweaks::new(session), kernel: Kernel::best() }
    }

    /// Takes a garbled batch, with the labels of the evaluator's own bits, neuron by neuron. Both parties take
    /// batches in the same order.
    ///
    /// # Errors
    /// [`PeerMisbehaved`](gelu_core::error::PeerMisbehaved) for bytes of another length;
    /// [`ApiMisuse`](gelu_core::error::ApiMisuse) for a wrong number of labels, or when the session is used up.
    pub fn receive(&mut self, task: &Task<'_>, own: Labels, bytes: Vec<u8>) -> Result<Evaluation> {
        check_count(task.inputs()[1], own.len())?;
        check_length("the length of garbled tables", task.offline_bytes(), &bytes)?;
        let spans = self.tweaks.take(task.circuit, task.neurons)?;
        Ok(Evaluation { own, bytes, spans, kernel: self.kernel })
    }
}

/// A garbled batch that waits for the garbler's labels. It is used once, by [`evaluate`](Self::evaluate).
pub struct Evaluation {
    own: Labels,
    bytes: Vec<u8>,
    spans: Spans,
    kernel: Kernel,
}

impl Evaluation {
    /// Each output of each neuron + the garbler's ρ, modulo 2^m: uniform numbers, as long as ρ is unknown.
    ///
    /// `task` is the one that the batch was received for.
    ///
    /// # Errors
    /// [`PeerMisbehaved`](gelu_core::error::PeerMisbehaved) for bytes of another length,
    /// [`ApiMisuse`](gelu_core::error::ApiMisuse) for another task.
    pub fn evaluate(self, task: &Task<'_>, labels: &[u8]) -> Result<Vec<u64>> {
        let Task { circuit, .. } = task;
        check_count(task.inputs()[1], self.own.len())?;
        check_count(task.offline_bytes(), self.bytes.len())?;
        check_length("the length of a query's labels", task.online_bytes(), labels)?;
        let theirs = Zeroizing::new(read_blocks(labels));
        let [first, second] = circuit.inputs();
        let (half_gates, rows) = (2 * circuit.and_count(), circuit.decoded_bits());
        let mut wires = Zeroizing::new(Vec::with_capacity(circuit.wires()));
        let mut tables = vec![Lanes::default(); half_gates];
        let mut hashes = Zeroizing::new(vec![Lanes::default(); rows]);
        let mut bytes = &self.bytes[..];
        let mut result = Vec::with_capacity(task.outputs());
        for (group, used) in task.groups() {
            let keys = self.spans.group(group, half_gates, rows);
            let (own, others) = bytes.split_at(half_gates * used * BLOCK);
            for (table, blocks) in tables.iter_mut().zip(own.chunks_exact(used * BLOCK)) {
                for (lane, block) in table.0.iter_mut().zip(blocks.as_chunks().0) {
                    *lane = u128::from_le_bytes(*block);
                }
            }
            let (own, others) = others.split_at(rows * used * task.row_bytes());
            bytes = others;
            wires.clear();
            push_inputs(&mut wires, &theirs, first, group, used);
            push_inputs(&mut wires, &self.own.0, second, group, used);
            let (gates, wires, tables) = (circuit.gates(), &mut wires, &mut tables);
            self.kernel.evaluate(&mut Group { gates, keys: keys.gates, wires, tables });
            let terms = || circuit.outputs().iter().flat_map(|output| &output.terms);
            for ((wire, _), hash) in terms().zip(hashes.iter_mut()) {
                *hash = wires[*wire as usize];
            }
            self.kernel.hash(keys.rows, 1, &mut hashes);
            decode(task, wires, used, &hashes, own, &mut result);
        }
        Ok(result)
    }
}

/// Adds the rows that the labels of `used` neurons choose, for each output.
fn decode(
    task: &Task<'_>,
    wires: &[Lanes],
    used: usize,
    hashes: &[Lanes],
    rows: &[u8],
    result: &mut Vec<u64>,
) {
    let outputs = task.circuit.outputs();
    let first = result.len();
    result.resize(first + used * outputs.len(), 0);
    let mut rows = rows.chunks_exact(task.row_bytes());
    let mut hashes = hashes.iter();
    for (n, output) in outputs.iter().enumerate() {
        let mut sums = [low(output.constant as u128); LANES];
        for ((wire, _), hash) in output.terms.iter().zip(&mut hashes) {
            for ((lane, sum), row) in sums[..used].iter_mut().enumerate().zip(&mut rows) {
                let mut number = [0; 8];
                number[..row.len()].copy_from_slice(row);
                let chosen = 0u64.wrapping_sub(low(wires[*wire as usize].0[lane] & 1));
                let row = u64::from_le_bytes(number) & chosen;
                *sum = sum.wrapping_add(low(hash.0[lane])).wrapping_add(row);
            }
        }
        for (lane, sum) in sums[..used].iter().enumerate() {
            result[first + lane * outputs.len() + n] = task.reduced(*sum);
        }
    }
}

impl fmt::Debug for Evaluation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Evaluation({} bytes)", self.bytes.len())
    }
}
