//! Boolean circuits: what two parties compute on shares when neither may see the value.
//!
//! A [`Circuit`] is pure data: a flat list of gates in which gate number i defines wire `inputs + i`. Garbled,
//! XOR and NOT are free and an AND costs 32 bytes, so [`and_count`](Circuit::and_count) is the price of a circuit.
//! [`Builder`] makes them; [`stage()`] makes the one of a network's stage from its [`locals`], and [`argmax`] the last one of a query.
//!
//! ```text
//! inputs   z_s (the first party's bits) and z_c (the second party's), z = z_s + z_c mod 2^l
//! outputs  constant + Σ weight·bit: numbers, because a garbled bit decodes to a share of any multiple of it
//! ```
//!
//! # Law
//! For every stage that [`stage()`] accepts and every z within its bound, the circuit gives what
//! [`Pass`](crate::Pass) encodes from z, bit for bit: saturated, rounded half away from zero.

mod builder;
mod numbers;
mod stage;
mod steps;
#[cfg(test)]
mod tests;
pub mod two_party;

pub use builder::{Bit, Builder};
pub use stage::{Local, Numbers, StageCircuit, Windows, argmax, locals, stage};

/// The number of a wire: first the inputs, then one for each gate.
pub type Wire = u32;

/// A gate, by the wires that go in; its own wire is the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Gate {
    /// a ⊕ b. Free.
    Xor(Wire, Wire),
    /// a ∧ b. Two ciphertexts.
    And(Wire, Wire),
    /// ¬a. Free.
    Not(Wire),
}

/// A number that a circuit gives: `constant` + Σ weight·bit over its terms.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Output {
    /// What does not depend on the inputs.
    pub constant: i128,
    /// Wires with their weights, not 0.
    pub terms: Vec<(Wire, i128)>,
}

/// A circuit of two parties' bits: see the [module](self).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Circuit {
    inputs: [usize; 2],
    gates: Vec<Gate>,
    outputs: Vec<Output>,
}

impl Circuit {
    /// Input bits of the first party (who garbles) and of the second (who evaluates), in this order on the wires.
    pub fn inputs(&self) -> [usize; 2] {
        self.inputs
    }

    /// The gates; each takes only wires that are defined before it.
    pub fn gates(&self) -> &[Gate] {
        &self.gates
    }

    /// The numbers that come out.
    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    /// Inputs and gates.
    pub fn wires(&self) -> usize {
        self.inputs.iter().sum::<usize>() + self.gates.len()
    }

    /// How many gates are ANDs: what a garbling costs.
    pub fn and_count(&self) -> usize {
        self.gates.iter().filter(|gate| matches!(gate, Gate::And(..))).count()
    }

    /// Output bits that are decoded: the terms of all outputs.
    pub fn decoded_bits(&self) -> usize {
        self.outputs.iter().map(|output| output.terms.len()).sum()
    }

    /// The outputs for one assignment of the inputs.
    ///
    /// # Panics
    /// If there are not as many bits as [`inputs`](Self::inputs).
    pub fn evaluate(&self, bits: &[bool]) -> Vec<i128> {
        let words: Vec<_> = bits.iter().map(|&bit| u64::from(bit)).collect();
        self.evaluate_64(&words).into_iter().map(|lanes| lanes[0]).collect()
    }

    /// The outputs for 64 assignments at once: bit i of every word is assignment i.
    ///
    /// # Panics
    /// If there are not as many words as [`inputs`](Self::inputs).
    pub fn evaluate_64(&self, words: &[u64]) -> Vec<[i128; 64]> {
        assert_eq!(words.len(), self.inputs.iter().sum::<usize>(), "inputs of the circuit");
        let mut wires = words.to_vec();
        let at = |wires: &[u64], wire: Wire| wires[wire as usize];
        for gate in &self.gates {
            let value = match *gate {
                Gate::Xor(a, b) => at(&wires, a) ^ at(&wires, b),
                Gate::And(a, b) => at(&wires, a) & at(&wires, b),
                Gate::Not(a) => !at(&wires, a),
            };
            wires.push(value);
        }
        let number = |output: &Output| {
            core::array::from_fn(|lane| {
                let bit = |wire| i128::from(at(&wires, wire) >> lane & 1);
                let terms = output.terms.iter().map(|&(wire, weight)| weight * bit(wire));
                output.constant + terms.sum::<i128>()
            })
        };
        self.outputs.iter().map(number).collect()
    }
}
