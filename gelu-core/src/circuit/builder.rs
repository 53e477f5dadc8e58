//! Builds circuits gate by gate: constants cost nothing, equal gates are made once, unused ones dropped.

use std::collections::HashMap;

use super::{Circuit, Gate, Output, Wire};

/// A bit of a circuit that is being built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bit {
    /// The same for all inputs.
    Known(bool),
    /// A wire.
    Wire(Wire),
}

/// Zero.
pub(super) const ZERO: Bit = Bit::Known(false);

/// Makes a [`Circuit`].
///
/// ```
/// use gelu_core::circuit::Builder;
///
/// // The majority of three bits, two of which the second party holds, with one AND.
/// let mut b = Builder::new([1, 2]);
/// let (first, second) = (b.first(), b.second());
/// let [x, y, z] = [first[0], second[0], second[1]];
/// let [xz, yz] = [b.xor(x, z), b.xor(y, z)];
/// let and = b.and(xz, yz);
/// let majority = b.xor(and, z);
/// let circuit = b.finish([vec![(majority, 1)]]);
/// assert_eq!(circuit.and_count(), 1);
/// assert_eq!(circuit.evaluate(&[true, false, true]), [1]);
/// assert_eq!(circuit.evaluate(&[false, false, true]), [0]);
/// ```
#[derive(Debug)]
pub struct Builder {
    inputs: [usize; 2],
    gates: Vec<Gate>,
    known: HashMap<Gate, Wire>,
}

impl Builder {
    /// For so many input bits of the first and of the second party.
    pub fn new(inputs: [usize; 2]) -> Self {
        Self { inputs, gates: Vec::new(), known: HashMap::new() }
    }

    /// The first party's bits.
    pub fn first(&self) -> Vec<Bit> {
        (0..self.inputs[0]).map(|n| Bit::Wire(wire(n))).collect()
    }

    /// The second party's bits.
    pub fn second(&self) -> Vec<Bit> {
        (self.inputs[0]..self.all_inputs()).map(|n| Bit::Wire(wire(n))).collect()
    }

    fn all_inputs(&self) -> usize {
        self.inputs.iter().sum()
    }

    /// a ⊕ b.
    pub fn xor(&mut self, a: Bit, b: Bit) -> Bit {
        match (a, b) {
            (Bit::Known(false), x) | (x, Bit::Known(false)) => x,
            (Bit::Known(true), x) | (x, Bit::Known(true)) => self.not(x),
            (Bit::Wire(a), Bit::Wire(b)) if a == b => ZERO,
            (Bit::Wire(a), Bit::Wire(b)) => self.gate(Gate::Xor(a.min(b), a.max(b))),
        }
    }

    /// a ∧ b.
    pub fn and(&mut self, a: Bit, b: Bit) -> Bit {
        match (a, b) {
            (Bit::Known(false), _) | (_, Bit::Known(false)) => ZERO,
            (Bit::Known(true), x) | (x, Bit::Known(true)) => x,
            (Bit::Wire(a), Bit::Wire(b)) if a == b => Bit::Wire(a),
            (Bit::Wire(a), Bit::Wire(b)) => self.gate(Gate::And(a.min(b), a.max(b))),
        }
    }

    /// ¬a.
    pub fn not(&mut self, a: Bit) -> Bit {
        match a {
            Bit::Known(a) => Bit::Known(!a),
            Bit::Wire(a) => match (a as usize).checked_sub(self.all_inputs()) {
                Some(gate) if let Gate::Not(a) = self.gates[gate] => Bit::Wire(a),
                _ => self.gate(Gate::Not(a)),
            },
        }
    }

    /// a ∨ b.
    pub fn or(&mut self, a: Bit, b: Bit) -> Bit {
        let (a, b) = (self.not(a), self.not(b));
        let neither = self.and(a, b);
        self.not(neither)
    }

    /// `yes` if c, else `no`: one AND.
    pub fn select(&mut self, c: Bit, yes: Bit, no: Bit) -> Bit {
        let differ = self.xor(yes, no);
        let change = self.and(c, differ);
        self.xor(no, change)
    }

    fn gate(&mut self, gate: Gate) -> Bit {
        let next = wire(self.all_inputs() + self.gates.len());
        let made = *self.known.entry(gate).or_insert(next);
        if made == next {
            self.gates.push(gate);
        }
        Bit::Wire(made)
    }

    /// The circuit that gives, for each of `outputs`, the sum of weight·bit. Gates that no output needs are
    /// left out.
    pub fn finish(self, outputs: impl IntoIterator<Item = Vec<(Bit, i128)>>) -> Circuit {
        let mut outputs: Vec<_> = outputs.into_iter().map(output).collect();
        let inputs = self.all_inputs();
        let mut needed = vec![false; inputs + self.gates.len()];
        for (wire, _) in outputs.iter().flat_map(|output| &output.terms) {
            needed[*wire as usize] = true;
        }
        for (n, gate) in self.gates.iter().enumerate().rev() {
            if needed[inputs + n] {
                gate.wires().for_each(|wire| needed[wire as usize] = true);
            }
        }
        let mut numbers: Vec<Wire> = (0..inputs).map(wire).collect();
        let mut gates = Vec::new();
        for (gate, needed) in self.gates.iter().zip(&needed[inputs..]) {
            numbers.push(wire(inputs + gates.len()));
            if *needed {
                gates.push(gate.renumbered(&numbers));
            }
        }
        for (wire, _) in outputs.iter_mut().flat_map(|output| &mut output.terms) {
            *wire = numbers[*wire as usize];
        }
        Circuit { inputs: self.inputs, gates, outputs }
    }
}

impl Gate {
    fn wires(self) -> impl Iterator<Item = Wire> {
        let (a, b) = match self {
            Self::Xor(a, b) | Self::And(a, b) => (a, Some(b)),
            Self::Not(a) => (a, None),
        };
        core::iter::once(a).chain(b)
    }

    fn renumbered(self, numbers: &[Wire]) -> Self {
        let new = |wire: Wire| numbers[wire as usize];
        match self {
            Self::Xor(a, b) => Self::Xor(new(a), new(b)),
            Self::And(a, b) => Self::And(new(a), new(b)),
            Self::Not(a) => Self::Not(new(a)),
        }
    }
}

/// Known bits go into the constant.
fn output(bits: Vec<(Bit, i128)>) -> Output {
    let mut output = Output::default();
    for (bit, weight) in bits {
        match bit {
            Bit::Known(bit) => output.constant += weight * i128::from(bit),
            Bit::Wire(wire) => output.terms.push((wire, weight)),
        }
    }
    output
}

fn wire(n: usize) -> Wire {
    Wire::try_from(n).expect("a circuit has fewer than 2^32 wires")
}
